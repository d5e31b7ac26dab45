package secret_test

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"text/template"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/secret"
)

const value = "gho_Kq7!zW&x=9/é\"' <Zp4>"

// leaks are the spellings in which the value could be printed, and the first half of each, for output that is cut.
func leaks() []string {
	quoted := strconv.Quote(value)
	var decimal, octal []string
	for _, b := range []byte(value) {
		decimal, octal = append(decimal, strconv.Itoa(int(b))), append(octal, strconv.FormatInt(int64(b), 8))
	}
	whole := []string{
		value, quoted[1 : len(quoted)-1], strconv.QuoteToASCII(value), url.QueryEscape(value), url.PathEscape(value),
		hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value))),
		fmt.Sprintf("% x", value), fmt.Sprintf("%# x", value),
		base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
		strings.Join(decimal, " "), strings.Join(octal, " "), strings.Join(decimal, ", "),
	}
	all := whole
	for _, leak := range whole {
		all = append(all, strings.Trim(leak[:len(leak)/2], `"`))
	}
	return all
}

func assertHides(tb testing.TB, what, printed string) {
	tb.Helper()
	for _, leak := range leaks() {
		if strings.Contains(printed, leak) {
			tb.Errorf("%s shows %q: %s", what, leak, printed)
			return
		}
	}
}

type holder struct {
	Exported secret.Text
	hidden   secret.Text
	Pointer  *secret.Text
	pointer  *secret.Text
	nested   nested
	deep     **nested
	list     []secret.Text
	array    [1]secret.Text
	keyed    map[string]secret.Text
	boxed    any
	boxedPtr any
	err      error
	embedded
}

type nested struct{ token secret.Text }

type embedded struct{ secret.Text }

type refusal struct{ token secret.Text }

func (refusal) Error() string { return "refused" }

type keeper struct {
	name  string
	token secret.Text
}

// shapes holds the secret in every way in which a program may come to print one.
func shapes(t secret.Text) map[string]any {
	pointer := &t
	inner := &nested{t}
	h := struct {
		A holder
		b *holder
	}{
		A: holder{
			Exported: t, hidden: t, Pointer: pointer, pointer: pointer, nested: *inner, deep: &inner, list: []secret.Text{t},
			array: [1]secret.Text{t}, keyed: map[string]secret.Text{"k": t}, boxed: t, boxedPtr: pointer, err: refusal{t},
			embedded: embedded{t},
		},
	}
	h.b = &h.A
	plain := struct{ a, b any }{inner, []*nested{inner}}
	return map[string]any{
		"the secret":                     t,
		"a pointer":                      pointer,
		"a pointer to a pointer":         &pointer,
		"a struct of all":                h,
		"a pointer to a struct of all":   &h,
		"an unexported field":            keeper{"n", t},
		"a pointer to unexported fields": &keeper{"n", t},
		"an unexported field, deeper":    plain,
		"an embedded secret":             embedded{t},
		"a slice":                        []secret.Text{t},
		"a slice of pointers":            []*secret.Text{pointer},
		"a slice of any":                 []any{t, pointer, keeper{"n", t}},
		"an array":                       [2]secret.Text{t, t},
		"a map":                          map[string]secret.Text{"k": t},
		"a map of structs":               map[string]*keeper{"k": {"n", t}},
		"an error that holds it":         refusal{t},
		"an error around it":             fmt.Errorf("exchange: %w", fmt.Errorf("with %v and %s: %w", t, pointer, refusal{t})),
		"joined errors":                  errors.Join(refusal{t}, errors.New("other")),
		"a channel of secrets":           make(chan secret.Text),
		"its reflection":                 reflect.ValueOf(t),
		"the reflection of a field":      reflect.ValueOf(keeper{"n", t}).Field(1),
		"the reflection of what it has":  reflect.ValueOf(t).Field(0),
		"a bound method":                 t.String,
		"the zero secret":                secret.Text{},
		"a nil pointer":                  (*secret.Text)(nil),
	}
}

func TestNoVerbOfFmtPrintsASecret(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes(secret.New(value)) {
		for verb := rune('A'); verb <= 'z'; verb++ {
			for _, flags := range []string{"", "+", "#", " ", "-", "0", "+#", "# ", "64", ".3", "#64.40", "+-# 080.70"} {
				format := "%" + flags + string(verb)
				assertHides(t, format+" of "+name, fmt.Sprintf(format, shape))
			}
		}
		assertHides(t, "Sprint of "+name, fmt.Sprint(shape, shape))
		assertHides(t, "Sprintln of "+name, fmt.Sprintln(shape))
		for _, mistake := range []string{"no verb", "%*d", "%[3]v", "%!", "%s %"} {
			assertHides(t, mistake+" and "+name, fmt.Sprintf(mistake, shape))
		}
	}
}

func TestEveryVerbShowsTheRedaction(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%x", "%X", "%s", "%d", "%64s", "%.2s"} {
		if got := fmt.Sprintf(verb, secret.New(value)); got != secret.Redacted {
			t.Errorf("%s = %q", verb, got)
		}
	}
	if got := fmt.Sprintf("%+v", labelled{Token: secret.New(value), N: 1}); got != "{Token:[redacted] N:1}" {
		t.Errorf("in a struct: %s", got)
	}
}

type labelled struct {
	Token secret.Text `json:"token"`
	N     int         `json:"n"`
}

func TestNoEncoderPrintsASecret(t *testing.T) {
	t.Parallel()
	encoders := map[string]func(any) (string, error){
		"encoding/json": func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
		"json v2":       func(v any) (string, error) { b, err := jsonv2.Marshal(v); return string(b), err },
		"encoding/xml":  func(v any) (string, error) { b, err := xml.Marshal(v); return string(b), err },
		"encoding/gob": func(v any) (string, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.String(), err
		},
		"text/template": func(v any) (string, error) {
			var b strings.Builder
			err := template.Must(template.New("").Parse(`{{.}} {{printf "%s %v %x %q" . . . .}} {{print .}} {{html .}} {{js .}} {{urlquery .}}`)).Execute(&b, v)
			return b.String(), err
		},
		"html/template": func(v any) (string, error) {
			var b strings.Builder
			err := htmltemplate.Must(htmltemplate.New("").Parse(`<a href="/?x={{.}}" title="{{.}}" onclick="f({{.}})">{{.}}</a><script>x = {{.}}</script>`)).Execute(&b, v)
			return b.String(), err
		},
		"slog text": func(v any) (string, error) {
			var b strings.Builder
			log := slog.New(slog.NewTextHandler(&b, nil))
			log.With("with", v).WithGroup("g").Info("m", "value", v, slog.Group("h", "value", v))
			return b.String(), nil
		},
		"slog JSON": func(v any) (string, error) {
			var b strings.Builder
			log := slog.New(slog.NewJSONHandler(&b, nil))
			log.With("with", v).WithGroup("g").Info("m", "value", v, slog.Group("h", "value", v))
			return b.String(), nil
		},
		"go-cmp": func(v any) (string, error) {
			all := cmp.Exporter(func(reflect.Type) bool { return true })
			type box struct{ V any }
			return cmp.Diff(box{v}, box{1}, all) + cmp.Diff(box{v}, box{shapes(secret.New("other"))["a struct of all"]}, all), nil
		},
	}
	for name, shape := range shapes(secret.New(value)) {
		if _, isReflection := shape.(reflect.Value); isReflection || name == "a nil pointer" {
			continue // of interest to fmt; encoders panic
		}
		for encoder, encode := range encoders {
			encoded, err := encode(shape)
			assertHides(t, encoder+" of "+name, encoded)
			if err != nil {
				assertHides(t, "the error of "+encoder+" of "+name, err.Error())
			}
		}
	}
	for encoder, want := range map[string]string{
		"encoding/json": `{"token":"[redacted]","n":1}`,
		"json v2":       `{"token":"[redacted]","n":1}`,
		"encoding/xml":  `<labelled><Token>[redacted]</Token><N>1</N></labelled>`,
	} {
		if got, err := encoders[encoder](labelled{Token: secret.New(value), N: 1}); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", encoder, got, err, want)
		}
	}
}

// TestPrintersThatFollowPointersSeeNothing walks a value as spew and go-cmp do: through unexported fields, pointers,
// interfaces and maps, to every string and byte slice there is.
func TestPrintersThatFollowPointersSeeNothing(t *testing.T) {
	t.Parallel()
	for name, shape := range shapes(secret.New(value)) {
		var found strings.Builder
		walk(reflect.ValueOf(shape), 0, &found)
		if _, isReflection := shape.(reflect.Value); !isReflection {
			assertHides(t, name, found.String())
		}
	}
}

func walk(v reflect.Value, depth int, found *strings.Builder) {
	if depth > 20 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		found.WriteString(v.String())
	case reflect.Uint8:
		found.WriteByte(byte(v.Uint())) //nolint:gosec // the kind says that it fits
	case reflect.Pointer, reflect.Interface:
		walk(v.Elem(), depth+1, found)
	case reflect.Struct:
		for _, field := range v.Fields() {
			walk(field, depth+1, found)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), depth+1, found)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			walk(key, depth+1, found)
			walk(v.MapIndex(key), depth+1, found)
		}
	default:
	}
}

func TestASecretIsNotReadBack(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(*secret.Text) error{
		"encoding/json": func(s *secret.Text) error { return json.Unmarshal([]byte(`"[redacted]"`), s) },
		"a JSON field": func(s *secret.Text) error {
			var k labelled
			err := json.Unmarshal([]byte(`{"token":"x"}`), &k)
			*s = k.Token
			return err
		},
		"a JSON null":   func(s *secret.Text) error { return s.UnmarshalJSON([]byte("null")) },
		"json v2":       func(s *secret.Text) error { return jsonv2.Unmarshal([]byte(`"[redacted]"`), s) },
		"encoding/xml":  func(s *secret.Text) error { return xml.Unmarshal([]byte(`<a>[redacted]</a>`), s) },
		"text":          func(s *secret.Text) error { return s.UnmarshalText([]byte("x")) },
		"gob, out":      func(*secret.Text) error { return gob.NewEncoder(&bytes.Buffer{}).Encode(secret.New("x")) },
		"gob, in":       func(s *secret.Text) error { return s.GobDecode([]byte("x")) },
		"a column, in":  func(s *secret.Text) error { return sql.Scanner(s).Scan("x") },
		"a column, out": func(*secret.Text) error { _, err := driver.Valuer(secret.New("x")).Value(); return err },
		"a gob of a list": func(*secret.Text) error {
			return gob.NewEncoder(&bytes.Buffer{}).Encode([]labelled{{Token: secret.New("x")}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s secret.Text
			if err := read(&s); !errors.Is(err, secret.ErrRedacted) {
				t.Errorf("err = %v, want ErrRedacted", err)
			}
			if !s.IsZero() {
				t.Errorf("a value was read")
			}
		})
	}
}

func TestEqualComparesValues(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		a, b secret.Text
		want bool
	}{
		"the same value made twice":     {secret.New("abc"), secret.New("abc"), true},
		"another value":                 {secret.New("abc"), secret.New("abd"), false},
		"a longer value":                {secret.New("abc"), secret.New("abcd"), false},
		"empty and zero":                {secret.New(""), secret.Text{}, true},
		"zero and a value":              {secret.Text{}, secret.New("a"), false},
		"the redaction and a value":     {secret.New(secret.Redacted), secret.New("a"), false},
		"bytes that are not valid text": {secret.New("\xff\x00"), secret.New("\xff\x00"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.a.Equal(test.b); got != test.want {
				t.Errorf("Equal = %t", got)
			}
			if got := cmp.Equal(test.a, test.b); got != test.want {
				t.Errorf("cmp.Equal = %t", got)
			}
		})
	}
	if secret.New("abc").Reveal() != "abc" || secret.New("").Reveal() != "" || !secret.New("").IsZero() || secret.New("a").IsZero() {
		t.Error("Reveal and IsZero do not tell the value")
	}
}
