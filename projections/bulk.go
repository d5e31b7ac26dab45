package projections

import (
	"fmt"
	"strings"
	"time"
)

// A group of decisions can change many rows of a table. They are written by one statement, with an array for each column:
// the cost of a statement, paid for each row, would be most of the cost of writing it.

// bulkSQL returns the statement, or "" for a table with columns that have no arrays here: those have one row at most.
func (t table[K, R]) bulkSQL() string {
	var r R
	var params, values []string
	for i, field := range t.fields(&r) {
		element, cast, ok := elementType(field)
		if !ok {
			return ""
		}
		params = append(params, fmt.Sprintf("$%d::%s[]", i+1, element))
		values = append(values, t.columns[i]+cast)
	}
	columns := strings.Join(t.columns, ", ")
	return "INSERT INTO " + t.name + " (" + columns + ") SELECT " + strings.Join(values, ", ") +
		" FROM unnest(" + strings.Join(params, ", ") + ") AS r (" + columns + ")" + t.onConflict()
}

// elementType is the type of the elements of a column's array, and the cast that makes one a value of the column.
func elementType(field any) (element, cast string, ok bool) {
	switch field.(type) {
	case *string:
		return "text", "", true
	case *[]byte:
		return "bytea", "", true
	case *[16]byte:
		return "uuid", "", true
	case *int64:
		return "bigint", "", true
	case *bool:
		return "boolean", "", true
	case *time.Time, **time.Time:
		return "timestamptz", "", true
	case *[]string: // an array of arrays would have to be a rectangle
		return "text", "::text[]", true
	}
	return "", "", false
}

// bulkArgs returns an array for each column.
func (t table[K, R]) bulkArgs(rows []R) []any {
	columns := make([]any, len(t.columns))
	for n := range rows {
		for i, field := range t.fields(&rows[n]) {
			switch value := field.(type) {
			case *string:
				columns[i] = appendTo(columns[i], *value)
			case *[]byte:
				columns[i] = appendTo(columns[i], *value)
			case *[16]byte:
				columns[i] = appendTo(columns[i], *value)
			case *int64:
				columns[i] = appendTo(columns[i], *value)
			case *bool:
				columns[i] = appendTo(columns[i], *value)
			case *time.Time:
				columns[i] = appendTo(columns[i], *value)
			case **time.Time:
				columns[i] = appendTo(columns[i], *value)
			case *[]string:
				columns[i] = appendTo(columns[i], arrayLiteral(*value))
			}
		}
	}
	return columns
}

func appendTo[V any](column any, value V) []V {
	values, _ := column.([]V)
	return append(values, value)
}

// arrayLiteral is how Postgres writes a text[] as text; nil is NULL.
func arrayLiteral(values []string) *string {
	if values == nil {
		return nil
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = `"` + escape.Replace(value) + `"`
	}
	return new("{" + strings.Join(quoted, ",") + "}")
}
