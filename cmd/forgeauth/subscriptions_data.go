package main

import (
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// subscriptionItem is a consumer group as data. Lists are never null.
type subscriptionItem struct {
	Group    string   `json:"group"`
	State    string   `json:"state"`    // live, waiting, failing, paused, degraded, disabled
	Degraded bool     `json:"degraded"` // it does not hear of forge switches
	Types    []string `json:"types"`    // none: all
	Position int64    `json:"position"` // the cursor
	Lag      int64    `json:"lag"`      // events that follow it
	// BehindSeconds is how long ago the first of them occurred, 0 if there is none.
	BehindSeconds float64    `json:"behind_seconds"`
	Owner         string     `json:"owner"` // empty if no process runs it
	Live          bool       `json:"live"`  // the owner has said so lately
	SeenAt        *time.Time `json:"seen_at"`
	MovedAt       time.Time  `json:"moved_at"`

	Failing  *failingItem  `json:"failing"`
	Disabled *disabledItem `json:"disabled"`
	Parked   []parkedItem  `json:"parked"`
	Replays  []replayItem  `json:"replays"` // those that have not ended, and the last that has
}

// failingItem says that the event that is next could not be handled yet.
type failingItem struct {
	Stream   string     `json:"stream"`
	Position int64      `json:"position"`
	Type     string     `json:"type"`
	Attempts int        `json:"attempts"`
	Since    time.Time  `json:"since"`
	RetryAt  *time.Time `json:"retry_at"` // null where it is paused
	Error    string     `json:"error"`
}

type disabledItem struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"` // unreachable, gone, requested
}

// parkedItem is a stream that is held back from a position on.
type parkedItem struct {
	Stream   string    `json:"stream"`
	Position int64     `json:"position"`
	Type     string    `json:"type"`
	Waiting  int64     `json:"waiting"` // events held back, that one included
	Attempts int       `json:"attempts"`
	Since    time.Time `json:"since"`
	Error    string    `json:"error"`
	Request  string    `json:"request"` // retry or skip, which is yet to be carried out; else empty
}

// replayItem is a part of the log that a group is given once more: after < position ≤ through.
type replayItem struct {
	Replay      uuid.UUID  `json:"replay"`
	Types       []string   `json:"types"` // none: all of the group's
	After       int64      `json:"after"`
	Through     int64      `json:"through"`
	Position    int64      `json:"position"` // through which it has got
	RequestedAt time.Time  `json:"requested_at"`
	RequestedBy string     `json:"requested_by"`
	EndedAt     *time.Time `json:"ended_at"` // null while it goes on
	Error       string     `json:"error"`    // with which it ended early
}

func newSubscriptionItem(s events.Subscription) subscriptionItem {
	item := subscriptionItem{
		Group: s.Name, State: stateOf(s), Degraded: s.Degraded(), Types: notNull(s.Types), Position: s.Position, Lag: s.Lag,
		BehindSeconds: s.Behind.Seconds(), Owner: s.Owner, Live: s.Live, SeenAt: orNull(s.SeenAt), MovedAt: s.MovedAt,
		Parked: make([]parkedItem, 0, len(s.Parked)), Replays: make([]replayItem, 0, len(s.Replays)),
	}
	if s.Attempts > 0 {
		item.Failing = &failingItem{
			Stream: string(s.FailingAt.Stream), Position: s.FailingAt.Position, Type: s.FailingAt.Type,
			Attempts: s.Attempts, Since: s.FailingSince, RetryAt: orNull(s.RetryAt), Error: s.Error,
		}
	}
	if !s.DisabledAt.IsZero() {
		item.Disabled = &disabledItem{Since: s.DisabledAt, Reason: s.DisabledFor}
	}
	for _, held := range s.Parked {
		item.Parked = append(item.Parked, parkedItem{
			Stream: string(held.Stream), Position: held.Position, Type: held.Type, Waiting: held.Waiting, Attempts: held.Attempts,
			Since: held.ParkedAt, Error: held.Error, Request: held.Request,
		})
	}
	for _, r := range s.Replays {
		item.Replays = append(item.Replays, replayItem{
			Replay: r.ID, Types: notNull(r.Types), After: r.After, Through: r.Through, Position: r.Position, RequestedAt: r.RequestedAt,
			RequestedBy: r.RequestedBy, EndedAt: orNull(r.EndedAt), Error: r.Error,
		})
	}
	return item
}

// notNull is a list that is empty rather than null as data.
func notNull(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
