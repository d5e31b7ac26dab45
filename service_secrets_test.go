package forgeauth_test

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/internal/pgtest"
)

// windowSize is how many bytes of a secret, or of an encoding of it, are a leak: a part of a token is one too.
const windowSize = 16

// secrets finds secrets in text, whole or in part, as they are and in the encodings in which they could get somewhere.
type secrets struct {
	windows map[[windowSize]byte]string // what it is a part of
}

// add makes a secret one that is looked for. Shorter ones than a window are not: they would be found by chance.
func (s *secrets) add(what, value string) {
	if s.windows == nil {
		s.windows = map[[windowSize]byte]string{}
	}
	for encoding, text := range encodings(value) {
		for i := 0; i+windowSize <= len(text); i++ {
			s.windows[[windowSize]byte([]byte(text[i:]))] = what + ", " + encoding
		}
	}
}

// encodings are the forms of a secret, by name. Base64 depends on where in the encoded text a secret begins; characters
// that depend on its neighbours are left out.
func encodings(value string) map[string]string {
	forms := map[string]string{
		"as it is": value, "query-escaped": url.QueryEscape(value), "path-escaped": url.PathEscape(value),
		"hexadecimal": hex.EncodeToString([]byte(value)), "upper-case hexadecimal": strings.ToUpper(hex.EncodeToString([]byte(value))),
	}
	if quoted := strconv.QuoteToASCII(value); quoted != `"`+value+`"` { // as loggers write bytes
		forms["quoted"] = strings.Trim(quoted, `"`)
	}
	for shift := range 3 {
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + value))
			first, last := (shift*8+5)/6, (shift+len(value))*8/6
			forms[name+" at offset "+string(rune('0'+shift))] = text[first:last]
		}
	}
	return forms
}

// find returns what of the secrets is in the text, sorted.
func (s *secrets) find(text string) []string {
	found := map[string]bool{}
	for i := 0; i+windowSize <= len(text); i++ {
		if what, ok := s.windows[[windowSize]byte([]byte(text[i:i+windowSize]))]; ok {
			found[what] = true
		}
	}
	list := keys(found)
	slices.Sort(list)
	return list
}

// The search itself has to find what it is for.
func TestASecretIsFoundHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	const value = "gho_+/16C7e42F292c6912E7710c838347Ae178B4a"
	var s secrets
	s.add("a token", value)
	encoded := base64.StdEncoding.EncodeToString
	for name, text := range map[string]string{
		"as it is":                  `level=DEBUG msg="token ` + value + `"`,
		"a part of it":              "prefix " + value[4:24] + "…",
		"query-escaped":             "https://forge.example/?access_token=" + url.QueryEscape(value) + "&state=x",
		"in hexadecimal":            `\x00` + hex.EncodeToString([]byte(value)),
		"in upper-case hexadecimal": strings.ToUpper(hex.EncodeToString([]byte("x" + value))),
		"quoted":                    strconv.Quote("\x80" + value),
		"in Basic credentials":      "Basic " + encoded([]byte("client:"+value)),
		"in base64, one off":        encoded([]byte("a" + value + "b")),
		"in base64, two off":        encoded([]byte("ab" + value)),
		"in base64url":              base64.RawURLEncoding.EncodeToString([]byte("a" + value)),
	} {
		if s.find(text) == nil {
			t.Errorf("%s: not found in %s", name, text)
		}
	}
	if found := s.find(`a text without any: gho_ and ` + value[:windowSize-1]); found != nil {
		t.Errorf("found what is not there: %q", found)
	}
}

// recordingReader keeps what it hands out.
type recordingReader struct {
	source io.Reader

	mu   sync.Mutex
	read []string
}

// Read implements [io.Reader].
func (r *recordingReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read = append(r.read, string(p[:n]))
	return n, err
}

// all returns what was read in pieces of that many bytes.
func (r *recordingReader) all(size int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.read), func(piece string) bool { return len(piece) != size })
}

// lockedBuffer is a text that several goroutines write.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements [io.Writer].
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String implements [fmt.Stringer].
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// dump returns every column of every row of every table: as text, and bytes as they are as well.
func dump(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	pool := db.Pool(t)
	rows, err := pool.Query(t.Context(), `SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables WHERE table_schema = $1`, db.Schema)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) < 11 {
		t.Errorf("only the tables %v", tables)
	}
	var text strings.Builder
	for _, table := range tables {
		lines, err := pool.Query(t.Context(), "SELECT t::text FROM "+table+" t")
		if err != nil {
			t.Fatal(err)
		}
		for lines.Next() {
			var line string
			if err := lines.Scan(&line); err != nil {
				t.Fatal(err)
			}
			text.WriteString(table + " " + line + "\n")
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		values, err := pool.Query(t.Context(), "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		for values.Next() {
			row, err := values.Values()
			if err != nil {
				t.Fatal(err)
			}
			for _, value := range row {
				if content, ok := value.([]byte); ok {
					text.Write(content)
					text.WriteString("\n" + hex.EncodeToString(content) + "\n" + base64.StdEncoding.EncodeToString(content) + "\n")
				}
			}
		}
		if err := values.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// pgDump is what a backup holds, if there is the program to make one that fits the server.
func pgDump(t *testing.T, db *pgtest.DB) (text string, ok bool) {
	t.Helper()
	program, err := exec.LookPath("pg_dump")
	if err != nil {
		return "", false
	}
	at, _, _ := strings.Cut(db.URL, "?")
	query := queryOf(t, db.URL)
	query.Del("search_path")
	database := at + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	command := exec.CommandContext(t.Context(), program, "--schema="+db.Schema, database) //nolint:gosec // the one on the PATH
	out, err := command.CombinedOutput()
	if err != nil {
		t.Logf("pg_dump does not work with this server: %v: %s", err, out)
		return "", false
	}
	return string(out), true
}
