package proof

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
)

// SignerConfig says what a [Signer] works with.
type SignerConfig struct {
	Pool *pgxpool.Pool
	Feed *events.Feed
	Keys *Keys
	// Kept is where the newest checkpoint is kept outside of the database.
	Kept Kept
	// Signed, if not nil, is called with each checkpoint after it was stored. It must not block.
	Signed func(checkpoint string)
	Logger *slog.Logger     // nil discards
	NewID  func() uuid.UUID // nil draws random ones
}

// Signer advances the tree right behind the appends, and signs. Any number of processes may run one: the one that holds the lease
// works, and the others wait for it to lapse.
type Signer struct {
	config SignerConfig
	log    *events.Log
	id     uuid.UUID
	refuse atomic.Pointer[RefusedError]
	size   atomic.Int64
}

const (
	// lease is how long a signer that says nothing keeps the others waiting.
	lease = 30 * time.Second
	// pace is the least time between two checkpoints: what is appended meanwhile shares one.
	pace = 500 * time.Millisecond
	// retry is how long after a failure the next try is.
	retry = 5 * time.Second
	// stride is how many events one transaction adds.
	stride = 16 << 10
)

// RefusedError says that the log contradicts what was signed. Nothing is signed until that is explained.
type RefusedError struct {
	// Reason says which contradiction.
	Reason string
}

func (e *RefusedError) Error() string {
	return "the log is not the one that was signed: " + e.Reason +
		"; run `forgeauth verify`. Only if this is a backup that was restored on purpose, remove the file of the kept checkpoint"
}

// NewSigner returns a signer that does nothing before it is run.
func NewSigner(config SignerConfig) *Signer {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.NewID == nil {
		config.NewID = uuid.New //nolint:forbidigo // the default
	}
	return &Signer{config: config, log: events.NewLog(config.Pool), id: config.NewID()}
}

// Err returns why the signer refuses to sign, a *[RefusedError], or nil if it does not.
func (s *Signer) Err() error {
	refused := s.refuse.Load()
	if refused == nil {
		return nil
	}
	return fmt.Errorf("signing: %w", refused)
}

// Size is up to which position this process knows the log to be signed.
func (s *Signer) Size() int64 { return s.size.Load() }

// Run signs until ctx ends. What goes wrong is logged, and tried again.
func (s *Signer) Run(ctx context.Context) {
	defer s.release(context.WithoutCancel(ctx))
	for ctx.Err() == nil {
		wait, err := s.catchUp(ctx)
		switch refused, _ := errors.AsType[*RefusedError](err); {
		case ctx.Err() != nil:
			return
		case refused != nil:
			if s.refuse.Swap(refused) == nil {
				s.config.Logger.ErrorContext(ctx, "checkpoints are not signed any more", "error", err)
			}
			wait = retry
		case err != nil:
			s.config.Logger.WarnContext(ctx, "could not sign a checkpoint; it is tried again", "error", err)
			wait = retry
		default:
			if s.refuse.Swap(nil) != nil {
				s.config.Logger.InfoContext(ctx, "checkpoints are signed again")
			}
		}
		if !pause(ctx, max(wait, pace)) {
			return
		}
		if wait == 0 {
			if _, err := s.config.Feed.Follow(s.Size()).Next(ctx); err != nil && !pause(ctx, retry) {
				return
			}
		}
	}
}

// pause waits, and reports whether ctx lives on.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// catchUp advances until everything is signed. A wait is how long another process still has the lease.
func (s *Signer) catchUp(ctx context.Context) (wait time.Duration, err error) {
	for {
		done, wait, err := s.advance(ctx)
		if done || wait > 0 || err != nil {
			return wait, err
		}
	}
}

// Advance adds what was appended to the tree and signs it, now, and gives up the lease. It fails with [ErrLeased], a *[RefusedError],
// or whatever else kept it from that.
func (s *Signer) Advance(ctx context.Context) error {
	wait, err := s.catchUp(ctx)
	if err == nil && wait > 0 {
		return ErrLeased
	}
	s.release(context.WithoutCancel(ctx))
	return err
}

// ErrLeased says that another process signs.
var ErrLeased = errors.New("another process signs this log")

// advance adds up to stride events in one transaction, and signs once there are no more.
func (s *Signer) advance(ctx context.Context) (done bool, wait time.Duration, err error) {
	var checkpoint string
	var size int64
	err = pgx.BeginTxFunc(ctx, s.config.Pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		a := advance{tx: tx, tree: &Tree{db: tx}}
		if wait, err = a.take(ctx, s.id); err != nil || wait > 0 {
			return err
		}
		if err := a.begin(ctx, s.config.Kept, s.config.Keys); err != nil {
			return err
		}
		for record, err := range s.log.Records(ctx, events.Query{After: a.edge.size, Limit: stride}) {
			if errors.Is(err, events.ErrDamaged) {
				return &RefusedError{fmt.Sprintf("what follows position %d cannot be read: %v", a.edge.size, err)}
			}
			if err == nil {
				err = a.add(record)
			}
			if err != nil {
				return err
			}
		}
		done = a.edge.size-a.first < stride
		if done && a.kept.N > a.edge.size {
			return &RefusedError{fmt.Sprintf("%d events were signed and it has %d: its end was cut off, or an old backup restored", a.kept.N, a.edge.size)}
		}
		size = a.edge.size
		checkpoint, err = a.finish(ctx, s.config, done)
		return err
	})
	if err != nil {
		return false, 0, fmt.Errorf("advance the tree: %w", err)
	}
	if wait > 0 {
		return false, wait, nil
	}
	s.size.Store(size)
	if checkpoint != "" && s.config.Signed != nil {
		s.config.Signed(checkpoint)
	}
	return done, 0, nil
}

// release lets another process sign at once.
func (s *Signer) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retry)
	defer cancel()
	_, err := s.config.Pool.Exec(ctx, `UPDATE log_tree SET until = '-infinity' WHERE holder = $1`, s.id)
	if err != nil {
		s.config.Logger.WarnContext(ctx, "could not give up the lease of signing; it lapses", "error", err)
	}
}

// advance is one transaction of a signer.
type advance struct {
	tx    pgx.Tx
	tree  *Tree
	edge  *frontier
	first int64 // the size at the beginning
	kept  tlog.Tree
	// current says that the kept checkpoint is signed by the present key.
	current bool
	full    []fullTile
}

type fullTile struct {
	level  int
	n      int64
	hashes []byte
}

// take takes the lease or prolongs it. The row stays locked until the transaction ends.
func (a *advance) take(ctx context.Context, id uuid.UUID) (wait time.Duration, err error) {
	var size int64
	var root []byte
	err = a.tx.QueryRow(ctx, `
		UPDATE log_tree
		   SET epoch = epoch + CASE WHEN holder = $1 THEN 0 ELSE 1 END, holder = $1, until = clock_timestamp() + $2
		 WHERE holder = $1 OR until < clock_timestamp()
		RETURNING size, root`, id, lease).Scan(&size, &root)
	if errors.Is(err, pgx.ErrNoRows) {
		err = a.tx.QueryRow(ctx, `SELECT greatest(until - clock_timestamp(), interval '1 millisecond') FROM log_tree`).Scan(&wait)
		if err != nil {
			return 0, fmt.Errorf("read the lease of signing: %w", err)
		}
		return wait, nil
	}
	if err != nil {
		return 0, fmt.Errorf("take the lease of signing: %w", err)
	}
	a.first = size
	if a.edge, err = a.tree.load(ctx, size); errors.Is(err, ErrNoTile) {
		return 0, &RefusedError{fmt.Sprintf("hashes of the tree of %d events are missing: %v", size, err)}
	} else if err != nil {
		return 0, err
	}
	if have := a.edge.root(); len(root) != tlog.HashSize || have != tlog.Hash(root) {
		return 0, &RefusedError{fmt.Sprintf("the hashes of the tree of %d events are not those that were stored", size)}
	}
	return 0, nil
}

// begin compares the tree with the kept checkpoint, as far as it goes.
func (a *advance) begin(ctx context.Context, kept Kept, keys *Keys) error {
	text, err := kept.Read()
	if err != nil {
		return err
	}
	if text != "" {
		if a.kept, err = keys.Policy().ReadCheckpoint(text); err != nil {
			return &RefusedError{"the kept checkpoint: " + err.Error()}
		}
		_, err := keys.present().ReadCheckpoint(text)
		a.current = err == nil
	}
	a.edge.full = func(level int, n int64, hashes []tlog.Hash) error {
		a.full = append(a.full, fullTile{level, n, pack(hashes)})
		return nil
	}
	if a.kept.N > 0 && a.kept.N <= a.first {
		if err := a.tree.Grown(ctx, a.kept, tlog.Tree{N: a.first, Hash: a.edge.root()}); err != nil {
			return &RefusedError{err.Error()}
		}
	}
	return nil
}

// add adds the next event.
func (a *advance) add(r events.Record) error {
	if r.Position != a.edge.size+1 {
		return &RefusedError{fmt.Sprintf("position %d is missing", a.edge.size+1)}
	}
	hash, err := leafHash(r)
	if err != nil {
		return err
	}
	if err := a.edge.push(hash); err != nil {
		return err
	}
	if a.edge.size == a.kept.N && a.edge.root() != a.kept.Hash {
		return &RefusedError{fmt.Sprintf("its first %d events hash to another root", a.kept.N)}
	}
	return nil
}

// finish stores what the tree has become and, at the end of the log, signs it: the kept checkpoint is replaced before the
// transaction commits, so that it is never behind what others may have seen.
func (a *advance) finish(ctx context.Context, config SignerConfig, sign bool) (checkpoint string, err error) {
	tree := tlog.Tree{N: a.edge.size, Hash: a.edge.root()}
	if tree.N == 0 {
		return "", nil
	}
	batch := &pgx.Batch{}
	a.queueTiles(batch)
	batch.Queue(`UPDATE log_tree SET size = $1, root = $2`, tree.N, tree.Hash[:])
	if sign {
		signed, err := a.signed(ctx, tree, config.Keys)
		if err != nil {
			return "", err
		}
		if !signed || a.kept.N < tree.N || !a.current {
			if checkpoint, err = config.Keys.sign(tree); err != nil {
				return "", err
			}
			batch.Queue(`
				INSERT INTO log_checkpoints (size, note) VALUES ($1, $2)
				ON CONFLICT (size) DO UPDATE SET note = excluded.note, signed_at = excluded.signed_at`, tree.N, checkpoint)
		}
	}
	if err := a.tx.SendBatch(ctx, batch).Close(); err != nil {
		return "", fmt.Errorf("store the tree: %w", err)
	}
	if checkpoint == "" {
		return "", nil
	}
	return checkpoint, config.Kept.write(checkpoint)
}

// signed reports whether there is a checkpoint of the tree that the present key has signed: when that is another one than before, a log to
// which nothing is appended is signed once more.
func (a *advance) signed(ctx context.Context, tree tlog.Tree, keys *Keys) (bool, error) {
	var text string
	err := a.tx.QueryRow(ctx, `SELECT note FROM log_checkpoints WHERE size = $1`, tree.N).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a checkpoint: %w", err)
	}
	_, err = keys.present().ReadCheckpoint(text)
	return err == nil, nil
}

// queueTiles stores the tiles that have become full and the last one of each level that has changed.
func (a *advance) queueTiles(batch *pgx.Batch) {
	tiles := a.full
	for level, hashes := range a.edge.edges {
		if n, width := a.edge.edge(level); width > 0 && a.first>>(tileHeight*level) != a.edge.size>>(tileHeight*level) {
			tiles = append(tiles, fullTile{level, n, pack(hashes)})
		}
	}
	for _, tile := range tiles {
		batch.Queue(`
			INSERT INTO log_tiles (level, n, hashes) VALUES ($1, $2, $3)
			ON CONFLICT (level, n) DO UPDATE SET hashes = excluded.hashes`, tile.level, tile.n, tile.hashes)
	}
}
