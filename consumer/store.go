package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// Mark is how far a consumer has got in one stream.
type Mark struct {
	Position int64     `json:"position"`
	ID       uuid.UUID `json:"id"` // of the event there
}

// passes reports whether the event at another mark is yet to be handled. The error is [ErrForked].
func (m Mark) passes(next Mark) (bool, error) {
	if m.Position == next.Position && m.ID != next.ID {
		return false, fmt.Errorf("%w (position %d: %s, now %s)", ErrForked, m.Position, m.ID, next.ID)
	}
	return next.Position > m.Position, nil
}

// Store remembers what a consumer has handled. [NewMemory], [OpenFile] and [NewPostgres] make one; others can be written. Implementations
// are safe for concurrent use.
type Store interface {
	// Do calls handle, unless the mark that is kept under the key is at the same position or beyond it, and keeps the new mark if handle
	// returns nil. Calls with the same key follow each other. It returns [ErrForked], handle's error, or its own; then the mark is
	// the old one, or it is not known which.
	Do(ctx context.Context, key string, next Mark, handle func(context.Context) error) error
	// Position is the greatest position of all marks; 0 if there is none.
	Position(ctx context.Context) (int64, error)
}

// maxMarks bounds how many streams are remembered: those that an event came of last. Sessions are streams, and end.
const maxMarks = 10_000

// marks are kept in memory, and saved whenever they change.
type marks struct {
	save func(map[string]Mark) error

	mu   sync.Mutex
	kept map[string]Mark
}

// NewMemory returns a store that forgets with the process, for consumers whose effects may be repeated when they start.
func NewMemory() Store {
	return &marks{kept: map[string]Mark{}, save: func(map[string]Mark) error { return nil }}
}

// OpenFile returns a store that is a file (JSON), which is made if it is not there. It is written and flushed to the disk after each
// event, as a whole, by renaming: what it holds is never half. One process uses it at a time.
func OpenFile(path string) (Store, error) {
	kept := map[string]Mark{}
	content, err := os.ReadFile(path) //nolint:gosec // the program names it
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open the store: %w", err)
	default:
		if err := json.Unmarshal(content, &kept); err != nil {
			return nil, fmt.Errorf("open the store %s: %w: remove it to begin anew", path, err)
		}
	}
	s := &marks{kept: kept, save: func(kept map[string]Mark) error { return writeFile(path, kept) }}
	if err := s.save(kept); err != nil { // rather now than after the first event
		return nil, err
	}
	return s, nil
}

func writeFile(path string, kept map[string]Mark) error {
	content, err := json.Marshal(kept)
	if err != nil {
		return fmt.Errorf("save the store: %w", err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("save the store: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // unless it was renamed
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("save the store: %w", err)
	}
	return syncDirectory(filepath.Dir(path))
}

// syncDirectory makes a rename durable.
func syncDirectory(path string) error {
	directory, err := os.Open(path) //nolint:gosec // the program names it
	if err != nil {
		return fmt.Errorf("save the store: %w", err)
	}
	defer func() { _ = directory.Close() }()
	if err := directory.Sync(); err != nil {
		return fmt.Errorf("save the store: %w", err)
	}
	return nil
}

// Do implements [Store].
func (s *marks) Do(ctx context.Context, key string, next Mark, handle func(context.Context) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if passes, err := s.kept[key].passes(next); err != nil || !passes {
		return err
	}
	if err := handle(ctx); err != nil {
		return err
	}
	before, had := s.kept[key]
	s.kept[key] = next
	s.prune()
	if err := s.save(s.kept); err != nil {
		delete(s.kept, key)
		if had {
			s.kept[key] = before
		}
		return err
	}
	return nil
}

// prune forgets the streams of which nothing has come for longest.
func (s *marks) prune() {
	if len(s.kept) <= maxMarks {
		return
	}
	keys := slices.SortedFunc(maps.Keys(s.kept), func(a, b string) int { return int(s.kept[a].Position - s.kept[b].Position) })
	for _, key := range keys[:maxMarks/10] {
		delete(s.kept, key)
	}
}

// Position implements [Store].
func (s *marks) Position(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	greatest := int64(0)
	for _, mark := range s.kept {
		greatest = max(greatest, mark.Position)
	}
	return greatest, nil
}
