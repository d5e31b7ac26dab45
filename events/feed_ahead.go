package events

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// page is what follows a cursor, with the messages for it.
type page struct {
	records  []Record
	prepared []*message.Message
	scanned  int64           // through here there is nothing else
	changed  <-chan struct{} // as of [feedTail.read]
	err      error
}

// ahead is a page that is being read while the one before it is handled.
type ahead struct {
	after int64
	page  chan page // gets the one
}

// read returns what follows the cursor. A group that has much before it has the next page read and its messages made meanwhile.
func (r *run) read(ctx context.Context) page {
	var p page
	if a := r.ahead; a != nil && a.after == r.cursor {
		p = <-a.page
	} else {
		p = r.fetch(ctx, r.cursor)
	}
	r.ahead = nil
	if p.err == nil && len(p.records) == pageSize {
		a := &ahead{after: p.scanned, page: make(chan page, 1)}
		r.ahead = a
		r.lanes.Go(func() { a.page <- r.fetch(ctx, a.after) })
	}
	return p
}

func (r *run) fetch(ctx context.Context, after int64) (p page) {
	source, err := r.feed.sourceName(ctx)
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
