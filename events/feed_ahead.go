package events

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// page is what follows a cursor.
type page struct {
	records  []Record
	prepared []*message.Message // for the records, or none: then each is made at its turn
	scanned  int64              // through here there is nothing else
	changed  <-chan struct{}    // as of [feedTail.read]
	err      error
}

// ahead is a page that is read, and whose messages are made, while the one before it is handled.
type ahead struct {
	after int64
	page  chan page // gets the one
}

// read returns what follows the cursor. A group that has much before it has the next page read meanwhile.
func (r *run) read(ctx context.Context) (p page) {
	if a := r.ahead; a != nil && a.after == r.cursor {
		r.ahead = nil
		p = <-a.page
	} else {
		p.records, p.scanned, p.changed, p.err = r.feed.tail.read(ctx, r.cursor, r.types)
	}
	full := p.err == nil && len(p.records) == pageSize
	if full && (r.ahead == nil || r.ahead.after != p.scanned) { // it is there already where this page is read again
		a := &ahead{after: p.scanned, page: make(chan page, 1)}
		r.ahead = a
		r.lanes.Go(func() { a.page <- r.prepare(ctx, a.after) })
	}
	return p
}

func (r *run) prepare(ctx context.Context, after int64) (p page) {
	source, err := r.feed.Source(ctx)
	if err != nil {
		return page{err: err}
	}
	p.records, p.scanned, p.changed, p.err = r.feed.tail.read(ctx, after, r.types)
	p.prepared = make([]*message.Message, len(p.records))
	for i, record := range p.records {
		p.prepared[i] = newMessage(source, record, uuid.Nil)
	}
	return p
}

// message is what was prepared for a record of the page; nil if nothing was.
func (p page) message(i int) *message.Message {
	if p.prepared == nil {
		return nil
	}
	return p.prepared[i]
}
