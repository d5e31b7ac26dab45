package events

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"time"
)

// Moment is a place on the log, as a person writes it: a position, a time, its beginning or its end.
type Moment struct {
	kind     momentKind
	position int64
	at       time.Time
}

type momentKind int

const (
	momentNow momentKind = iota
	momentBeginning
	momentPosition
	momentTime
)

var (
	// ErrBadMoment says that a text is no [Moment].
	ErrBadMoment = errors.New("it is now, beginning, a position (1200), a time in RFC 3339 (2026-11-26T15:00:00Z), a day in UTC (2026-11-26), or how long ago (90s, 30m, 2h, 7d)")
	// ErrAhead says that the log does not reach a position yet.
	ErrAhead = errors.New("the log does not reach that position yet")
)

var inDays = regexp.MustCompile(`^\d{1,5}d$`)

// ParseMoment reads a [Moment], or returns [ErrBadMoment]. How long ago is counted from now; if now is zero, that is refused.
func ParseMoment(text string, now time.Time) (Moment, error) {
	switch text {
	case "now":
		return Moment{}, nil
	case "beginning":
		return Moment{kind: momentBeginning}, nil
	}
	if position, err := strconv.ParseUint(text, 10, 63); err == nil && position > 0 {
		return Moment{kind: momentPosition, position: int64(position)}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return Moment{kind: momentTime, at: at.UTC()}, nil
		}
	}
	if now.IsZero() {
		return Moment{}, ErrBadMoment
	}
	if inDays.MatchString(text) {
		days, _ := strconv.Atoi(text[:len(text)-1]) // digits
		return Moment{kind: momentTime, at: now.UTC().AddDate(0, 0, -days)}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return Moment{kind: momentTime, at: now.UTC().Add(-ago)}, nil
	}
	return Moment{}, ErrBadMoment
}

// Start returns the moment as a group's beginning: a position itself is the first that is given.
func (m Moment) Start() Start {
	switch m.kind {
	case momentBeginning:
		return FromBeginning()
	case momentPosition:
		return FromPosition(m.position)
	case momentTime:
		return FromTime(m.at)
	default:
		return FromNow()
	}
}

// Before returns the position after which a part of the log begins that begins at the moment: the moment's own event, or the first at its
// time, is in it.
func (m Moment) Before(ctx context.Context, log *Log) (after int64, err error) {
	switch m.kind {
	case momentBeginning:
		return 0, nil
	case momentPosition:
		return m.position - 1, nil
	case momentTime:
		return log.PositionBefore(ctx, m.at)
	default:
		head, err := log.Head(ctx)
		return head.Position, err
	}
}

// Through returns the last position of the part of the log that ends with the moment, its own event and all of its time in it, and the time
// that things are judged at then: the given one, or that of the event. It fails with [ErrAhead].
func (m Moment) Through(ctx context.Context, log *Log, now time.Time) (position int64, at time.Time, err error) {
	switch m.kind {
	case momentBeginning:
		return 0, time.Time{}, nil
	case momentPosition:
		event, err := log.At(ctx, m.position)
		if errors.Is(err, ErrNotFound) {
			err = ErrAhead
		}
		return m.position, event.OccurredAt, err
	case momentTime:
		position, err = log.PositionBefore(ctx, m.at.Add(time.Microsecond))
		return position, m.at, err
	default:
		head, err := log.Head(ctx)
		return head.Position, now, err
	}
}
