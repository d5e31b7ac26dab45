package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

const oldestMajor = 14

// Binaries is a folder of Postgres programs.
type Binaries struct {
	Dir     string // holds postgres and initdb
	Version string // as postgres --version prints it: "16.9", "17.5 (Debian …)" is "17.5"
	Major   int
}

func (b Binaries) program(name string) string { return filepath.Join(b.Dir, name) }

// FindBinaries returns the installed Postgres that a new cluster would be made with: the one in PATH, else the newest
// of those in the usual folders. It returns [ErrNoBinaries] where there is none of version 14 or newer, and fetches
// nothing.
func FindBinaries() (Binaries, error) {
	self, err := chooseAccount("/")
	if err != nil {
		return Binaries{}, err
	}
	found := installed(context.Background(), self)
	if len(found) == 0 {
		return Binaries{}, ErrNoBinaries
	}
	return found[0], nil
}

// installed returns every usable Postgres of this machine, the preferred one first.
func installed(ctx context.Context, as account) []Binaries {
	var found []Binaries
	if path, err := exec.LookPath("postgres"); err == nil {
		found = appendUsable(ctx, found, as, path)
	}
	var others []Binaries
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin/postgres",                       // Debian, Ubuntu
		"/usr/pgsql-*/bin/postgres",                                // Red Hat, from the PostgreSQL project
		"/usr/libexec/postgresql*/postgres",                        // Alpine
		"/opt/homebrew/opt/postgresql@*/bin/postgres",              // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin/postgres",                 // Homebrew on Intel
		"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin/postgres", // Homebrew on Linux
		"/Applications/Postgres.app/Contents/Versions/*/bin/postgres",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, path := range paths {
			others = appendUsable(ctx, others, as, path)
		}
	}
	slices.SortStableFunc(others, func(a, b Binaries) int { return cmp.Compare(b.Major, a.Major) })
	return append(found, others...)
}

func appendUsable(ctx context.Context, found []Binaries, as account, postgres string) []Binaries {
	usable, err := inspect(ctx, as, postgres)
	if err != nil || slices.ContainsFunc(found, func(b Binaries) bool { return b.Dir == usable.Dir }) {
		return found
	}
	return append(found, usable)
}

var versionOutput = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// inspect returns the folder of a postgres program, which must run, be new enough and have its initdb beside it.
func inspect(ctx context.Context, as account, postgres string) (Binaries, error) {
	resolved, err := filepath.EvalSymlinks(postgres)
	if err != nil {
		return Binaries{}, fmt.Errorf("localpg: find postgres: %w", err)
	}
	dir := filepath.Dir(resolved)
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return Binaries{}, fmt.Errorf("localpg: find initdb beside postgres: %w", err)
	}
	output, err := as.command(ctx, "/", resolved, "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("localpg: run %s --version: %w", resolved, err)
	}
	match := versionOutput.FindSubmatch(output)
	if match == nil {
		return Binaries{}, fmt.Errorf("localpg: %s --version printed %q, which names no version", resolved, output)
	}
	major, err := strconv.Atoi(string(match[2]))
	if err != nil || major < oldestMajor {
		return Binaries{}, fmt.Errorf("localpg: %s is Postgres %s, and %d or newer is needed", resolved, match[1], oldestMajor)
	}
	return Binaries{Dir: dir, Version: string(match[1]), Major: major}, nil
}

// choose returns the binaries for a cluster of the given major version, 0 being one that does not exist yet.
func (c Config) choose(ctx context.Context, as account, cluster int) (Binaries, error) {
	if c.BinDir != "" {
		forced, err := inspect(ctx, as, filepath.Join(c.BinDir, "postgres"))
		if err != nil {
			return Binaries{}, err
		}
		if cluster != 0 && cluster != forced.Major {
			return Binaries{}, &VersionError{Dir: c.Dir, Cluster: cluster, Found: []Binaries{forced}}
		}
		return forced, nil
	}
	search := installed
	if c.search != nil {
		search = c.search
	}
	found := append(search(ctx, as), c.unpacked(ctx, as)...)
	if ctx.Err() != nil { // whose end looks like programs that do not run
		return Binaries{}, fmt.Errorf("localpg: look for Postgres: %w", context.Cause(ctx))
	}
	for _, b := range found {
		if cluster == 0 || b.Major == cluster {
			return b, nil
		}
	}
	if len(found) > 0 {
		return Binaries{}, &VersionError{Dir: c.Dir, Cluster: cluster, Found: found}
	}
	fetched, err := c.fetch(ctx, as, cluster)
	if err != nil {
		return Binaries{}, errors.Join(ErrNoBinaries, err)
	}
	return fetched, nil
}
