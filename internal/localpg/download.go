package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// newestFetched is the major version that a new cluster gets where nothing is installed.
const newestFetched = 18

// archives are the versions that the repository is known to hold, by major version.
func archives() map[int]embeddedpostgres.PostgresVersion {
	return map[int]embeddedpostgres.PostgresVersion{
		14: embeddedpostgres.V14,
		15: embeddedpostgres.V15,
		16: embeddedpostgres.V16,
		17: embeddedpostgres.V17,
		18: embeddedpostgres.V18,
	}
}

// cacheDir returns the folder for fetched binaries. Root's is one that the account of the server can reach.
func (c Config) cacheDir() (string, error) {
	if c.CacheDir != "" {
		dir, err := filepath.Abs(c.CacheDir)
		if err != nil {
			return "", fmt.Errorf("localpg: find a folder for Postgres binaries: %w", err)
		}
		return dir, nil
	}
	if os.Geteuid() == 0 {
		return "/var/cache/forgeauth", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("localpg: find a folder for Postgres binaries: %w", err)
	}
	return filepath.Join(dir, "forgeauth"), nil
}

// unpacked returns what earlier fetches left in the cache.
func (c Config) unpacked(ctx context.Context, as account) []Binaries {
	cache, err := c.cacheDir()
	if err != nil || c.ownsCache(cache) != nil {
		return nil
	}
	var found []Binaries
	for major := newestFetched; major >= oldestMajor; major-- {
		version := archives()[major]
		found = appendUsable(ctx, found, as, filepath.Join(cache, "postgres-"+string(version), "bin", "postgres"))
	}
	return found
}

// ownsCache returns an error unless the cache belongs to who runs forgeauth and nobody else can write to it: what is
// in there is run.
func (c Config) ownsCache(cache string) error {
	info, err := os.Lstat(cache)
	if err != nil {
		return fmt.Errorf("localpg: look at the folder for Postgres binaries: %w", err)
	}
	if !info.IsDir() || ownerOf(info) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("localpg: %s must be a folder that only its owner, user id %d, can write to", cache, os.Geteuid())
	}
	return nil
}

// fetch downloads and unpacks the binaries of a major version, 0 for the newest. Processes that fetch at the same time wait for
// the first of them. What has its final name is complete: an archive is unpacked aside and renamed.
func (c Config) fetch(ctx context.Context, as account, major int) (Binaries, error) {
	if major == 0 {
		major = newestFetched
		if c.FetchMajor != 0 {
			major = c.FetchMajor
		}
	}
	version, known := archives()[major]
	if !known {
		return Binaries{}, fmt.Errorf("localpg: there is no archive of Postgres %d to fetch", major)
	}
	cache, err := c.cacheDir()
	if err != nil {
		return Binaries{}, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Binaries{}, fmt.Errorf("localpg: make a folder for Postgres binaries: %w", err)
	}
	if err := c.ownsCache(cache); err != nil {
		return Binaries{}, err
	}
	if err := as.reaches(ctx, cache); err != nil {
		return Binaries{}, err
	}
	lock, err := waitForLock(ctx, filepath.Join(cache, lockName))
	if err != nil {
		return Binaries{}, err
	}
	defer func() { _ = lock.Close() }()

	final := filepath.Join(cache, "postgres-"+string(version))
	postgres := filepath.Join(final, "bin", "postgres")
	if found, err := inspect(ctx, as, postgres); err == nil {
		return found, nil
	}
	if err := sweepFetches(cache); err != nil {
		return Binaries{}, fmt.Errorf("localpg: remove an unfinished fetch: %w", err)
	}
	c.Logger.InfoContext(ctx, "no Postgres is installed, fetching one", "version", string(version), "into", cache)
	work, err := os.MkdirTemp(cache, fetchPrefix)
	if err != nil {
		return Binaries{}, fmt.Errorf("localpg: make a folder for Postgres binaries: %w", err)
	}
	ended := func() {}
	if c.Fetching != nil {
		ended = c.Fetching()
	}
	unpacked, err := c.unpack(ctx, version, work)
	ended()
	if err != nil {
		return Binaries{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := letRead(unpacked); err != nil {
		return Binaries{}, fmt.Errorf("localpg: make Postgres binaries readable: %w", err)
	}
	if err := os.RemoveAll(final); err != nil {
		return Binaries{}, fmt.Errorf("localpg: replace Postgres binaries: %w", err)
	}
	if err := os.Rename(unpacked, final); err != nil {
		return Binaries{}, fmt.Errorf("localpg: keep Postgres binaries: %w", err)
	}
	return inspect(ctx, as, postgres)
}

// fetchPrefix starts the names of the folders in the cache in which archives are unpacked.
const fetchPrefix = "fetch-"

// sweepFetches removes what a fetch left that ended with its process. The cache's lock is held.
func sweepFetches(cache string) error {
	entries, err := os.ReadDir(cache)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), fetchPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(cache, entry.Name())))
		}
	}
	return err
}

// unpack has the library fetch an archive, check its SHA-256 where the repository has one, and unpack it into a
// folder within work, which it returns.
//
// The library offers this only as the first part of its Start, which goes on to run initdb and a server on a TCP port,
// and as root fails there. It is given a data directory that it cannot clear, one whose name ends in a dot, which
// [os.RemoveAll] refuses: it ends right after unpacking, having run nothing. The library takes no context; a
// fetch that is given up ends by itself and then removes its work.
func (c Config) unpack(ctx context.Context, version embeddedpostgres.PostgresVersion, work string) (string, error) {
	unpacked := filepath.Join(work, "unpacked")
	config := embeddedpostgres.DefaultConfig().
		Version(version).
		Port(0).
		CachePath(filepath.Join(work, "archive")).
		RuntimePath(filepath.Join(work, "runtime")).
		BinariesPath(unpacked).
		DataPath(work + "/.").
		Logger(io.Discard)
	if c.Repository != "" {
		config = config.BinaryRepositoryURL(strings.TrimSuffix(c.Repository, "/"))
	}
	var failure error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		database := embeddedpostgres.NewDatabase(config)
		failure = database.Start()
		removeLibraryLogs()
		runtime.KeepAlive(database) // its log is open until now, and known by that
	}()
	select {
	case <-ended:
		if failure == nil || !strings.HasPrefix(failure.Error(), "unable to clean up data directory") {
			_ = os.RemoveAll(work)
			return "", fmt.Errorf("localpg: fetch Postgres %s: %w", version, failure)
		}
		return unpacked, nil
	case <-ctx.Done():
		go func() {
			<-ended
			_ = os.RemoveAll(work)
		}()
		return "", fmt.Errorf("localpg: fetch Postgres %s: %w", version, ctx.Err())
	}
}

// removeLibraryLogs removes the file that the library makes in the temporary directory for what a server of its own would print, and
// forgets. Other programs use the library too: ours are those that this process has open.
func removeLibraryLogs() {
	logs, err := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	if err != nil || len(logs) == 0 {
		return
	}
	const descriptors = "/dev/fd"
	open, err := os.ReadDir(descriptors)
	if err != nil {
		return
	}
	for _, log := range logs {
		info, err := os.Lstat(log)
		if err == nil && slices.ContainsFunc(open, func(entry fs.DirEntry) bool {
			ours, err := os.Stat(filepath.Join(descriptors, entry.Name()))
			return err == nil && os.SameFile(info, ours)
		}) {
			_ = os.Remove(log)
		}
	}
}

// letRead lets everybody read and run what is under dir, whatever the umask of this process: the account of the server is not
// its owner.
func letRead(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("look at a file: %w", err)
		}
		mode := info.Mode().Perm() | 0o444
		if mode&0o100 != 0 {
			mode |= 0o111
		}
		return root.Chmod(path, mode&^0o022)
	})
	if err != nil {
		return fmt.Errorf("go through the files: %w", err)
	}
	return nil
}
