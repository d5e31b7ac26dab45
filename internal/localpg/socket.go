package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// port only names the socket file: the server listens on no network address.
const port = "5432"

const socketName = ".s.PGSQL." + port

// longestSocket is the longest path of a Unix socket in bytes, without its terminating zero.
func longestSocket() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103
}

// fits reports whether the socket can be in dir: its path must not be too long, nor hold a comma, which separates hosts in a
// connection string.
func fits(dir string) bool {
	return len(dir)+len("/"+socketName) <= longestSocket() && !strings.Contains(dir, ",")
}

const socketDirPattern = "forgeauth-pg-"

// openSocketDir makes the directory of the socket: run/ within the directory, else, where the path would not do, a fresh one
// under the temporary directory, whose name the directory keeps so that the next Start can remove it.
func (d *directory) openSocketDir(reaches func(dir string) error) (string, error) {
	if dir := d.join(runName); fits(dir) {
		return dir, d.mkdir(runName)
	}
	var failures []error
	for _, parent := range []string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(parent, socketDirPattern)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if err := d.prepareSocketDir(dir, reaches); err != nil {
			_ = os.Remove(dir)
			failures = append(failures, err)
			continue
		}
		return dir, nil
	}
	return "", fmt.Errorf("localpg: find a place for the server's socket, whose path may have %d bytes and no comma: %w",
		longestSocket(), errors.Join(failures...))
}

func (d *directory) prepareSocketDir(dir string, reaches func(dir string) error) error {
	if !fits(dir) {
		return fmt.Errorf("%s is too long or has a comma", dir)
	}
	if d.as.become != nil {
		if err := os.Lchown(dir, d.as.uid, d.as.gid); err != nil {
			return fmt.Errorf("give it to %s: %w", d.as.name, err)
		}
	}
	if err := reaches(dir); err != nil {
		return err
	}
	note, err := d.create(socketDirName, os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = note.WriteString(dir)
	return errors.Join(err, note.Close())
}

// closeSocketDir removes the directory of the socket that an earlier Start made outside the directory. Only what looks like one is
// touched: the name is kept in a file that the account can write.
func (d *directory) closeSocketDir() error {
	content, err := d.root.ReadFile(socketDirName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("localpg: find the directory of the old socket: %w", err)
	}
	dir := string(content)
	info, err := os.Lstat(dir)
	if err == nil && info.IsDir() && ownerOf(info) == d.as.uid && strings.HasPrefix(filepath.Base(dir), socketDirPattern) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return fmt.Errorf("localpg: remove the directory of the old socket: %w", err)
		}
		_ = root.Remove(socketName)
		_ = root.Remove(socketName + ".lock")
		if err := errors.Join(root.Close(), os.Remove(dir)); err != nil {
			return fmt.Errorf("localpg: remove the directory of the old socket: %w", err)
		}
	}
	if err := d.root.Remove(socketDirName); err != nil {
		return fmt.Errorf("localpg: forget the directory of the old socket: %w", err)
	}
	return nil
}
