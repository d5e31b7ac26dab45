package pgtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Message is what a [Proxy] knows of one message from the client to the server.
type Message struct {
	Type byte   // as the protocol has it: 'Q' Query, 'P' Parse, 'B' Bind, 'E' Execute, 'S' Sync, 'X' Terminate …; 0 for the startup packet
	SQL  string // the statement of a Query, Parse, Bind or Execute
}

// Runs matches the message at which the server runs a statement that starts with the given SQL, whatever its case: the
// Query, or the Execute of a prepared one.
func Runs(sql string) func(Message) bool {
	return func(m Message) bool {
		return (m.Type == 'Q' || m.Type == 'E') && hasPrefixFold(strings.TrimSpace(m.SQL), sql)
	}
}

// Mentions matches whatever message first carries a statement that starts with the given SQL, whatever its case: that
// is the Parse where the client prepares it. A statement that has to wait for a lock on a table already waits there.
func Mentions(sql string) func(Message) bool {
	return func(m Message) bool { return hasPrefixFold(strings.TrimSpace(m.SQL), sql) }
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// The requests that a client may send in place of a startup packet.
const (
	cancelRequest     = 80877102
	sslRequest        = 80877103
	encryptionRequest = 80877104
)

const (
	lengthSize     = 4
	largestMessage = 256 << 20
)

var errMessageSize = errors.New("pgtest: a message has an impossible length")

// readMessage reads one message whole, as it stands on the wire. Typed messages start with their type, the first
// packet of a client does not.
func readMessage(r io.Reader, typed bool) ([]byte, error) {
	size := lengthSize
	if typed {
		size++
	}
	header := make([]byte, size)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, fmt.Errorf("read the head of a message: %w", err)
	}
	length := int(binary.BigEndian.Uint32(header[size-lengthSize:]))
	if length < lengthSize || length > largestMessage {
		return nil, errMessageSize
	}
	message := make([]byte, size+length-lengthSize)
	copy(message, header)
	if _, err := io.ReadFull(r, message[size:]); err != nil {
		return nil, fmt.Errorf("read the body of a message: %w", err)
	}
	return message, nil
}

// startupCode is the protocol version or request code of a client's first packet.
func startupCode(packet []byte) uint32 {
	if len(packet) < 2*lengthSize {
		return 0
	}
	return binary.BigEndian.Uint32(packet[lengthSize:])
}

// statements remembers what the names of a connection stand for.
type statements struct {
	prepared, portals map[string]string
}

func newStatements() statements {
	return statements{prepared: map[string]string{}, portals: map[string]string{}}
}

// describe returns what a typed message of the client says, and remembers the names that it gives.
func (s statements) describe(wire []byte) Message {
	m := Message{Type: wire[0]}
	first, rest, _ := bytes.Cut(wire[1+lengthSize:], []byte{0})
	second, _, _ := bytes.Cut(rest, []byte{0})
	switch m.Type {
	case 'Q':
		m.SQL = string(first)
	case 'P':
		m.SQL = string(second)
		s.prepared[string(first)] = m.SQL
	case 'B':
		m.SQL = s.prepared[string(second)]
		s.portals[string(first)] = m.SQL
	case 'E':
		m.SQL = s.portals[string(first)]
	}
	return m
}
