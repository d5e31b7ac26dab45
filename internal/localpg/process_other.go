//go:build unix && !linux

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// runsCluster reports whether a live process is a postmaster whose data directory is data, by the command line that ps
// shows.
func runsCluster(ctx context.Context, pid int, data string) (bool, error) {
	output, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ctx.Err() == nil {
		return false, nil // ps knows no such process
	} else if err != nil {
		return false, fmt.Errorf("read the command line of process %d: %w", pid, err)
	}
	return strings.Contains(string(output), "/postgres -D "+data+" "), nil
}

// endWithParent does nothing: there is no parent death signal here, and the next Start takes over what a killed
// forgeauth left running.
func endWithParent(*syscall.SysProcAttr) {}
