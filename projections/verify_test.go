package projections_test

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

func verify(t *testing.T, h *house, o projections.VerifyOptions) projections.Report {
	t.Helper()
	report, err := projections.Verify(t.Context(), h.pool, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestTablesEqualTheFoldOfTheLog(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, forgeType := range []string{"a", "b", "a"} {
		if _, err := h.writer.Append(t.Context(), signIn(forgeType)); err != nil {
			t.Fatal(err)
		}
	}
	want := projections.Report{Through: 6, Rows: 3, Differences: []projections.Difference{}}
	if diff := cmp.Diff(want, verify(t, h, projections.VerifyOptions{})); diff != "" {
		t.Fatal(diff)
	}
}

func TestVerifyNamesWhatDiffersAndRepairMendsJustThat(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, forgeType := range []string{"a", "b", "c"} {
		if _, err := h.writer.Append(t.Context(), signIn(forgeType)); err != nil {
			t.Fatal(err)
		}
	}
	stray := uuid.MustParse("00000000-0000-4000-8000-000000000001")
	for _, tampering := range []string{
		`UPDATE operator_oauth_tokens SET base_url = 'https://evil.example', access_token = '\x00' WHERE forge_type = 'a'`,
		`DELETE FROM operator_oauth_tokens WHERE forge_type = 'b'`,
		`INSERT INTO token_revocations VALUES ('` + stray.String() + `', 'a', '', '', 1, '', now(), 1, 0, now())`,
		`UPDATE active_forge_type SET forge_type = 'a'`,
	} {
		if _, err := h.pool.Exec(t.Context(), tampering); err != nil {
			t.Fatal(err)
		}
	}
	before := rowVersions(t, h, "c")
	want := projections.Report{Through: 6, Rows: 4, Differences: []projections.Difference{
		{Table: "operator_oauth_tokens", Key: "a", Column: "base_url", Have: "https://evil.example", Want: "https://a.example"},
		{Table: "operator_oauth_tokens", Key: "a", Column: "access_token", Have: "00", Want: "61"},
		{Table: "operator_oauth_tokens", Key: "b", Have: "none", Want: "a row"},
		{Table: "token_revocations", Key: stray.String(), Have: "a row", Want: "none"},
		{Table: "active_forge_type", Key: "true", Column: "forge_type", Have: "a", Want: "c"},
	}}
	if diff := cmp.Diff(want, verify(t, h, projections.VerifyOptions{})); diff != "" {
		t.Fatal(diff)
	}
	want.Repaired = true
	if diff := cmp.Diff(want, verify(t, h, projections.VerifyOptions{Repair: true})); diff != "" {
		t.Fatal(diff)
	}
	clean := projections.Report{Through: 6, Rows: 4, Differences: []projections.Difference{}}
	if diff := cmp.Diff(clean, verify(t, h, projections.VerifyOptions{Repair: true})); diff != "" {
		t.Fatal(diff)
	}
	if after := rowVersions(t, h, "c"); after != before {
		t.Fatal("repair rewrote a row that did not differ")
	}
	if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
		t.Fatal(err)
	}
	if report := verify(t, h, projections.VerifyOptions{}); len(report.Differences) != 0 {
		t.Fatalf("after another append: %+v", report.Differences)
	}
}

// A value that no row of Go can hold is a difference like any other, and not the end of the repair.
func TestRepairMendsRowsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
		t.Fatal(err)
	}
	for _, tampering := range []string{
		`UPDATE operator_oauth_tokens SET scopes = ARRAY['api', NULL], expires_at = 'infinity'`,
		`UPDATE active_forge_type SET since = '-infinity'`,
		`INSERT INTO operator VALUES (true, now(), '{"who": "everybody"}', 1)`,
	} {
		if _, err := h.pool.Exec(t.Context(), tampering); err != nil {
			t.Fatal(err)
		}
	}
	var since string
	for e, err := range h.log.Read(t.Context(), events.Query{Types: []string{"ForgeActivated"}}) {
		if err != nil {
			t.Fatal(err)
		}
		since = e.OccurredAt.Format(time.RFC3339Nano)
	}
	want := projections.Report{Through: 2, Rows: 2, Repaired: true, Differences: []projections.Difference{
		{Table: "operator_oauth_tokens", Key: "a", Column: "scopes", Have: "unreadable", Want: "null"},
		{Table: "active_forge_type", Key: "true", Column: "since", Have: "unreadable", Want: since},
		{Table: "operator", Key: "true", Have: "a row", Want: "none"},
	}}
	if diff := cmp.Diff(want, verify(t, h, projections.VerifyOptions{Repair: true})); diff != "" {
		t.Fatal(diff)
	}
	if report := verify(t, h, projections.VerifyOptions{}); len(report.Differences) != 0 {
		t.Fatalf("after the repair: %+v", report.Differences)
	}
	if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
		t.Fatal(err)
	}
}

// A writer has read rows that were wrong, and remembers them when they have been repaired: it must not go on with them.
func TestAWriterForgetsWhatWasRepaired(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"one trip", "two trips"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
				t.Fatal(err)
			}
			if _, err := h.pool.Exec(t.Context(), `UPDATE operator_oauth_tokens SET base_url = 'https://evil.example'`); err != nil {
				t.Fatal(err)
			}
			var seen string // by the run of the decision that counts
			d := signIn("a")
			decide := d.Decide
			d.Decide = func(state *projections.State, now time.Time) (events.Outcome, error) {
				token, _ := state.Token("a")
				seen = token.BaseURL
				outcome, err := decide(state, now)
				outcome.Drafts = outcome.Drafts[1:] // activates, and leaves the token as it is
				return outcome, err
			}
			w := newWriter(t, h.db.URL)
			if _, err := w.Append(t.Context(), d); err != nil || seen != "https://evil.example" {
				t.Fatalf("%v; saw %q", err, seen)
			}
			if report := verify(t, h, projections.VerifyOptions{Repair: true}); !report.Repaired {
				t.Fatalf("%+v", report)
			}
			if path == "two trips" { // reads a stream of which the writer knows nothing
				d.Streams = append(d.Streams, events.TokenStream("b"))
			}
			if _, err := w.Append(t.Context(), d); err != nil || seen != "https://a.example" {
				t.Errorf("%v; saw %q", err, seen)
			}
		})
	}
}

func TestARepairTakesTheAppendLock(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	tx, err := h.db.Conn(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Lock(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	repaired := make(chan error, 1)
	go func() {
		_, err := projections.Verify(t.Context(), h.pool, projections.VerifyOptions{Repair: true})
		repaired <- err
	}()
	for waits := false; !waits; {
		select {
		case err := <-repaired:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
		err := tx.QueryRow(t.Context(), `
			SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_locks w USING (locktype, database, classid, objid, objsubid)
			    WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid() AND l.granted AND NOT w.granted)`).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-repaired; err != nil {
		t.Fatal(err)
	}
}

// The log is read as a stream, and folded as it comes: what is held at any time is the rows.
func TestMemoryFollowsTheRowsAndNotTheHistory(t *testing.T) { //nolint:paralleltest // the heap is everybody's
	h := newHouse(t)
	const length, size, most = 10_000, 8_000, 16 << 20
	_, err := h.pool.Exec(t.Context(), `
		INSERT INTO events
		SELECT n, gen_random_uuid(), 'active-forge', n, 'ForgeActivated', 1, now(), 'test', gen_random_uuid(),
		       json_build_object('forge_type', 'a', 'previous', 'a', 'padding', repeat('x', $2)), NULL
		FROM generate_series(1, $1) n`, length, size)
	if err != nil {
		t.Fatal(err)
	}
	inUse := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before, samples := inUse(), 0
	report := verify(t, h, projections.VerifyOptions{Progress: func(done, total int64) {
		samples++
		if now := inUse(); now > before+most {
			t.Errorf("%d bytes in use after %d of %d events of %d bytes, %d before", now, done, total, size, before)
		}
	}})
	if report.Through != length || samples < 3 {
		t.Errorf("folded through %d, with %d samples", report.Through, samples)
	}
}

// rowVersions returns which transaction wrote the row of a connection.
func rowVersions(t *testing.T, h *house, forgeType string) (xmin string) {
	t.Helper()
	err := h.pool.QueryRow(t.Context(), `SELECT xmin::text FROM operator_oauth_tokens WHERE forge_type = $1`, forgeType).Scan(&xmin)
	if err != nil {
		t.Fatal(err)
	}
	return xmin
}

func TestANewerFoldStopsThisOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.pool.Exec(t.Context(), `UPDATE projections SET version = version + 1 WHERE name = 'active_forge_type'`); err != nil {
		t.Fatal(err)
	}
	// The writer remembers the tail, and finds out all the same.
	if _, err := h.writer.Append(t.Context(), signIn("a")); !errors.Is(err, events.ErrOutdated) {
		t.Fatalf("append: %v", err)
	}
	if _, err := projections.Verify(t.Context(), h.pool, projections.VerifyOptions{Repair: true}); !errors.Is(err, events.ErrOutdated) {
		t.Fatalf("repair: %v", err)
	}
}

// A newer program may keep a table that this one has never heard of. It would go stale if this one went on writing.
func TestAFoldThatOnlyANewerProgramHasStopsThisOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.pool.Exec(t.Context(), `INSERT INTO projections (name, version) VALUES ('of_the_future', 1)`); err != nil {
		t.Fatal(err)
	}
	// The writer remembers the tail, and finds out all the same.
	if _, err := h.writer.Append(t.Context(), signIn("a")); !errors.Is(err, events.ErrOutdated) {
		t.Fatalf("append: %v", err)
	}
}

// startSession begins a session whose secret has that hash.
func startSession(id uuid.UUID, hash string) decision {
	stream := events.SessionStream(id)
	return decision{
		Actor:       "test",
		Correlation: uuid.Must(uuid.NewV7()),
		Fresh:       []events.Stream{stream},
		Decide: func(_ *projections.State, now time.Time) (events.Outcome, error) {
			fact := events.SessionStarted{IdleUntil: now.Add(time.Hour), ExpiresAt: now.Add(time.Hour)}
			return events.Outcome{Drafts: []events.Draft{{Stream: stream, Fact: fact, Sealed: []byte(hash)}}}, nil
		},
	}
}

// Rows that are wrong stand in each other's way where a column is unique: two sessions have changed places, and a third
// one's row goes by another name.
func TestRepairUntanglesRowsThatHoldEachOthersHashes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, name := range []string{"a", "b", "c"} {
		if _, err := h.writer.Append(t.Context(), startSession(uuid.NewSHA1(uuid.Nil, []byte(name)), name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tampering := range []string{
		`UPDATE operator_sessions SET secret_hash = 'x' WHERE secret_hash = 'a'`,
		`UPDATE operator_sessions SET secret_hash = 'a' WHERE secret_hash = 'b'`,
		`UPDATE operator_sessions SET secret_hash = 'b' WHERE secret_hash = 'x'`,
		`UPDATE operator_sessions SET session_id = gen_random_uuid() WHERE secret_hash = 'c'`,
	} {
		if _, err := h.pool.Exec(t.Context(), tampering); err != nil {
			t.Fatal(err)
		}
	}
	if report := verify(t, h, projections.VerifyOptions{Repair: true}); !report.Repaired || len(report.Differences) != 4 {
		t.Fatalf("repair: %+v", report)
	}
	if report := verify(t, h, projections.VerifyOptions{}); len(report.Differences) != 0 {
		t.Fatalf("after the repair: %+v", report.Differences)
	}
}

func TestAnOlderFoldIsRepairedBeforeItIsWrittenTo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if _, err := h.pool.Exec(t.Context(), `UPDATE projections SET version = 0 WHERE name = 'operator'`); err != nil {
		t.Fatal(err)
	}
	if _, err := h.writer.Append(t.Context(), signIn("a")); !errors.Is(err, events.ErrBehind) {
		t.Fatalf("append: %v", err)
	}
	if report := verify(t, h, projections.VerifyOptions{Repair: true}); !report.Repaired {
		t.Fatalf("%+v", report)
	}
	if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
		t.Fatal(err)
	}
}

func TestAMissingEventIsAGap(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for range 2 {
		if _, err := h.writer.Append(t.Context(), signIn("a")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tampering := range []string{
		`ALTER TABLE events DISABLE TRIGGER events_append_only`,
		`DELETE FROM events WHERE position = 2`,
	} {
		if _, err := h.pool.Exec(t.Context(), tampering); err != nil {
			t.Fatal(err)
		}
	}
	var gap *projections.GapError
	if _, err := projections.Verify(t.Context(), h.pool, projections.VerifyOptions{Repair: true}); !errors.As(err, &gap) || gap.After != 1 {
		t.Fatalf("verify: %v", err)
	}
}
