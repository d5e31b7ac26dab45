package localpg

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pack makes an archive as the repository has them, of the installed binaries: a zip that holds a .txz with bin/, here
// links into a copy of the installed tree, in which Postgres finds its libraries relative to its programs.
func pack(t *testing.T, binaries Binaries) []byte {
	t.Helper()
	for _, tool := range []string{"tar", "xz"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, fmt.Errorf("packing an archive takes %s: %w", tool, err))
		}
	}
	folder := func(of string) string {
		output, err := exec.CommandContext(t.Context(), filepath.Join(binaries.Dir, "pg_config"), of).Output()
		if err != nil {
			missing(t, fmt.Errorf("where Postgres has its files takes pg_config: %w", err))
		}
		return strings.TrimPrefix(strings.TrimSpace(string(output)), "/")
	}
	work := t.TempDir()
	if err := os.Mkdir(filepath.Join(work, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	bin := strings.TrimPrefix(binaries.Dir, "/")
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.Symlink(filepath.Join("..", bin, name), filepath.Join(work, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	archive := filepath.Join(work, "postgres.txz")
	cmd := exec.CommandContext(t.Context(), "tar", "-cJf", archive, "--exclude=bitcode", "--exclude=locale", "--exclude=llvmjit*",
		"-C", work, "bin", "-C", "/", filepath.Join(bin, "postgres"), filepath.Join(bin, "initdb"), folder("--pkglibdir"), folder("--sharedir"))
	cmd.Env = append(os.Environ(), "XZ_OPT=-0")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, output)
	}
	content, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	zipped := zip.NewWriter(&jar)
	entry, err := zipped.CreateHeader(&zip.FileHeader{Name: "postgres.txz", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	_, err = entry.Write(content)
	if err := errors.Join(err, zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}

// repository serves an archive and its checksum wherever they are asked for, and counts the fetches.
func repository(t *testing.T, jar []byte, checksum string) (url string, fetches *atomic.Int32) {
	t.Helper()
	fetches = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".sha256") {
			_, _ = w.Write([]byte(checksum))
			return
		}
		fetches.Add(1)
		_, _ = w.Write(jar)
	}))
	t.Cleanup(server.Close)
	return server.URL, fetches
}

func checksumOf(jar []byte) string {
	sum := sha256.Sum256(jar)
	return hex.EncodeToString(sum[:])
}

func nothingInstalled(context.Context, account) []Binaries { return nil }

func TestFetchedBinariesServeWhereNoneAreInstalled(t *testing.T) {
	t.Parallel()
	binaries := needsPostgres(t)
	jar := pack(t, binaries)
	url, fetches := repository(t, jar, checksumOf(jar))
	cache := filepath.Join(reachable(t), "cache")
	var begun, ended atomic.Int32
	fetching := Config{
		CacheDir: cache, Repository: url, FetchMajor: binaries.Major, search: nothingInstalled,
		Fetching: func() func() { begun.Add(1); return func() { ended.Add(1) } },
	}
	existing := prepared(t, "").initdb
	// Both want the archive at the same time; one fetches it.
	servers := make([]*Server, 2)
	failures := make(chan error, len(servers))
	base := reachable(t)
	for i := range servers {
		go func() {
			c := fetching
			c.Dir = filepath.Join(base, strconv.Itoa(i))
			if i > 0 {
				c.initdb = existing // for the first one it is the fetched initdb
			}
			var err error
			servers[i], err = Start(t.Context(), c)
			failures <- err
		}()
	}
	for range servers {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	for _, s := range servers {
		if s == nil {
			continue
		}
		if got := query(t, s.URL(), "SELECT current_setting('server_version_num')::int / 10000 || ''"); got == "" {
			t.Error("the server has no version")
		}
		if program := s.process.cmd.Path; !strings.HasPrefix(program, cache) {
			t.Errorf("the server is %s, want the fetched one", program)
		}
		stop(t, s)
	}
	if got := fetches.Load(); got != 1 {
		t.Errorf("%d fetches, want 1", got)
	}
	if begun.Load() != 1 || ended.Load() != 1 {
		t.Errorf("heard of %d fetches that begin and %d that end, want 1 of each", begun.Load(), ended.Load())
	}
	// Later starts find it without the repository.
	fetching.Repository = "http://127.0.0.1:1"
	fetching.Dir = filepath.Join(base, "0")
	start(t, fetching)
	left, err := filepath.Glob(filepath.Join(cache, "fetch-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestAFetchThatFailsSaysWhatToDo(t *testing.T) {
	t.Parallel()
	served, _ := repository(t, []byte("no archive"), checksumOf([]byte("another archive")))
	truncated, _ := repository(t, []byte("no archive"), checksumOf([]byte("no archive")))
	for name, url := range map[string]string{
		"a repository that cannot be reached": "http://127.0.0.1:1",
		"an archive that was tampered with":   served,
		"an archive that is none":             truncated,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base := reachable(t)
			cache := filepath.Join(base, "cache")
			_, err := Start(t.Context(), Config{
				Dir: filepath.Join(base, "postgres"), CacheDir: cache, Repository: url, search: nothingInstalled,
			})
			if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "fetch Postgres") {
				t.Errorf("got %v, want ErrNoBinaries and why the fetch failed", err)
			}
			left, err := filepath.Glob(filepath.Join(cache, "*-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

func TestACacheThatOthersCanWriteToIsNotUsed(t *testing.T) {
	t.Parallel()
	base := reachable(t)
	cache := filepath.Join(base, "cache")
	if err := errors.Join(os.Mkdir(cache, 0o755), os.Chmod(cache, 0o777)); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: filepath.Join(base, "postgres"), CacheDir: cache, search: nothingInstalled})
	if err == nil || !strings.Contains(err.Error(), "only its owner") {
		t.Errorf("got %v, want a refusal of the cache", err)
	}
}

func TestAFetchRemovesWhatItAndTheOneBeforeLeft(t *testing.T) {
	temporary, base := reachable(t), reachable(t)
	t.Setenv("TMPDIR", temporary)
	cache := filepath.Join(base, "cache")
	foreign := filepath.Join(temporary, "embedded_postgres_log1") // of another program with that library
	if err := errors.Join(os.MkdirAll(filepath.Join(cache, fetchPrefix+"1", "archive"), 0o755), os.WriteFile(foreign, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{
		Dir: filepath.Join(base, "postgres"), CacheDir: cache, Repository: "http://127.0.0.1:1", search: nothingInstalled,
	})
	if !errors.Is(err, ErrNoBinaries) {
		t.Errorf("got %v, want ErrNoBinaries", err)
	}
	for pattern, want := range map[string][]string{
		filepath.Join(cache, "*"): {filepath.Join(cache, lockName)}, filepath.Join(temporary, "*"): {foreign},
	} {
		left, err := filepath.Glob(pattern)
		if diff := cmp.Diff(want, left); err != nil || diff != "" {
			t.Errorf("left behind (-want +got): %v\n%s", err, diff)
		}
	}
}

func TestAStartThatIsGivenUpFetchesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	base := reachable(t)
	cache := filepath.Join(base, "cache")
	_, err := Start(ctx, Config{
		Dir: filepath.Join(base, "postgres"), CacheDir: cache, Repository: "http://127.0.0.1:1",
		search: func(context.Context, account) []Binaries { cancel(); return nil }, // none of them ran to its end
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrNoBinaries) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if _, err := os.Stat(cache); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a fetch was begun: %v", err)
	}
}
