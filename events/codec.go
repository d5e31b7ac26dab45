package events

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/go-json-experiment/json"
)

// ErrUnknownEvent says that the log holds a type or schema that this program does not know: a newer one wrote it. Whoever
// folds the log stops there instead of skipping it.
var ErrUnknownEvent = errors.New("the log holds an event that this version of forgeauth does not know: run the newer version")

// decoders holds, for each type and schema ever written, what turns its payload into today's fact. A schema that changes
// keeps its entry here and gains one, which is all that upcasting is.
var decoders = map[kind]func([]byte) (Fact, error){
	OperatorClaimed{}.fact():           decode[OperatorClaimed],
	AccountLinked{}.fact():             decode[AccountLinked],
	AccountRemoved{}.fact():            decode[AccountRemoved],
	OperatorRecovered{}.fact():         decode[OperatorRecovered],
	TokenIssued{}.fact():               decode[TokenIssued],
	TokenRefreshStarted{}.fact():       decode[TokenRefreshStarted],
	TokenRefreshed{}.fact():            decode[TokenRefreshed],
	TokenRefreshFailed{}.fact():        decode[TokenRefreshFailed],
	TokenRefreshOvertaken{}.fact():     decode[TokenRefreshOvertaken],
	TokenRejected{}.fact():             decode[TokenRejected],
	TokenLost{}.fact():                 decode[TokenLost],
	ScopesChanged{}.fact():             decode[ScopesChanged],
	AccountRenamed{}.fact():            decode[AccountRenamed],
	AccountChanged{}.fact():            decode[AccountChanged],
	TokenRevocationRequested{}.fact():  decode[TokenRevocationRequested],
	TokenRevocationAttempted{}.fact():  decode[TokenRevocationAttempted],
	TokenRevocationsPostponed{}.fact(): decode[TokenRevocationsPostponed],
	{"TokenRevoked", 1}:                decode[TokenRevoked], // without a page
	TokenRevoked{}.fact():              decode[TokenRevoked],
	ConnectionRebound{}.fact():         decode[ConnectionRebound],
	ForgeActivated{}.fact():            decode[ForgeActivated],
	ForgeDeactivated{}.fact():          decode[ForgeDeactivated],
	SessionStarted{}.fact():            decode[SessionStarted],
	SessionExtended{}.fact():           decode[SessionExtended],
	SessionEnded{}.fact():              decode[SessionEnded],
	LoginDenied{}.fact():               decode[LoginDenied],
	LoginsDenied{}.fact():              decode[LoginsDenied],
	RelayDisabled{}.fact():             decode[RelayDisabled],
	RelayEnabled{}.fact():              decode[RelayEnabled],
	DeliverySkipped{}.fact():           decode[DeliverySkipped],
	ReplayRequested{}.fact():           decode[ReplayRequested],
	RelayRemoved{}.fact():              decode[RelayRemoved],
	KeysRotated{}.fact():               decode[KeysRotated],
	KeysReset{}.fact():                 decode[KeysReset],
	RepairForced{}.fact():              decode[RepairForced],
}

// Types returns the name of every type of event that this program knows, sorted.
func Types() []string {
	names := map[string]bool{}
	for k := range decoders {
		names[k.name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func decode[F Fact](payload []byte) (Fact, error) {
	var f F
	if err := json.Unmarshal(payload, &f); err != nil {
		return nil, fmt.Errorf("payload of %s: %w", f.fact().name, err)
	}
	return f, nil
}

// Decode returns the record as an event. It returns [ErrUnknownEvent] for a type or schema this program does not know.
func (r Record) Decode() (Event, error) {
	decode, ok := decoders[kind{r.Type, r.Schema}]
	if !ok {
		return Event{}, fmt.Errorf("event %d: %s, schema %d: %w", r.Position, r.Type, r.Schema, ErrUnknownEvent)
	}
	fact, err := decode(r.Payload)
	if err != nil {
		return Event{}, fmt.Errorf("event %d: %w", r.Position, err)
	}
	return Event{Record: r, Fact: fact}, nil
}

// encode returns a fact's payload: compact JSON in the order of the struct's fields. Times are written in the zone that they
// have, which commands make UTC.
func encode(f Fact) ([]byte, error) {
	payload, err := json.Marshal(f, json.FormatNilSliceAsNull(true))
	if err != nil {
		return nil, fmt.Errorf("payload of %s: %w", TypeOf(f), err)
	}
	return payload, nil
}

// SealedTokens is the sealed part of a [TokenIssued] and a [TokenRefreshed]: two ciphertexts, and a keyed hash of the access
// token, by which two tokens can be told to be the same without opening either.
type SealedTokens struct {
	Access      []byte
	Refresh     []byte // empty if there is none
	Fingerprint []byte
}

const sealedTokensVersion = 1

// Bytes returns the stored form: a version byte, then each part with its length before it.
func (t SealedTokens) Bytes() []byte {
	b := []byte{sealedTokensVersion}
	for _, part := range [][]byte{t.Access, t.Refresh, t.Fingerprint} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// ParseSealedTokens is the inverse of [SealedTokens.Bytes]. The result aliases b.
func ParseSealedTokens(b []byte) (SealedTokens, error) {
	malformed := errors.New("malformed sealed tokens")
	if len(b) == 0 || b[0] != sealedTokensVersion {
		return SealedTokens{}, malformed
	}
	rest, parts := b[1:], [3][]byte{}
	for i := range parts {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > math.MaxInt32 || int(size) > len(rest)-n {
			return SealedTokens{}, malformed
		}
		end := n + int(size)
		parts[i], rest = rest[n:end], rest[end:]
	}
	if len(rest) != 0 {
		return SealedTokens{}, malformed
	}
	return SealedTokens{Access: parts[0], Refresh: parts[1], Fingerprint: parts[2]}, nil
}
