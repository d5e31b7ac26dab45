package projections

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
)

// Change is one column of one row that events changed. Sealed columns are told by their length and the beginning of their SHA-256.
type Change struct {
	Table  string `json:"table"`
	Key    string `json:"key"`
	Column string `json:"column"`
	// Before and After are null where there was or is no row.
	Before *string `json:"before"`
	After  *string `json:"after"`
}

// Watch has the state keep what rows were before they changed, for [State.Changes].
func (s *State) Watch() {
	s.tokens.watch()
	s.revocations.watch()
	s.active.watch()
	s.operator.watch()
	s.sessions.watch()
}

// Changes returns what was changed since it was last called, by table, key and column, and begins anew. The state must be watched.
func (s *State) Changes() []Change {
	return slices.Concat([]Change{}, s.active.changes(), s.operator.changes(), s.sessions.changes(), s.tokens.changes(), s.revocations.changes())
}

// Settle forgets which rows are to be written, for folds that write nothing: memory then follows the rows that there are, and not those
// that there were.
func (s *State) Settle() {
	clear(s.tokens.changed)
	clear(s.revocations.changed)
	clear(s.active.changed)
	clear(s.operator.changed)
	clear(s.sessions.changed)
}

func (r *rows[K, R]) watch() { r.was = map[K]*R{} }

func (r *rows[K, R]) changes() []Change {
	var changes []Change
	for key, before := range r.was {
		after, ok := r.get(key)
		for i, column := range r.columns {
			change := Change{Table: r.name, Key: fmt.Sprint(key), Column: column}
			if before != nil {
				change.Before = new(legible(r.fields(before)[i]))
			}
			if ok {
				change.After = new(legible(r.fields(&after)[i]))
			}
			if change.Before == nil && change.After == nil || change.Before != nil && change.After != nil && *change.Before == *change.After {
				continue
			}
			changes = append(changes, change)
		}
	}
	clear(r.was)
	slices.SortStableFunc(changes, func(a, b Change) int { return cmp.Compare(a.Key, b.Key) })
	return changes
}

// legible is render for people.
func legible(field any) string {
	sealed, ok := field.(*[]byte)
	switch {
	case !ok:
		return render(field)
	case len(*sealed) == 0:
		return "none"
	default:
		hash := sha256.Sum256(*sealed)
		return fmt.Sprintf("%d bytes, %x…", len(*sealed), hash[:4])
	}
}

// Tokens returns the living tokens by connection.
func (s *State) Tokens() []Token {
	return sorted(s.tokens, func(a, b Token) int { return cmp.Compare(a.ForgeType, b.ForgeType) })
}

// Revocations returns the tokens that wait for their forge to hear that they are revoked, those first whose turn comes first.
func (s *State) Revocations() []Revocation {
	return sorted(s.revocations, func(a, b Revocation) int {
		return cmp.Or(a.NextAttemptAt.Compare(b.NextAttemptAt), slices.Compare(a.DataKey[:], b.DataKey[:]))
	})
}

// Sessions returns the sessions that have not ended, oldest first.
func (s *State) Sessions() []Session {
	return sorted(s.sessions, func(a, b Session) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
}

func sorted[K comparable, R any](r rows[K, R], compare func(a, b R) int) []R {
	all := make([]R, 0, len(r.live))
	for _, row := range r.live {
		all = append(all, *row)
	}
	slices.SortFunc(all, compare)
	return all
}
