package pgtest

import (
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Proxy stands between clients and the server and loses connections where it is told to. It knows the protocol, so the
// places are those that a program cares about: before the server sees a statement, or after it has run it
// and before the client hears of that.
//
// An order for a message ([Proxy.CutBefore], [Proxy.CutAfter], [Proxy.HoldBefore], [Proxy.Seen]) is carried out once, at the first
// message that matches on any connection, and the channel that it returns is closed then. Connections made after a cut
// are forwarded as before. All methods may be called concurrently. The proxy closes when its test ends.
type Proxy struct {
	listener net.Listener
	network  string
	address  string

	mu       sync.Mutex
	change   *sync.Cond // of anything below
	conns    map[*proxyConn]struct{}
	orders   []*order
	paused   bool
	holding  bool // replies of the server
	refusing bool
	closed   bool
	bytes    int // that clients may still send before they are cut; negative: any number
	running  sync.WaitGroup
}

// order is something to do at a message.
type order struct {
	match   func(Message) bool
	do      func(*proxyConn, *order, Message) verdict // called with mu held
	reached chan struct{}
}

// verdict says what becomes of a message.
type verdict int

const (
	forward verdict = iota
	cut
)

// Proxied starts a proxy on a loopback port and returns it with the URL of the same schema through it.
func (db *DB) Proxied(tb testing.TB) (*Proxy, string) {
	tb.Helper()
	config, err := pgx.ParseConfig(db.URL)
	if err != nil {
		tb.Fatalf("pgtest: parse the URL of the server: %v", err)
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("pgtest: listen for the proxy: %v", err)
	}
	p := &Proxy{listener: listener, conns: map[*proxyConn]struct{}{}, bytes: -1}
	p.change = sync.NewCond(&p.mu)
	p.network, p.address = networkAddress(config)
	p.running.Go(p.accept)
	tb.Cleanup(func() {
		_ = listener.Close()
		p.set(func() { p.closed = true })
		p.CutNow()
		p.running.Wait()
	})
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		tb.Fatalf("pgtest: address of the proxy: %v", err)
	}
	return p, rewrite(tb, db.URL, func(u *url.URL) {
		u.Host = ""
		setQuery(u, "host", host)
		setQuery(u, "port", port)
		setQuery(u, "user", config.User)
		setQuery(u, "sslmode", "disable")
		if config.Password != "" {
			setQuery(u, "password", config.Password)
		}
		u.User = nil
	})
}

func networkAddress(config *pgx.ConnConfig) (network, address string) {
	port := portString(config.Port)
	if len(config.Host) > 0 && os.IsPathSeparator(config.Host[0]) {
		return "unix", config.Host + "/.s.PGSQL." + port
	}
	return "tcp", net.JoinHostPort(config.Host, port)
}

// CutNow closes every connection on both sides, as a network that fails does.
func (p *Proxy) CutNow() { p.closeConns(true, true) }

// CutClients closes every connection towards the client only. The server does not notice and goes on with what it was
// told, holding locks and open transactions, until [Proxy.CutServers].
func (p *Proxy) CutClients() { p.closeConns(true, false) }

// CutServers closes the server's side of every connection that [Proxy.CutClients] left behind.
func (p *Proxy) CutServers() { p.closeConns(false, true) }

func (p *Proxy) closeConns(client, server bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if client {
			c.closeClient()
		}
		if server && c.clientClosed {
			c.closeServer()
		}
	}
}

// CutAfterClientBytes closes all connections when clients have sent n more bytes, which are forwarded; a message may so
// reach the server in part.
func (p *Proxy) CutAfterClientBytes(n int) {
	p.set(func() { p.bytes = n })
}

// CutBefore closes the connection at a matching message, which the server does not get.
func (p *Proxy) CutBefore(match func(Message) bool) <-chan struct{} {
	return p.order(match, func(_ *proxyConn, o *order, _ Message) verdict {
		close(o.reached)
		return cut
	})
}

// CutAfter forwards a matching message, waits until the server has answered everything up to the next end of a request (a Query or a Sync),
// drops that answer and closes the connection: the server has done it, the client cannot know. Answers that were
// still on their way when the message matched are dropped too. The channel is closed when the connection is.
func (p *Proxy) CutAfter(match func(Message) bool) <-chan struct{} {
	return p.order(match, func(c *proxyConn, o *order, _ Message) verdict {
		// A Query is answered by a ReadyForQuery of its own, all else by that of the Sync to come.
		c.loseAt = c.requests + 1
		c.lost = o.reached
		return forward
	})
}

// HoldBefore stops the client's side of a connection at a matching message until release is called. What the server was told
// before, it has. A cut ends the hold.
func (p *Proxy) HoldBefore(match func(Message) bool) (reached <-chan struct{}, release func()) {
	released := false
	reached = p.order(match, func(c *proxyConn, o *order, _ Message) verdict {
		close(o.reached)
		for !released && !c.clientClosed && !c.serverClosed {
			p.change.Wait()
		}
		return forward
	})
	return reached, func() { p.set(func() { released = true }) }
}

// Seen returns a channel that is closed when a matching message is about to be forwarded.
func (p *Proxy) Seen(match func(Message) bool) <-chan struct{} {
	return p.order(match, func(_ *proxyConn, o *order, _ Message) verdict {
		close(o.reached)
		return forward
	})
}

// Pause stops forwarding in both directions; connections stay open and new ones wait. Resume ends it.
func (p *Proxy) Pause() { p.set(func() { p.paused = true }) }

// Resume ends [Proxy.Pause].
func (p *Proxy) Resume() { p.set(func() { p.paused = false }) }

// HoldServerReplies forwards what clients send and keeps what the server answers, until release is called.
func (p *Proxy) HoldServerReplies() (release func()) {
	p.set(func() { p.holding = true })
	return func() { p.set(func() { p.holding = false }) }
}

// Refuse closes new connections at once; Accept ends it.
func (p *Proxy) Refuse() { p.set(func() { p.refusing = true }) }

// Accept ends [Proxy.Refuse].
func (p *Proxy) Accept() { p.set(func() { p.refusing = false }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.change.Broadcast()
}

func (p *Proxy) order(match func(Message) bool, do func(*proxyConn, *order, Message) verdict) <-chan struct{} {
	o := &order{match: match, do: do, reached: make(chan struct{})}
	p.set(func() { p.orders = append(p.orders, o) })
	return o.reached
}

// judge carries out the orders that match a message and says whether to forward it. Called with mu held.
func (p *Proxy) judge(c *proxyConn, m Message) verdict {
	var due []*order
	p.orders = slices.DeleteFunc(p.orders, func(o *order) bool {
		matches := o.match(m)
		if matches {
			due = append(due, o)
		}
		return matches
	})
	result := forward
	for _, o := range due {
		result = max(result, o.do(c, o, m))
	}
	return result
}
