package secret_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/secret"
)

const logged = "gho_16C7e42F292c6912E7710c838347Ae178B4a"

func TestTheLogHandlerKeepsTheContractOfSlog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return secret.NewLogHandler(slog.NewJSONHandler(&out, nil))
	}, func(t *testing.T) map[string]any {
		t.Helper()
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		return line
	})
}

type stringer struct{ token string }

func (s stringer) String() string { return "token " + s.token }

type valuer struct{ v slog.Value }

func (v valuer) LogValue() slog.Value { return v.v }

type textual struct{ token string }

func (t textual) MarshalText() ([]byte, error) { return []byte("token " + t.token), nil }

type jsonOnly struct {
	Token *string `json:"token"`
}

type failure struct{ token string }

func (f *failure) Error() string { return "refused " + f.token }

type verbose struct{ token string }

func (verbose) Error() string { return "refused" }

func (v verbose) Format(f fmt.State, _ rune) {
	if f.Flag('+') {
		_, _ = fmt.Fprintf(f, "refused %s", v.token)
		return
	}
	_, _ = fmt.Fprint(f, "refused")
}

func TestTheLogHandlerMasksEverythingThatIsPrinted(t *testing.T) {
	t.Parallel()
	pointer := new(string)
	*pointer = logged
	for name, write := range map[string]func(*slog.Logger){
		"a message":           func(l *slog.Logger) { l.Info("got " + logged) },
		"a string":            func(l *slog.Logger) { l.Info("m", "k", "got "+logged) },
		"a key":               func(l *slog.Logger) { l.Info("m", logged, 1) },
		"a string in With":    func(l *slog.Logger) { l.With("k", logged).Info("m") },
		"a string in a group": func(l *slog.Logger) { l.WithGroup("g").With("k", logged).Info("m", "n", 1) },
		"a group":             func(l *slog.Logger) { l.Info("m", slog.Group("g", "a", 1, slog.Group("h", "k", logged))) },
		"the name of a group": func(l *slog.Logger) { l.WithGroup(logged).Info("m", "n", 1) },
		"a group in With":     func(l *slog.Logger) { l.With(slog.Group("g", "k", logged)).Info("m") },
		"an error":            func(l *slog.Logger) { l.Info("m", "err", errors.New("got "+logged)) },
		"a wrapped error":     func(l *slog.Logger) { l.Info("m", "err", fmt.Errorf("w: %w", &failure{logged})) },
		"an error of net/http": func(l *slog.Logger) {
			l.Info("m", "err", &url.Error{Op: "Get", URL: "https://h/?a=" + logged, Err: errors.New("x")})
		},
		"an error that says more":    func(l *slog.Logger) { l.Info("m", "err", verbose{logged}) },
		"a Stringer":                 func(l *slog.Logger) { l.Info("m", "k", stringer{logged}) },
		"a Stringer in a slice":      func(l *slog.Logger) { l.Info("m", "k", []stringer{{logged}}) },
		"a TextMarshaler":            func(l *slog.Logger) { l.Info("m", "k", textual{logged}) },
		"a LogValuer":                func(l *slog.Logger) { l.Info("m", "k", valuer{slog.StringValue(logged)}) },
		"a LogValuer of LogValuers":  func(l *slog.Logger) { l.Info("m", "k", valuer{slog.AnyValue(valuer{slog.AnyValue(stringer{logged})})}) },
		"a LogValuer of a group":     func(l *slog.Logger) { l.Info("m", "k", valuer{slog.GroupValue(slog.String("a", logged))}) },
		"a LogValuer in With":        func(l *slog.Logger) { l.With("k", valuer{slog.StringValue(logged)}).Info("m") },
		"bytes":                      func(l *slog.Logger) { l.Info("m", "k", []byte(logged)) },
		"raw JSON":                   func(l *slog.Logger) { l.Info("m", "k", json.RawMessage(`{"a":"`+logged+`"}`)) },
		"a struct":                   func(l *slog.Logger) { l.Info("m", "k", struct{ A string }{logged}) },
		"a pointer in a struct":      func(l *slog.Logger) { l.Info("m", "k", jsonOnly{pointer}) },
		"a pointer in a pointer":     func(l *slog.Logger) { l.Info("m", "k", &jsonOnly{pointer}) },
		"a map":                      func(l *slog.Logger) { l.Info("m", "k", map[string]string{"a": logged}) },
		"a URL":                      func(l *slog.Logger) { l.Info("m", "k", &url.URL{Host: "h", RawQuery: "a=" + logged}) },
		"attributes as a value":      func(l *slog.Logger) { l.Info("m", "k", []slog.Attr{slog.String("a", logged)}) },
		"an attribute as a value":    func(l *slog.Logger) { l.Info("m", "k", slog.Any("x", slog.String("a", logged))) },
		"what a credential is named": func(l *slog.Logger) { l.Info("m", "Client-Secret", logged[4:]) },
		"a longer name of one":       func(l *slog.Logger) { l.Info("m", "gitlabRefreshToken", logged[4:]) },
		"another longer name":        func(l *slog.Logger) { l.Info("m", "db_password", logged[4:]) },
		"a named credential, any":    func(l *slog.Logger) { l.Info("m", "token", []string{logged[4:]}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var text, jsonOut strings.Builder
			write(slog.New(secret.NewLogHandler(slog.NewTextHandler(&text, nil))))
			write(slog.New(secret.NewLogHandler(slog.NewJSONHandler(&jsonOut, nil))))
			for _, line := range []string{text.String(), jsonOut.String()} {
				for _, leak := range []string{logged[4:], base64.StdEncoding.EncodeToString([]byte(logged))} {
					if strings.Contains(line, leak) {
						t.Errorf("the token is printed: %s", line)
					}
				}
				if line == "" {
					t.Error("nothing is printed")
				}
			}
		})
	}
}

// TestTheLogHandlerIsOtherwiseTransparent compares, byte for byte, with the same handler unwrapped.
func TestTheLogHandlerIsOtherwiseTransparent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	write := func(h slog.Handler) {
		log := slog.New(h)
		log.Debug("below the level", "k", 1)
		log.Info("m", "s", "plain", "n", 1, "f", 1.5, "b", true, "d", time.Second, "t", at, "nil", nil, "e", errors.New("plain"))
		log.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").With("c", 3).Warn("m", "d", 4, slog.Group("i", "e", 5))
		log.WithGroup("g").WithGroup("").With().Error("m", slog.Group("", "inlined", 1), slog.Group("empty"))
		log.Info("m", "struct", struct{ A, B int }{1, 2}, "bytes", []byte("plain"), "level", slog.LevelWarn,
			"nil error", error((*failure)(nil)), "nil stringer", (*stringer)(nil), "secret", secret.New("x"), "zero", slog.Attr{}, "code", "no_active_forge",
			"token", true, "token", "", "cookie", 1, "state token", "fresh", "status_code", "ok")
		log.With("v", valuer{slog.GroupValue(slog.Int("a", 1))}).Info("m", "w", valuer{slog.AnyValue(valuer{slog.IntValue(1)})})
		log.InfoContext(t.Context(), "eyJ is how JSON begins", "url", &url.URL{Path: "/x"})
	}
	for name, handler := range map[string]func(*bytes.Buffer, *slog.HandlerOptions) slog.Handler{
		"text": func(b *bytes.Buffer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(b, o) },
		"JSON": func(b *bytes.Buffer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(b, o) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := &slog.HandlerOptions{AddSource: true, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}
			var want, got bytes.Buffer
			write(handler(&want, options))
			write(secret.NewLogHandler(handler(&got, options)))
			if diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(got.String(), "\n")); diff != "" {
				t.Errorf("(-unwrapped +wrapped)\n%s", diff)
			}
		})
	}
}

// recorder keeps the last record and the attributes that came before it.
type recorder struct {
	record *slog.Record
	with   *[]slog.Attr
}

func (recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r recorder) Handle(_ context.Context, record slog.Record) error {
	*r.record = record
	return errFull
}

func (r recorder) WithAttrs(attrs []slog.Attr) slog.Handler {
	*r.with = attrs
	return r
}

func (r recorder) WithGroup(string) slog.Handler { return r }

var errFull = errors.New("disk full")

func TestTheLogHandlerPassesTypesPositionsAndErrorsOn(t *testing.T) {
	t.Parallel()
	r := recorder{record: new(slog.Record), with: new([]slog.Attr)}
	handler := secret.NewLogHandler(r)
	plain := errors.New("plain")
	record := slog.NewRecord(now, slog.LevelWarn, "got "+logged, 4711)
	record.AddAttrs(slog.Any("err", plain), slog.String("k", logged), slog.Int("n", 1))
	if err := handler.Handle(t.Context(), record); !errors.Is(err, errFull) {
		t.Errorf("err = %v", err)
	}
	if !r.record.Time.Equal(now) || r.record.Level != slog.LevelWarn || r.record.PC != 4711 || r.record.Message != "got gho_[redacted]" {
		t.Errorf("record = %+v", r.record)
	}
	var attrs []slog.Attr
	r.record.Attrs(func(a slog.Attr) bool { attrs = append(attrs, a); return true })
	if attrs[0].Value.Any() != plain { //nolint:errorlint // identity is the point
		t.Errorf("a harmless error arrives as %#v", attrs[0].Value)
	}
	if attrs[1].Value.String() != "gho_[redacted]" || attrs[2].Value.Int64() != 1 {
		t.Errorf("attrs = %v", attrs)
	}
	mine := []slog.Attr{slog.String("k", logged), slog.Any("err", plain)}
	handler.WithAttrs(mine)
	if mine[0].Value.String() != logged || (*r.with)[0].Value.String() != "gho_[redacted]" {
		t.Error("WithAttrs changed the caller's slice, or did not mask its own")
	}
}

var now = time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)

func BenchmarkLogHandler(b *testing.B) {
	for name, wrap := range map[string]func(slog.Handler) slog.Handler{
		"bare":    func(h slog.Handler) slog.Handler { return h },
		"masking": secret.NewLogHandler,
	} {
		b.Run(name, func(b *testing.B) {
			log := slog.New(wrap(slog.NewJSONHandler(discard{}, nil)))
			b.ReportAllocs()
			for b.Loop() {
				log.Info("request answered", "method", "GET", "path", "/forge/repositories", "status", 200, "duration", 12*time.Millisecond)
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
