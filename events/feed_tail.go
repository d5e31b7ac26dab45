package events

import (
	"context"
	"slices"
	"sort"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// tailSize is how many of the last events a process keeps for all that follow the log.
	tailSize = 1024
	// pageSize bounds what is read of the log at once.
	pageSize = 512
)

// feedColumns are those of a record with the hash of what is sealed in its place.
const feedColumns = `position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload, sha256(sealed)`

const (
	pageSQL = `
SELECT ` + feedColumns + ` FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3`

	// Type by type, each from the index that has it in order.
	typedPageSQL = `
SELECT e.* FROM unnest($4::text[]) AS wanted (type) CROSS JOIN LATERAL (
    SELECT ` + feedColumns + ` FROM events
    WHERE events.type = wanted.type AND position > $1 AND position <= $2 ORDER BY position LIMIT $3) e
ORDER BY e.position LIMIT $3`

	streamPageSQL = `
SELECT ` + feedColumns + ` FROM events
WHERE stream = $4 AND position > $1 AND position <= $2 AND ($5::text[] IS NULL OR type = ANY($5))
ORDER BY stream_version LIMIT $3`
)

// rowsQuerier is a pool, a connection or a transaction.
type rowsQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// readPage reads at most limit events after a position and through another, of certain types if there are any.
func readPage(ctx context.Context, db rowsQuerier, after, through int64, types []string, limit int) ([]Record, error) {
	if len(types) == 0 {
		return collect(db.Query(ctx, pageSQL, after, through, limit))
	}
	return collect(db.Query(ctx, typedPageSQL, after, through, limit, types))
}

func collect(rows pgx.Rows, err error) ([]Record, error) {
	if err != nil {
		return nil, ReadError("read the log", err)
	}
	var page []Record
	for record, err := range scan(rows, func() {}) {
		if err != nil {
			return nil, err
		}
		record.Sealed, record.SealedHash = nil, record.Sealed
		page = append(page, record)
	}
	return page, nil
}

// feedTail is the end of the log as one process knows it: how far it goes, and its last events. Everybody who follows the log
// in this process reads from it, so that an event is fetched once however many wait for it. Safe for concurrent use.
type feedTail struct {
	pool *pgxpool.Pool

	mu      sync.Mutex
	head    int64         // everything through it is committed
	recent  []Record      // all that there are from the first one's position to head
	changed chan struct{} // closed when head moves
}

func newFeedTail(pool *pgxpool.Pool) *feedTail {
	return &feedTail{pool: pool, changed: make(chan struct{})}
}

// advance reads what has been appended since, over the connection db.
func (t *feedTail) advance(ctx context.Context, db rowsQuerier) error {
	for {
		t.mu.Lock()
		head := t.head
		t.mu.Unlock()
		page, err := readPage(ctx, db, head, maxPosition, nil, pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		t.push(page)
		if len(page) < pageSize {
			return nil
		}
	}
}

const maxPosition = 1<<63 - 1

// push adds events that follow the head.
func (t *feedTail) push(page []Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// A slice that readers hold is never written to again: what is full is copied.
	if len(t.recent)+len(page) > 2*tailSize {
		t.recent = slices.Clone(t.recent[max(0, len(t.recent)-tailSize):])
	}
	t.recent = append(t.recent, page...)
	t.moved(page[len(page)-1].Position)
}

// reset makes position the head, of which no event is known yet. Who follows reads what is before it from the log.
func (t *feedTail) reset(position int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent = nil
	t.moved(position)
}

func (t *feedTail) moved(head int64) {
	t.head = head
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *feedTail) position() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.head
}

// read returns at most pageSize events after a position, of certain types if there are any, and the position through which it
// looked. Where it has looked at everything there is, changed is closed when there is more.
func (t *feedTail) read(ctx context.Context, after int64, types []string) (page []Record, scanned int64, changed <-chan struct{}, err error) {
	t.mu.Lock()
	head, recent, moves := t.head, t.recent, t.changed
	t.mu.Unlock()
	if after >= head {
		return nil, after, moves, nil
	}
	if len(recent) > 0 && recent[0].Position <= after+1 {
		first := sort.Search(len(recent), func(i int) bool { return recent[i].Position > after })
		for _, r := range recent[first:] {
			if len(types) == 0 || slices.Contains(types, r.Type) {
				page = append(page, r)
			}
			if len(page) == pageSize {
				return page, r.Position, nil, nil
			}
		}
		return page, head, nil, nil
	}
	reading, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	page, err = readPage(reading, t.pool, after, head, types, pageSize)
	if err != nil {
		return nil, after, nil, err
	}
	if len(page) == pageSize {
		head = page[pageSize-1].Position
	}
	return page, head, nil, nil
}

// Follower reads the log from a position on and waits at its end for more. It has no group and keeps no cursor: whoever uses it
// remembers how far it got. One goroutine may use it at a time.
type Follower struct {
	tail    *feedTail
	types   []string
	scanned int64
}

// Next returns the events that follow those it returned before, in order, at least one and none of them sealed. It waits
// until there is one, or until ctx ends, with whose cause it then ends. A database that cannot be read is [ErrUnreadable]; Next can be
// called again.
func (f *Follower) Next(ctx context.Context) ([]Record, error) {
	for {
		page, scanned, changed, err := f.tail.read(ctx, f.scanned, f.types)
		if err != nil {
			return nil, err
		}
		f.scanned = scanned
		if len(page) > 0 {
			return page, nil
		}
		if changed == nil {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Scanned is the position through which the follower has looked at the log: that of the last event it returned, or a later
// one if none of its types has come since.
func (f *Follower) Scanned() int64 { return f.scanned }
