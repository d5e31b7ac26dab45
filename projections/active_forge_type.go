package projections

import "github.com/forgeauth/forgeauth/events"

// only is the key of a table that has one row at most.
const only = true

var activeTable = table[bool, ActiveForge]{
	name:    "active_forge_type",
	version: 1,
	columns: []string{"singleton", "forge_type", "since", "version"},
	by:      "singleton",
	keyOf:   func(ActiveForge) bool { return only },
	fields: func(a *ActiveForge) []any {
		return []any{new(only), &a.ForgeType, &a.Since, &a.Version}
	},
}

// applyActive folds an event of the stream active-forge.
func applyActive(active *rows[bool, ActiveForge], e events.Event) {
	switch fact := e.Fact.(type) {
	case events.ForgeActivated:
		row, ok := active.get(only)
		if !ok || row.ForgeType != fact.ForgeType {
			row = ActiveForge{ForgeType: fact.ForgeType, Since: e.OccurredAt}
		}
		row.Version = e.StreamVersion
		active.put(row)
	case events.ForgeDeactivated:
		active.drop(only)
	}
}
