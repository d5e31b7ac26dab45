package history

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
)

// Snapshot is what would have been answered at a time.
type Snapshot struct {
	// Position is the last event that had happened, At the time that expiry is judged at.
	Position int64     `json:"position"`
	At       time.Time `json:"at"`
	// Claimed says whether the deployment belonged to somebody.
	Claimed bool `json:"claimed"`
	// Me is the answer of GET /me; null for no active forge (412).
	Me *commands.Me `json:"me"`
	// Forges is that of GET /forges, for the connections that are configured today.
	Forges []commands.ForgeStatus `json:"forges"`
	// Sessions are those that had not ended.
	Sessions []SessionState `json:"sessions"`
	// Accounts are those that might sign in, where no list in the configuration decided.
	Accounts []events.Account `json:"accounts"`
}

// SessionState is a session that had not ended.
type SessionState struct {
	ID        uuid.UUID      `json:"id"`
	Account   events.Account `json:"account"`
	StartedAt time.Time      `json:"started_at"`
	IdleUntil time.Time      `json:"idle_until"`
	ExpiresAt time.Time      `json:"expires_at"`
	// Live says whether it let anybody in: one that nobody ended lapses by itself.
	Live bool `json:"live"`
}

// At folds the log up to a moment and says what would have been answered then. A position stands for the time of its event: what was
// committed together is seen together, as it was by those who asked. It fails with [events.ErrAhead].
func (r *Reader) At(ctx context.Context, m events.Moment) (Snapshot, error) {
	position, at, err := m.Through(ctx, r.log, r.now())
	if err != nil {
		return Snapshot{}, err
	}
	settled, err := r.log.PositionBefore(ctx, at.Add(time.Microsecond))
	if err != nil {
		return Snapshot{}, err
	}
	position = max(position, settled)
	s, err := r.fold(ctx, position)
	if err != nil {
		return Snapshot{}, err
	}
	snapshot := Snapshot{Position: position, At: at.UTC(), Sessions: []SessionState{}, Accounts: []events.Account{}}
	if me, err := commands.MeAt(s.state); err == nil {
		snapshot.Me = &me
	}
	snapshot.Forges = r.commands.ForgesAt(s.state, s.pages, at)
	for _, row := range s.state.Sessions() {
		snapshot.Sessions = append(snapshot.Sessions, SessionState{row.ID, row.Account, row.StartedAt, row.IdleUntil, row.ExpiresAt, row.Live(at)})
	}
	operator := s.state.Operator()
	snapshot.Claimed = operator.Claimed()
	for _, linked := range operator.Accounts {
		snapshot.Accounts = append(snapshot.Accounts, linked.Account)
	}
	return snapshot, nil
}

// Delta is one thing that two snapshots say differently.
type Delta struct {
	// What it is about: me, forge/NAME, session/ID, account/FORGE:ID or deployment.
	What string `json:"what"`
	// Field is the JSON name of what differs, empty where the whole thing is new or gone.
	Field  string `json:"field"`
	Before string `json:"before"` // empty for nothing
	After  string `json:"after"`
}

// Difference is what changed between two moments.
type Difference struct {
	From   int64     `json:"from"`
	To     int64     `json:"to"`
	FromAt time.Time `json:"from_at"`
	ToAt   time.Time `json:"to_at"`
	Deltas []Delta   `json:"deltas"`
}

// Diff says what changed between two moments.
func (r *Reader) Diff(ctx context.Context, from, to events.Moment) (Difference, error) {
	before, err := r.At(ctx, from)
	if err != nil {
		return Difference{}, err
	}
	after, err := r.At(ctx, to)
	if err != nil {
		return Difference{}, err
	}
	d := Difference{From: before.Position, To: after.Position, FromAt: before.At, ToAt: after.At, Deltas: []Delta{}}
	was, is := before.things(), after.things()
	for what := range was {
		if _, ok := is[what]; !ok {
			d.Deltas = append(d.Deltas, Delta{What: what, Before: "there", After: ""})
		}
	}
	for what, fields := range is {
		old, ok := was[what]
		if !ok {
			d.Deltas = append(d.Deltas, Delta{What: what, Before: "", After: "there"})
			continue
		}
		for field, value := range fields {
			if old[field] != value {
				d.Deltas = append(d.Deltas, Delta{what, field, old[field], value})
			}
		}
	}
	slices.SortFunc(d.Deltas, func(a, b Delta) int {
		return cmp.Or(strings.Compare(a.What, b.What), strings.Compare(a.Field, b.Field))
	})
	return d, nil
}

// things returns what a snapshot says, by what it is about and the JSON names of the fields.
func (s Snapshot) things() map[string]map[string]string {
	things := map[string]map[string]string{"deployment": {"claimed": fmt.Sprint(s.Claimed)}}
	if s.Me != nil {
		things["me"] = fieldsOf(*s.Me)
	}
	for _, forge := range s.Forges {
		things["forge/"+forge.ForgeType] = fieldsOf(forge)
	}
	for _, session := range s.Sessions {
		things["session/"+session.ID.String()] = fieldsOf(session)
	}
	for _, account := range s.Accounts {
		things["account/"+account.ForgeType+":"+account.AccountID] = fieldsOf(account)
	}
	return things
}

func fieldsOf(thing any) map[string]string {
	fields := map[string]string{}
	value := reflect.ValueOf(thing)
	for i := range value.NumField() {
		name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = legible(value.Field(i))
	}
	return fields
}

func legible(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return ""
	case v.Kind() == reflect.Pointer:
		return legible(v.Elem())
	}
	switch value := v.Interface().(type) {
	case time.Time:
		return value.UTC().Format(time.RFC3339Nano)
	case []string:
		return strings.Join(value, " ")
	case events.Account:
		return value.ForgeType + ":" + value.AccountID + " (" + value.AccountLogin + ")"
	default:
		return fmt.Sprint(value)
	}
}
