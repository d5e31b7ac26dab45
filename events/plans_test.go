package events_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/plausible"
	"github.com/forgeauth/forgeauth/projections"
)

// plausibleSize is the length of the made-up log: 50,000 events, or as many as FORGEAUTH_EVENTS says.
func plausibleSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("FORGEAUTH_EVENTS")
	if text == "" {
		return 50_000
	}
	size, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// imported writes a made-up log into the bench.
func (b *bench) imported(t *testing.T, size int) {
	t.Helper()
	var batch []events.Record
	flush := func() {
		if err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error { return events.Import(t.Context(), tx, batch) }); err != nil {
			t.Fatal(err)
		}
		batch = batch[:0]
	}
	for record := range plausible.History(size, 1) {
		if batch = append(batch, record); len(batch) == 5000 {
			flush()
		}
	}
	flush()
	if _, err := b.pool.Exec(t.Context(), `ANALYZE events`); err != nil {
		t.Fatal(err)
	}
}

// TestALongLogIsReadByIndex: what an auditor asks for by page is found by index, however long the log is. The plans are those of
// statements that are prepared once, for any arguments.
func TestALongLogIsReadByIndex(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	size := plausibleSize(t)
	b.imported(t, size)
	report, err := projections.Verify(t.Context(), b.pool, projections.VerifyOptions{Repair: true})
	if err != nil || report.Through != int64(size) {
		t.Fatalf("a made-up log does not fold: %+v, %v", report, err)
	}
	conn := b.db.Conn(t)
	if _, err := conn.Exec(t.Context(), `SET plan_cache_mode = force_generic_plan`); err != nil {
		t.Fatal(err)
	}
	middle := int64(size / 2)
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = middle + int64(i)*50
	}
	grantedSQL, grantedArgs := events.GrantedSQL("gitea", hundred...)
	for name, query := range map[string]struct {
		sql  string
		args []any
	}{
		"a page of switches":                       statement(events.Query{After: middle, Through: int64(size), Types: []string{"ForgeActivated", "ForgeDeactivated"}, Limit: 101}),
		"a page of rare events":                    statement(events.Query{After: 1, Through: int64(size), Types: []string{"OperatorClaimed", "TokenRevoked"}, Limit: 101}),
		"a page of events":                         statement(events.Query{After: middle, Through: int64(size), Limit: 101}),
		"a page of a stream":                       statement(events.Query{Stream: "token/gitea", Limit: 101}),
		"the next switch":                          statement(events.Query{After: middle, Types: []string{"ForgeActivated", "ForgeDeactivated"}, Limit: 1}),
		"the tokens in use at a hundred positions": {grantedSQL, grantedArgs},
		"a hundred positions":                      {events.AtPositionsSQL, []any{hundred}},
		"the beginnings of streams":                {events.FirstOfStreamsSQL, []any{[]string{"token/gitea", "operator", "active-forge"}}},
	} {
		plan := explain(t, conn, query.sql, query.args)
		t.Logf("%s\n%s", name, plan)
		if strings.Contains(plan, "Seq Scan") || !strings.Contains(plan, "Index") {
			t.Errorf("%s reads the whole table:\n%s", name, plan)
		}
		if read := rowsRead(t, plan); read > 5_000 {
			t.Errorf("%s reads %d rows of %d:\n%s", name, read, size, plan)
		}
	}
}

func statement(q events.Query) (s struct {
	sql  string
	args []any
},
) {
	s.sql, s.args = q.SQL()
	return s
}

// explain runs a statement as a prepared one and returns its plan.
func explain(t *testing.T, conn *pgx.Conn, sql string, args []any) string {
	t.Helper()
	literals := make([]string, len(args))
	types := make([]string, len(args))
	for i, arg := range args {
		switch value := arg.(type) {
		case string, events.Stream:
			literals[i], types[i] = fmt.Sprintf("'%s'", value), "text"
		case []string:
			literals[i], types[i] = "'{"+strings.Join(value, ",")+"}'", "text[]"
		case []int64:
			literals[i], types[i] = "'{"+strings.Trim(strings.ReplaceAll(fmt.Sprint(value), " ", ","), "[]")+"}'", "bigint[]"
		default:
			literals[i], types[i] = fmt.Sprint(value), "bigint"
		}
	}
	name := fmt.Sprintf("plan_%d", len(sql))
	script := fmt.Sprintf("PREPARE %s (%s) AS %s", name, strings.Join(types, ", "), sql)
	if _, err := conn.Exec(t.Context(), script); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	rows, err := conn.Query(t.Context(), fmt.Sprintf("EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) EXECUTE %s (%s)", name, strings.Join(literals, ", ")),
		pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "DEALLOCATE "+name); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

var (
	actualRows  = regexp.MustCompile(`actual rows=(\d+)`)
	removedRows = regexp.MustCompile(`Rows Removed by Filter: (\d+)`)
)

// rowsRead is how many rows the nodes of a plan have touched, about.
func rowsRead(t *testing.T, plan string) (read int) {
	t.Helper()
	for _, pattern := range []*regexp.Regexp{actualRows, removedRows} {
		for _, found := range pattern.FindAllStringSubmatch(plan, -1) {
			n, err := strconv.Atoi(found[1])
			if err != nil {
				t.Fatal(err)
			}
			read += n
		}
	}
	return read
}
