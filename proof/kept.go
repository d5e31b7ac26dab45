package proof

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Kept is a file outside of the database that holds the newest checkpoint which was signed. Who can write to the database but not
// to the file can neither take back what was signed nor have another history signed. One process may write to it at a time.
type Kept string

// Read returns the checkpoint, empty if there is no file yet.
func (k Kept) Read() (string, error) {
	file, err := os.Open(string(k))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the kept checkpoint: %w", err)
	}
	defer func() { _ = file.Close() }()
	text, err := readCheckpoint(file)
	if err != nil {
		return "", fmt.Errorf("the kept checkpoint: %w", err)
	}
	return text, nil
}

// write replaces the file: after a crash it holds the old checkpoint or the new one.
func (k Kept) write(checkpoint string) error {
	if err := k.replace(checkpoint); err != nil {
		return fmt.Errorf("keep the checkpoint: %w", err)
	}
	return nil
}

//nolint:wrapcheck // write does
func (k Kept) replace(checkpoint string) error {
	dir := filepath.Dir(string(k))
	file, err := os.CreateTemp(dir, "."+filepath.Base(string(k))+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.WriteString(checkpoint)
	if err := errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), string(k)); err != nil {
		return err
	}
	parent, err := os.Open(dir) //nolint:gosec // the operator's own setting
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}
