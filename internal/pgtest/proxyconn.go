package pgtest

import (
	"bufio"
	"context"
	"net"
	"strconv"
)

// proxyConn is one forwarded connection. The proxy's mu guards its fields from clientClosed on.
type proxyConn struct {
	proxy          *Proxy
	client, server net.Conn

	clientClosed, serverClosed bool
	requests                   int // forwarded ones that the server ends with a ReadyForQuery, the startup included
	answered                   int // of those
	loseAt                     int // the request whose answer is dropped, and the connection with it; 0: none
	lost                       chan struct{}
}

func portString(port uint16) string { return strconv.Itoa(int(port)) }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refusing := p.refusing
		p.mu.Unlock()
		if refusing {
			_ = client.Close()
			continue
		}
		var dialer net.Dialer
		server, err := dialer.DialContext(context.Background(), p.network, p.address)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &proxyConn{proxy: p, client: client, server: server, requests: 1}
		p.set(func() {
			p.conns[c] = struct{}{}
			if p.closed {
				c.closeClient()
				c.closeServer()
			}
		})
		p.running.Go(c.run)
	}
}

// run forwards until both sides are closed.
func (c *proxyConn) run() {
	c.proxy.running.Go(c.forwardReplies)
	c.forwardRequests()
	// A client that hangs up takes its server connection along, unless it was cut to leave that one open.
	c.proxy.set(func() {
		if !c.clientClosed {
			c.closeClient()
			c.closeServer()
		}
	})
}

// closeClient and closeServer are called with mu held.
func (c *proxyConn) closeClient() {
	c.clientClosed = true
	_ = c.client.Close()
	c.proxy.change.Broadcast()
}

func (c *proxyConn) closeServer() {
	c.serverClosed = true
	_ = c.server.Close()
	delete(c.proxy.conns, c)
	c.proxy.change.Broadcast()
}

func (c *proxyConn) forwardRequests() {
	in := bufio.NewReader(c.client)
	for {
		packet, err := readMessage(in, false)
		if err != nil {
			return
		}
		if code := startupCode(packet); code == sslRequest || code == encryptionRequest {
			if _, err := c.client.Write([]byte{'N'}); err != nil {
				return
			}
			continue
		}
		if !c.send(packet, Message{}) || startupCode(packet) == cancelRequest {
			return
		}
		break
	}
	names := newStatements()
	for {
		wire, err := readMessage(in, true)
		if err != nil || !c.send(wire, names.describe(wire)) {
			return
		}
	}
}

// send forwards a message of the client, unless an order says otherwise, and reports whether the connection goes on.
func (c *proxyConn) send(wire []byte, m Message) bool {
	p := c.proxy
	p.mu.Lock()
	for p.paused && !c.clientClosed {
		p.change.Wait()
	}
	if c.clientClosed {
		p.mu.Unlock()
		return false
	}
	result := p.judge(c, m)
	if c.clientClosed { // cut while an order held it
		p.mu.Unlock()
		return false
	}
	if p.bytes >= 0 && result == forward {
		if p.bytes <= len(wire) {
			wire, result = wire[:p.bytes], cut
		}
		p.bytes -= len(wire)
	}
	everybody := p.bytes == 0
	if everybody {
		p.bytes = -1
	}
	if m.Type == 'Q' || m.Type == 'S' {
		c.requests++
	}
	p.mu.Unlock()

	var err error
	if result == forward || everybody {
		_, err = c.server.Write(wire)
	}
	if everybody {
		p.CutNow()
	}
	return err == nil && result == forward
}

func (c *proxyConn) forwardReplies() {
	defer c.proxy.set(func() {
		c.closeClient()
		c.closeServer()
		if c.lost != nil {
			close(c.lost)
		}
	})
	in := bufio.NewReader(c.server)
	for {
		wire, err := readMessage(in, true)
		if err != nil {
			return
		}
		drop, end := c.admit(wire[0])
		if end {
			return
		}
		if drop {
			continue
		}
		if _, err := c.client.Write(wire); err != nil {
			// The client is gone; the server's side may have been left open on purpose, so go on reading.
			continue
		}
	}
}

// admit waits until a reply of the server may go to the client and says whether to drop it instead, and whether to end the
// connection there.
func (c *proxyConn) admit(kind byte) (drop, end bool) {
	p := c.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	const readyForQuery = 'Z'
	if kind == readyForQuery {
		c.answered++
	}
	if c.loseAt == 0 {
		for (p.paused || p.holding) && !c.clientClosed && !c.serverClosed && c.loseAt == 0 {
			p.change.Wait()
		}
	}
	if c.loseAt == 0 {
		return c.clientClosed, false
	}
	return true, c.answered >= c.loseAt
}
