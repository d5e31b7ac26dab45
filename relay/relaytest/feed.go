package relaytest

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
	"github.com/forgeauth/forgeauth/projections"
	"github.com/forgeauth/forgeauth/relay"
)

// losesNothing runs a real feed into the server while that is restarted twice.
func losesNothing(t *testing.T, s Suite) {
	t.Helper()
	const batches, size = 30, 10
	server := s.Start(t)
	db := pgtest.Migrated(t, migrations.Up)
	conn, err := pgx.ParseConfig(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	pool, logger := db.Pool(t), slog.New(slog.NewTextHandler(t.Output(), nil))
	writer := events.NewWriter(events.WriterConfig{Conn: conn, Logger: logger}, projections.NewState())
	feed := events.NewFeed(events.FeedConfig{Pool: pool, Conn: conn, Poll: 200 * time.Millisecond, Logger: logger})
	router := relay.New(relay.Config{Feed: feed, Logger: logger})
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		for _, err := range []error{router.Close(), feed.Close(), writer.Close(ctx)} {
			if err != nil {
				t.Error(err)
			}
		}
	}()
	policy := events.Policy{OutageWaits: []time.Duration{20 * time.Millisecond}}
	if err := router.Publish(t.Context(), events.GroupConfig{Name: "out", Policy: policy}, events.TopicAll, server.Destination(t)); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for batch := range batches {
		stream := events.TokenStream("forge-" + strconv.Itoa(batch%3))
		appended, err := writer.Append(t.Context(), events.Decision[*projections.State]{
			Actor: "test", Correlation: uuid.Must(uuid.NewV7()), Streams: []events.Stream{stream},
			Decide: func(*projections.State, time.Time) (out events.Outcome, _ error) {
				for range size {
					out.Drafts = append(out.Drafts, events.Draft{Stream: stream, Fact: events.LoginDenied{Reason: "x"}})
				}
				return out, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range appended {
			want[s.Key(stream)] = append(want[s.Key(stream)], e.ID.String())
		}
		if batch == batches/3 || batch == 2*batches/3 {
			server.Stop(t)
			server.Start(t)
		}
	}
	subscriptions := events.NewSubscriptions(pool)
	eventually(t, "the cursor is at the end", func() bool {
		g, err := subscriptions.Get(t.Context(), "out")
		return err == nil && g.Position == batches*size && len(g.Parked) == 0
	})
	got, seen := map[string][]string{}, map[string]bool{}
	for _, r := range server.Received(t) {
		if !seen[r.ID] {
			seen[r.ID] = true
			got[r.Key] = append(got[r.Key], r.ID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ids by key, without duplicates (-want +got):\n%s", diff)
	}
}
