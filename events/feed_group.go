package events

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Group is a consumer group: a Watermill [message.Subscriber] with a cursor that outlives the process. At any time one
// subscription of the group is given messages, over all processes; the others wait to take its place. Safe for concurrent
// use.
type Group struct {
	feed   *Feed
	config GroupConfig
}

var _ message.Subscriber = (*Group)(nil)

var groupName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// Group returns a consumer group, or [ErrGroupName]. Nothing happens before it is subscribed to.
func (f *Feed) Group(config GroupConfig) (*Group, error) {
	if !groupName.MatchString(config.Name) {
		return nil, fmt.Errorf("%q: %w", config.Name, ErrGroupName)
	}
	if config.Start == nil {
		config.Start = FromBeginning()
	}
	if config.Policy.Waits == nil {
		config.Policy.Waits = DefaultWaits
	}
	if len(config.Policy.OutageWaits) == 0 {
		config.Policy.OutageWaits = DefaultOutageWaits
	}
	if config.AckTimeout == 0 {
		config.AckTimeout = DefaultAckTimeout
	}
	if config.CloseTimeout == 0 {
		config.CloseTimeout = DefaultCloseTimeout
	}
	return &Group{feed: f, config: config}, nil
}

// ErrTopic says that a topic is none of this feed.
var ErrTopic = errors.New(`a topic is "*" for all events, or the names of types separated by commas, such as "ForgeActivated"`)

func parseTopic(topic string) (types []string, err error) {
	if topic == TopicAll {
		return []string{}, nil
	}
	for name := range strings.SplitSeq(topic, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			return nil, fmt.Errorf("%q: %w", topic, ErrTopic)
		}
		types = append(types, name)
	}
	slices.Sort(types)
	return slices.Compact(types), nil
}

// Subscribe gives out the events of a topic, one after the other in the order of the log: the next message comes when the one
// before it was acked, or parked. The channel closes when ctx ends or the feed or the group is closed. The group's cursor is one, so all
// that subscribe to a group have to name the same topic. While another subscription has the group, nothing comes.
//
// A message is given out again after a nack and after the AckTimeout, as the group's policy says, and if the process ends
// before the cursor is written. Replays come beside what happens now, so that two messages can be out at once. It returns [ErrTopic] or
// [ErrFeedClosed]; faults of the database are waited out.
func (g *Group) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	types, err := parseTopic(topic)
	if err != nil {
		return nil, err
	}
	m := &member{
		group: g, types: types,
		leases: make(chan *lease, 1), out: make(chan *message.Message), gone: make(chan struct{}),
	}
	m.ctx, m.leave = context.WithCancelCause(ctx)
	// Where "now" is, is decided here. If the database cannot be asked, it is when it can.
	if err := m.create(ctx, g.feed.config.Pool); err != nil {
		g.feed.config.Logger.WarnContext(ctx, "could not create a group of the feed yet", "group", g.config.Name, "error", err)
	}
	f := g.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		m.leave(ErrFeedClosed)
		return nil, ErrFeedClosed
	}
	f.begin()
	f.members[g.config.Name] = append(f.members[g.config.Name], m)
	f.running.Go(m.work)
	f.kick()
	return m.out, nil
}

// Close ends the group's subscriptions in this process and waits for them. Those of other processes go on.
func (g *Group) Close() error {
	g.feed.mu.Lock()
	var mine []*member
	for _, m := range g.feed.members[g.config.Name] {
		if m.group == g {
			mine = append(mine, m)
		}
	}
	g.feed.mu.Unlock()
	for _, m := range mine {
		m.leave(ErrFeedClosed)
	}
	for _, m := range mine {
		<-m.gone
	}
	return nil
}

// member is one subscription to a group.
type member struct {
	group  *Group
	types  []string
	out    chan *message.Message
	leases chan *lease   // what the feed got for it
	gone   chan struct{} // closed when nothing of it runs any more

	ctx   context.Context //nolint:containedctx // ends with the subscription
	leave context.CancelCauseFunc
}

// create makes the group's cursor if it has none.
func (m *member) create(ctx context.Context, db interface {
	querier
	execer
},
) error {
	config := m.group.config
	var exists bool
	if err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM subscriptions WHERE name = $1)`, config.Name).Scan(&exists); err != nil {
		return ReadError("look for group "+config.Name, err)
	}
	if exists {
		return nil
	}
	position, err := config.Start.resolve(ctx, db)
	if err != nil {
		return err
	}
	if _, err := db.Exec(ctx, createSQL, config.Name, m.types, position); err != nil {
		return ReadError("create group "+config.Name, err)
	}
	return nil
}

// work delivers whenever the member has the group, until it leaves.
func (m *member) work() {
	f := m.group.feed
	defer close(m.gone)
	defer close(m.out)
	defer f.forget(m)
	for {
		select {
		case <-m.ctx.Done():
			return
		case l := <-m.leases:
			m.deliverUnder(l)
			f.release(l)
		}
	}
}

func (m *member) deliverUnder(l *lease) {
	ctx, cancel := context.WithCancelCause(m.ctx)
	defer cancel(nil)
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	defer stop()
	r := &run{
		member: m, lease: l, feed: m.group.feed, config: m.group.config,
		logger: m.group.feed.config.Logger.With("group", l.name),
	}
	var letGo context.CancelFunc
	r.base, letGo = context.WithCancel(context.WithoutCancel(m.ctx))
	defer letGo()
	stopHandlers := context.AfterFunc(l.ctx, letGo)
	defer stopHandlers()
	var lanes sync.WaitGroup
	r.lanes = &lanes
	r.work(ctx)
	lanes.Wait()
}

// forget takes the member off the list and gives back a group that it did not get to.
func (f *Feed) forget(m *member) {
	name := m.group.config.Name
	f.mu.Lock()
	f.members[name] = slices.DeleteFunc(f.members[name], func(other *member) bool { return other == m })
	if len(f.members[name]) == 0 {
		delete(f.members, name)
	}
	f.mu.Unlock()
	select {
	case l := <-m.leases:
		f.release(l)
	default: // and none comes any more
	}
}
