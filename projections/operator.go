package projections

import (
	"slices"

	"github.com/forgeauth/forgeauth/events"
)

var operatorTable = table[bool, Operator]{
	name:    "operator",
	version: 1,
	columns: []string{"singleton", "claimed_at", "accounts", "version"},
	by:      "singleton",
	keyOf:   func(Operator) bool { return only },
	fields: func(o *Operator) []any {
		return []any{new(only), &o.ClaimedAt, &o.Accounts, &o.Version}
	},
}

// applyOperator folds an event of the stream operator.
func applyOperator(operator *rows[bool, Operator], e events.Event) {
	row, _ := operator.get(only)
	row.Version = e.StreamVersion
	row.Accounts = slices.Clone(row.Accounts)
	if row.Accounts == nil {
		row.Accounts = []LinkedAccount{}
	}
	link := func(account events.Account) {
		if i := row.find(account); i >= 0 {
			row.Accounts[i].AccountLogin = account.AccountLogin
			return
		}
		row.Accounts = append(row.Accounts, LinkedAccount{Account: account, LinkedAt: e.OccurredAt})
	}
	switch fact := e.Fact.(type) {
	case events.OperatorClaimed:
		row.ClaimedAt = &e.OccurredAt
		link(fact.Account)
	case events.AccountLinked:
		link(fact.Account)
	case events.AccountRenamed:
		if i := row.find(fact.Account); i >= 0 {
			row.Accounts[i].AccountLogin = fact.AccountLogin
		}
	case events.AccountRemoved:
		if i := row.find(fact.Account); i >= 0 {
			row.Accounts = slices.Delete(row.Accounts, i, i+1)
		}
	}
	operator.put(row)
}
