package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// accountNames are the accounts that a root forgeauth runs Postgres as, in order of preference: one made for the
// purpose before the one that everybody shares.
func accountNames() []string { return []string{"forgeauth", "postgres", "nobody"} }

// account is the operating system user that the processes of a cluster run as.
type account struct {
	name     string
	uid, gid int
	become   *syscall.Credential // what forgeauth, being root, becomes for them; nil where it stays what it is
}

// chooseAccount returns the account for the cluster in dir: whoever runs forgeauth, or, where that is root, the owner
// of the cluster that is there, else the first of accountNames.
func chooseAccount(dir string) (account, error) {
	if os.Geteuid() != 0 {
		return account{name: strconv.Itoa(os.Geteuid()), uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	if dir == "" { // an ephemeral cluster: there is none yet
		return firstAccount()
	}
	info, err := os.Lstat(filepath.Join(dir, dataName))
	switch {
	case err == nil && ownerOf(info) != 0:
		return lookUpAccount(user.LookupId, strconv.Itoa(ownerOf(info)))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return account{}, fmt.Errorf("localpg: look at the cluster: %w", err)
	}
	return firstAccount()
}

func firstAccount() (account, error) {
	for _, name := range accountNames() {
		if found, err := lookUpAccount(user.Lookup, name); err == nil && found.uid != 0 {
			return found, nil
		}
	}
	return account{}, ErrNoAccount
}

func lookUpAccount(look func(string) (*user.User, error), key string) (account, error) {
	u, err := look(key)
	if err != nil {
		return account{}, fmt.Errorf("localpg: look up the account that Postgres runs as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("localpg: user id of %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("localpg: group id of %s: %w", u.Username, err)
	}
	become := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	// Supplementary groups are a convenience (an account may reach its certificates through one): without them the
	// account can do less, never more.
	ids, err := u.GroupIds()
	if err != nil {
		ids = nil
	}
	for _, id := range ids {
		if gid, err := strconv.ParseUint(id, 10, 32); err == nil {
			become.Groups = append(become.Groups, uint32(gid))
		}
	}
	return account{name: u.Username, uid: int(uid), gid: int(gid), become: become}, nil
}

// command prepares a program of Postgres to run as the account in dir, with an environment that holds nothing of
// forgeauth's, and in a session of its own, so that a Ctrl-C in the terminal reaches forgeauth alone.
func (a account) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: a.become}
	return cmd
}

// reaches returns an UnreachableError unless the account can enter dir. It asks the kernel, by starting a process as
// the account there, and so takes access lists and mount options into account.
func (a account) reaches(ctx context.Context, dir string) error {
	if a.become == nil {
		return nil
	}
	enters := func(folder string) error {
		return a.command(ctx, folder, "/bin/sh", "-c", ":").Run()
	}
	err := enters(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	path := []string{dir}
	for parent := filepath.Dir(dir); parent != path[len(path)-1]; parent = filepath.Dir(parent) {
		path = append(path, parent)
	}
	for _, folder := range slices.Backward(path) {
		if errors.Is(enters(folder), fs.ErrPermission) {
			return &UnreachableError{Dir: dir, Blocked: folder, Account: a.name}
		}
	}
	return fmt.Errorf("localpg: enter %s as %s: %w", dir, a.name, err)
}

func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
