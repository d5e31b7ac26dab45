package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/internal/pgtest"
	"github.com/forgeauth/forgeauth/migrations"
)

func TestHealthcheckSaysWhetherServeIsReady(t *testing.T) {
	t.Parallel()
	db := pgtest.Migrated(t, migrations.Up)
	// Reached under another name than its own, as in a container.
	p := serve(t, configured("DATABASE_URL="+db.URL, "FORGEAUTH_PUBLIC_URL=https://auth.example.org"))
	listen := "FORGEAUTH_LISTEN=" + p.address

	run(t, []string{listen}, "healthcheck").expect(t, exitOK, "ready: version "+testVersion+", log head 0\n", "")
	printed := run(t, []string{listen}, "healthcheck", "--json")
	printed.expect(t, exitOK, `"ready": true`, "")
	var document readinessDocument
	if err := json.Unmarshal([]byte(printed.stdout), &document); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, check := range document.Checks {
		names = append(names, check.Name)
	}
	if diff := cmp.Diff([]string{"database", "schema", "key", "log", "feed", "signed"}, names); diff != "" || document.Version != testVersion {
		t.Errorf("%s\n%s", diff, printed)
	}

	if _, err := db.Conn(t).Exec(t.Context(), `INSERT INTO forgeauth_migrations (version_id, is_applied) VALUES (9999, true)`); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the answer of a moment ago is forgotten", func() bool {
		return run(t, []string{listen}, "healthcheck").code != exitOK
	})
	r := run(t, []string{listen}, "healthcheck")
	r.expect(t, exitFailure, "", "forgeauth: not ready: schema (")
	if strings.Count(r.stderr, "\n") != 1 || strings.Contains(r.stderr, "database (") {
		t.Errorf("not one line with the failing check alone: %s", r)
	}
	run(t, []string{listen}, "healthcheck", "--json").expect(t, exitFailure, `"ready": false`, "not ready: schema (")
}

func TestHealthcheckReadsNothingButWhereServeListens(t *testing.T) {
	t.Parallel()
	ready := answering(t, http.StatusOK, readyAnswer)
	_, port, err := net.SplitHostPort(ready)
	if err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{ready, "0.0.0.0:" + port, "[::]:" + port, "[::ffff:0.0.0.0]:" + port, ":" + port, "localhost:" + port} {
		run(t, []string{
			"FORGEAUTH_LISTEN=" + listen, "OAUTH_ENCRYPTION_KEY=short", "DATABASE_URL=", "FORGEAUTH_PUBLIC_URL=nonsense", "FORGEAUTH_OPERATOR=1",
			"HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1",
		}, "healthcheck").expect(t, exitOK, "ready: version v1, log head 7\n", "")
	}
	run(t, []string{"FORGEAUTH_LISTEN=127.0.0.1"}, "healthcheck").expect(t, exitUsage, "", "not an address and a port")
	run(t, []string{"FORGEAUTH_LISTEN=" + freeAddress(t)}, "healthcheck").
		expect(t, exitFailure, "", "connection refused: see whether `forgeauth serve` runs")
}

func TestProbeReachesWhereServeListens(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		":8080":               "http://127.0.0.1:8080/readyz",
		"0.0.0.0:8080":        "http://127.0.0.1:8080/readyz",
		"[::]:8080":           "http://127.0.0.1:8080/readyz",
		"127.0.0.9:1":         "http://127.0.0.9:1/readyz",
		"[::1]:8080":          "http://[::1]:8080/readyz",
		"[fe80::1%eth0]:8080": "http://[fe80::1%25eth0]:8080/readyz",
		"localhost:8080":      "http://localhost:8080/readyz",
	} {
		if got, err := probeURL(listen); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", listen, got, err, want)
		}
	}
}

const readyAnswer = `{"ready":true,"version":"v1","log_head":7,"checks":[{"name":"database","ok":true,"detail":"reachable"}]}`

// answering starts a server that gives every request the same answer, and returns its address.
func answering(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+r.Host+"/elsewhere")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestProbeTakesNoOtherProgramForAServeThatIsReady(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"a page":                              {http.StatusOK, "<html>welcome</html>"},
		"nothing":                             {http.StatusOK, ""},
		"another document":                    {http.StatusOK, `{"status":"ok"}`},
		"ready without a check":               {http.StatusOK, `{"ready":true,"checks":[]}`},
		"ready with a check that fails":       {http.StatusOK, `{"ready":true,"checks":[{"name":"key"}]}`},
		"ready, and a status that says other": {http.StatusServiceUnavailable, readyAnswer},
		"a redirect":                          {http.StatusFound, readyAnswer},
		"a document without end":              {http.StatusOK, readyAnswer[:len(readyAnswer)-1] + strings.Repeat(" ", largestReadiness) + "}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := probe(t.Context(), answering(t, answer.status, answer.body), time.Minute)
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(%d ", answer.status)) || !strings.Contains(err.Error(), "check FORGEAUTH_LISTEN") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestProbeCleansWhatItIsTold(t *testing.T) {
	t.Parallel()
	document, err := probe(t.Context(), answering(t, http.StatusServiceUnavailable,
		`{"ready":false,"version":"v1\u001b[2J","checks":[{"name":"da\nta","ok":false,"detail":"\u202eno"},{"name":"key","ok":true,"detail":"x"}]}`), time.Minute)
	if err != nil || document.Version != "v1[2J" || document.failing() != "data (no)" {
		t.Errorf("got %+v, %v", document, err)
	}
}

func TestProbeWaitsNoLongerThanItsTimeout(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(http.ResponseWriter){
		"no answer": func(http.ResponseWriter) {},
		"half an answer": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"ready":`))
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				<-r.Context().Done()
			}))
			t.Cleanup(server.Close)
			_, err := probe(t.Context(), server.Listener.Addr().String(), 50*time.Millisecond)
			if err == nil || !strings.Contains(err.Error(), "within 50ms: ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The image's and the compose file's health checks run this command and give it the time that it takes.
func TestTheContainersRunHealthcheckAndWaitForIt(t *testing.T) {
	t.Parallel()
	for file, form := range map[string]string{
		"../../Dockerfile":         `HEALTHCHECK .*--timeout=(\S+) .*CMD \["/usr/local/bin/forgeauth", "healthcheck"\]`,
		"../../docker-compose.yml": `test: \[CMD, /usr/local/bin/forgeauth, healthcheck\]\n(?: +\S+: \S+\n)*? +timeout: (\S+)\n`,
	} {
		content, err := os.ReadFile(file) //nolint:gosec // named above
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(form).FindSubmatch(content)
		if found == nil {
			t.Errorf("%s does not run healthcheck", file)
			continue
		}
		if timeout, err := time.ParseDuration(string(found[1])); err != nil || timeout <= probeTimeout {
			t.Errorf("%s waits for %s, %v; healthcheck takes up to %s", file, found[1], err, probeTimeout)
		}
	}
}
