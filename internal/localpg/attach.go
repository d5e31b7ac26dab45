package localpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrNotRunning says that no server accepts connections in a directory.
var ErrNotRunning = errors.New("localpg: no server is running there, or it is starting or ending at this moment: try again")

// Running returns the connection string of the server that another process keeps in dir, for whoever met its [InUseError]. It
// reads what that server notes about itself, starts nothing and takes no lock, so the server may end at any time; it returns
// [ErrNotRunning] where none accepts connections. Only root and the account that the server runs as can use the answer.
func Running(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("localpg: find the data directory: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return "", fmt.Errorf("localpg: open the data directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	// Postgres's documentation of postmaster.pid: pid, data directory, start, port, socket directory, address, key, status.
	content, err := root.ReadFile(filepath.Join(dataName, "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotRunning
	} else if err != nil {
		return "", fmt.Errorf("localpg: look for the running server: %w", err)
	}
	const portLine, socketDirLine, statusLine = 3, 4, 7
	lines := strings.Split(string(content), "\n")
	if len(lines) <= statusLine || strings.TrimSpace(lines[statusLine]) != "ready" || lines[portLine] != port {
		return "", ErrNotRunning
	}
	s := Server{socketDir: lines[socketDirLine]}
	return s.URL(), nil
}
