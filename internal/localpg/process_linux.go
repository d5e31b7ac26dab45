package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// runsCluster reports whether a live process is a postmaster whose data directory is data. It reads the command line, which, unlike
// the links in /proc, needs no privilege over another account's process: a root in a container often has none.
func runsCluster(_ context.Context, pid int, data string) (bool, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read the command line of process %d: %w", pid, err)
	}
	// A zombie has no command line, and the children of a postmaster show a title of their own.
	args := bytes.Split(content, []byte{0})
	if filepath.Base(string(args[0])) != "postgres" {
		return false, nil
	}
	for i, arg := range args[:len(args)-1] {
		if string(arg) == "-D" {
			return sameFile(string(args[i+1]), data), nil
		}
	}
	return false, nil
}

func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// endWithParent has the kernel shut the server down fast when forgeauth ends without having done so. The signal
// follows the thread that started the server, so that one has to live as long.
func endWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGINT }
