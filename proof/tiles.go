package proof

import (
	"context"
	"errors"
	"fmt"

	"filippo.io/torchwood"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
)

var (
	// ErrNoCheckpoint says that nothing has been signed yet.
	ErrNoCheckpoint = errors.New("no checkpoint has been signed: set FORGEAUTH_SIGNING_KEY and let forgeauth serve")
	// ErrNotSigned says that no checkpoint covers an event yet.
	ErrNotSigned = errors.New("no signed checkpoint covers this event yet: try again in a second")
	// ErrNoTile says that the tree has no such tile, or not that much of it yet.
	ErrNoTile = errors.New("the tree has no such tile")
)

// querier is a pool, a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Tree reads the tree and its checkpoints as they are stored. Whoever must not trust the database uses what it returns only as
// proofs and checks those. Safe for concurrent use.
type Tree struct {
	db querier
}

// NewTree returns the tree in the current schema of the pool's connections.
func NewTree(pool *pgxpool.Pool) *Tree { return &Tree{db: pool} }

// TilePath names a tile: its level, its number and how much of it is asked for. Its height is 8.
type TilePath = tlog.Tile

// ParseTilePath reads the path of a tile relative to the log's (C2SP tlog-tiles): tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>].
// What is no such path names no tile: [ErrNoTile].
func ParseTilePath(path string) (TilePath, error) {
	tile, err := torchwood.ParseTilePath(path)
	if err != nil || tile.L >= maxLevels {
		return TilePath{}, ErrNoTile
	}
	return tile, nil
}

// Tile returns the hashes of a tile, 32 bytes each, of which there are t.W; or [ErrNoTile]. The tile's height is 8.
func (t *Tree) Tile(ctx context.Context, tile TilePath) ([]byte, error) {
	var hashes []byte
	err := t.db.QueryRow(ctx, `SELECT hashes FROM log_tiles WHERE level = $1 AND n = $2`, tile.L, tile.N).Scan(&hashes)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && len(hashes) < tile.W*tlog.HashSize {
		return nil, ErrNoTile
	}
	if err != nil {
		return nil, events.ReadError("read a tile", err)
	}
	return hashes[:tile.W*tlog.HashSize], nil
}

// Entries returns the leaves of a tile of level 0 in the form of an entry bundle: each with its length before it, in 2 bytes.
// Only what the tree has advanced over is returned; [ErrNoTile] if that is less than the tile's width.
func (t *Tree) Entries(ctx context.Context, log *events.Log, tile TilePath) ([]byte, error) {
	if size, err := t.Size(ctx); err != nil {
		return nil, err
	} else if tile.N*tileWidth+int64(tile.W) > size {
		return nil, ErrNoTile
	}
	var bundle []byte
	first := tile.N * tileWidth
	for record, err := range log.Records(ctx, events.Query{After: first, Through: first + int64(tile.W)}) {
		if err != nil {
			return nil, err
		}
		leaf := Leaf(record)
		if bundle, err = torchwood.AppendTileEntry(bundle, leaf); err != nil {
			return nil, fmt.Errorf("event %d: %w", record.Position, err)
		}
	}
	return bundle, nil
}

// Size returns how many events the tree has advanced over.
func (t *Tree) Size(ctx context.Context) (size int64, err error) {
	if err := t.db.QueryRow(ctx, `SELECT size FROM log_tree`).Scan(&size); err != nil {
		return 0, events.ReadError("read the size of the tree", err)
	}
	return size, nil
}

// Checkpoint returns the newest signed checkpoint, or [ErrNoCheckpoint].
func (t *Tree) Checkpoint(ctx context.Context) (string, error) {
	var text string
	err := t.db.QueryRow(ctx, `SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1`).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrNoCheckpoint
	}
	if err != nil {
		return "", events.ReadError("read the checkpoint", err)
	}
	return text, nil
}

// reader returns the tree's hashes for the functions of tlog, unchecked.
func (t *Tree) reader(ctx context.Context) tlog.HashReader {
	tiles := map[tlog.Tile][]byte{}
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			tile := tlog.TileForIndex(tileHeight, index)
			data, ok := tiles[tile]
			if !ok {
				var err error
				if data, err = t.Tile(ctx, tile); err != nil {
					return nil, err
				}
				tiles[tile] = data
			}
			hash, err := tlog.HashFromTile(tile, data, index)
			if err != nil {
				return nil, fmt.Errorf("tile %s: %w", tile.Path(), err)
			}
			hashes[i] = hash
		}
		return hashes, nil
	})
}

// load returns the right edge of a tree of size leaves, or an error if the tiles are not those of one.
func (t *Tree) load(ctx context.Context, size int64) (*frontier, error) {
	edge := &frontier{size: size}
	for level := range edge.edges {
		n, width := edge.edge(level)
		if width == 0 {
			continue
		}
		data, err := t.Tile(ctx, tlog.Tile{H: tileHeight, L: level, N: n, W: width})
		if err != nil {
			return nil, fmt.Errorf("tile %d of level %d: %w", n, level, err)
		}
		edge.edges[level] = unpack(data)
	}
	return edge, nil
}
