package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

// template is a cluster of this test binary's account, made by the first test that wants one: most tests are about clusters
// that exist, and a copy is made several times faster than an initdb.
var template struct {
	sync.Once
	dir string // of Start
	err error
}

// madeCluster returns the data directory of the template.
func madeCluster(tb testing.TB) string {
	tb.Helper()
	needsPostgres(tb)
	template.Do(func() { template.dir, template.err = makeTemplate() })
	if template.err != nil {
		tb.Fatal(template.err)
	}
	return filepath.Join(template.dir, "postgres", dataName)
}

func makeTemplate() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "localpg-template-"); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	// Not the context of the test: the template outlives it.
	s, err := Start(context.Background(), Config{Dir: filepath.Join(dir, "postgres"), Settings: unflushed()})
	if err != nil {
		return dir, err
	}
	return dir, errors.Join(trim(s), s.Stop(context.Background()))
}

// trim drops the databases that nobody connects to, which are half of the files. Only CREATE DATABASE would miss them.
func trim(s *Server) error {
	conn, err := pgx.Connect(context.Background(), s.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range []string{
		"UPDATE pg_database SET datistemplate = false", "DROP DATABASE template0", "DROP DATABASE template1",
	} {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			return err
		}
	}
	return nil
}

func removeTemplate() error {
	if template.dir == "" {
		return nil
	}
	return os.RemoveAll(template.dir)
}

// prepared configures a cluster that is a copy of the template, and flushes nothing: the tests end processes, which loses
// nothing that was written, and not machines.
func prepared(tb testing.TB, dir string) Config {
	tb.Helper()
	return copying(madeCluster(tb), dir)
}

func copying(made, dir string) Config {
	return Config{
		Dir: dir, Settings: unflushed(),
		initdb: func(_ context.Context, d *directory, _ Binaries, work string) error { return d.copyCluster(made, work) },
	}
}

func unflushed() map[string]string { return map[string]string{"fsync": "off"} }

// copyCluster copies a cluster that is stopped into an empty folder of the directory, for the directory's account.
func (d *directory) copyCluster(made, work string) error {
	source := os.DirFS(made)
	if err := os.CopyFS(d.join(work), source); err != nil {
		return err
	}
	return fs.WalkDir(source, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		path = filepath.Join(work, path)
		return errors.Join(d.root.Chmod(path, info.Mode().Perm()), d.root.Lchown(path, d.as.uid, d.as.gid))
	})
}

func TestATemplateIsCopiedWithModesAndForTheAccount(t *testing.T) {
	t.Parallel()
	made := madeCluster(t)
	s := start(t, prepared(t, filepath.Join(reachable(t), "postgres")))
	stop(t, s)
	facts := func(dir string) map[string]string {
		found := map[string]string{}
		for _, name := range []string{".", "PG_VERSION", "base", "global/pg_control", "postgresql.conf"} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			found[name] = fmt.Sprint(info.Mode(), ownerOf(info))
		}
		return found
	}
	if diff := cmp.Diff(facts(made), facts(s.dir.join(dataName))); diff != "" {
		t.Error(diff)
	}
}
