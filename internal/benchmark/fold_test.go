package benchmark_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/projections"
)

// foldEvents is the length of the log that is folded.
const foldEvents = 40_000

// BenchmarkFold is folding a long log beside reading its positions and payloads in order with bare pgx and decoding each payload
// into the struct of its type.
func BenchmarkFold(b *testing.B) {
	url, pool := database(b)
	w := writer(b, url)
	fill := perWorker(32, func(worker int) func(context.Context) error {
		return signIn(w, fmt.Sprintf("forge-%d", worker), true)
	})
	measure(b, 32, foldEvents/2, fill)
	log := events.NewLog(pool)
	ours := func(ctx context.Context, _ int) error {
		state, folded := projections.NewState(), 0
		for e, err := range log.Read(ctx, events.Query{}) {
			if err != nil {
				return err
			}
			if err := state.Apply(e); err != nil {
				return err
			}
			folded++
		}
		return expect(folded)
	}
	limit := func(ctx context.Context, _ int) error {
		rows, err := pool.Query(ctx, `
			SELECT position, event_id, stream, stream_version, type, schema, occurred_at, actor, correlation_id, payload, sealed
			FROM events ORDER BY position`)
		if err != nil {
			return err
		}
		var (
			r    events.Record
			read int
		)
		_, err = pgx.ForEachRow(rows, []any{
			&r.Position, (*[16]byte)(&r.ID), (*string)(&r.Stream), &r.StreamVersion, &r.Type, &r.Schema, &r.OccurredAt, &r.Actor,
			(*[16]byte)(&r.CorrelationID), (*[]byte)(&r.Payload), &r.Sealed,
		}, func() error {
			read++
			if r.Type == "TokenIssued" {
				var fact events.TokenIssued
				return json.Unmarshal(r.Payload, &fact)
			}
			var fact events.ForgeActivated
			return json.Unmarshal(r.Payload, &fact)
		})
		if err != nil {
			return err
		}
		return expect(read)
	}
	compare(b, 1, 4, ours, limit)
}

func expect(read int) error {
	if read != foldEvents {
		return fmt.Errorf("read %d events, want %d", read, foldEvents)
	}
	return nil
}
