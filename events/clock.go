package events

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// QueueClock queues reading the database's clock, for deadlines that processes with clocks of their own agree on. Under the
// append lock it says when the decision is taken.
func QueueClock(batch *pgx.Batch, read func(time.Time)) {
	batch.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error {
		var now time.Time
		if err := row.Scan(&now); err != nil {
			return fmt.Errorf("read the clock: %w", err)
		}
		read(now.UTC())
		return nil
	})
}
