package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/forgeauth/forgeauth/events"
)

// demoOutput prints the demo's course.
type demoOutput interface {
	begin(*demoHouse) error
	step(played) error
	// end is called when every step has held, with the position of the last event.
	end(last int64) error
	// stay is called when the demo goes on.
	stay(*demoHouse) error
}

func (p *program) demoOutput(o demoOptions) demoOutput {
	if o.json {
		return demoLines{json.NewEncoder(p.out)}
	}
	noColor := slices.ContainsFunc(p.environ, func(entry string) bool { // https://no-color.org
		name, value, _ := strings.Cut(entry, "=")
		return name == "NO_COLOR" && value != "" || entry == "TERM=dumb"
	})
	return demoText{p.out, p.interactive && !noColor, cmp.Or(p.columns, widestStep)}
}

// widestStep is more columns than any step has that holds.
const widestStep = 100

// demoText is for people.
type demoText struct {
	out      io.Writer
	coloured bool
	columns  int // steps go on in the next line, below where they began to
}

// ink is a way to print, as a parameter of SGR (ECMA-48 §8.3.117).
type ink string

const (
	plain ink = ""
	bold  ink = "1"
	dim   ink = "2"
	red   ink = "1;31"
	green ink = "32"
	cyan  ink = "36"
)

func (t demoText) paint(as ink, text string) string {
	if !t.coloured || as == plain || text == "" {
		return text
	}
	return "\x1b[" + string(as) + "m" + text + "\x1b[0m"
}

// pad fills a text up with spaces to a width in characters.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

func (t demoText) print(lines ...string) error {
	if _, err := io.WriteString(t.out, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (t demoText) begin(d *demoHouse) error {
	line := func(name, what, where string) string {
		return strings.TrimRight("  "+t.paint(dim, pad(name, 12))+pad(what, 22)+t.paint(cyan, where), " ")
	}
	return t.print("",
		"  "+t.paint(bold, "forgeauth demo")+t.paint(dim, " — no account, no set-up; HTTP, OAuth and Postgres are real"),
		"",
		line("forgeauth", "over real HTTP", d.origin),
		line("forge A", "github, a stand-in", d.a.connection.BaseURL),
		line("forge B", "forgejo, a stand-in", d.b.connection.BaseURL),
		"  "+t.paint(dim, pad("database", 12))+d.deployment.database,
		"")
}

// The columns of a step: its mark, what it does, and from there what it wrote or saw.
const (
	markWidth      = 4
	doesWidth      = 33
	positionsWidth = 7
)

func (t demoText) step(s played) error {
	mark, does := t.paint(green, "✓"), pad(s.does, doesWidth)
	if s.unmet != nil {
		mark, does = t.paint(red, "✗"), t.paint(bold, does)
	}
	positions, result, as := t.paint(dim, pad("·", positionsWidth)), s.saw, dim
	if len(s.events) > 0 {
		positions, result, as = t.paint(cyan, pad(positionRange(s.events), positionsWidth)), listed(typesOf(s.events)), plain
	}
	lines := t.hang("  "+mark+" "+does+" "+positions, markWidth+doesWidth+1+positionsWidth, as, result)
	if s.unmet != nil {
		const what = "      expected  "
		lines = append(lines, t.hang(what, len(what), plain, s.unmet.expected)...)
		lines = append(lines, t.hang("      got       ", len(what), plain, s.unmet.got)...)
		lines = append(lines, "")
	}
	return t.print(lines...)
}

// hang returns the lines of a text that begins after a head of so many columns and goes on below that.
func (t demoText) hang(head string, columns int, as ink, text string) []string {
	const narrowest = 20
	lines := fold(text, max(narrowest, t.columns-columns))
	for i, line := range lines {
		lines[i] = strings.Repeat(" ", columns) + t.paint(as, line)
	}
	lines[0] = head + strings.TrimLeft(lines[0], " ")
	return lines
}

// positionRange names the positions of events that follow each other: #3, #5–9.
func positionRange(written []events.Event) string {
	first, last := written[0].Position, written[len(written)-1].Position
	if first == last {
		return fmt.Sprintf("#%d", first)
	}
	return fmt.Sprintf("#%d–%d", first, last)
}

func (t demoText) end(last int64) error {
	return t.print("", "  "+t.paint(green, "Everything held.")+fmt.Sprintf(" The log has %d events, and the tables say what it says.", last), "")
}

func (t demoText) stay(d *demoHouse) error {
	title := func(f standIn) string { return t.paint(bold, "Sign in with "+f.title) }
	lasts := "Ctrl-C ends it and removes everything."
	if d.lasting {
		lasts = "Ctrl-C ends it. The history stays in the database, and `forgeauth verify`\n  reads it without a key."
	}
	return t.print(
		"  It stays up, for you to click through the same:",
		"",
		"      "+t.paint(cyan, d.origin+"/login"),
		"",
		"  · The deployment is claimed, so no setup code is asked any more: it belongs",
		"    to the account "+t.paint(bold, demoOperator)+", at both forges. Choose "+title(d.a)+" or",
		"    "+t.paint(bold, d.b.title)+", and there "+t.paint(bold, "Continue as "+demoOperator)+". No password is asked: the forges",
		"    are stand-ins.",
		"  · The forges remember the consent that the script gave, as real ones do.",
		"    "+t.paint(bold, demoVisitor)+" is asked for it, and then turned away: this deployment does not",
		"    know that account.",
		"",
		"  "+lasts,
		"")
}

// demoLines is for programs: one JSON object per line, each with a type.
type demoLines struct {
	out *json.Encoder
}

type (
	demoForge struct {
		ForgeType string `json:"forge_type"`
		BaseURL   string `json:"base_url"`
	}

	demoBegins struct {
		Type     string      `json:"type"` // begin
		URL      string      `json:"url"`
		Database string      `json:"database"`
		Forges   []demoForge `json:"forges"`
	}

	demoStep struct {
		Type     string     `json:"type"` // step
		Number   int        `json:"number"`
		Step     string     `json:"step"`
		Holds    bool       `json:"holds"`
		Saw      string     `json:"saw,omitempty"`
		Events   []appended `json:"events"`
		Expected string     `json:"expected,omitempty"`
		Got      string     `json:"got,omitempty"`
	}

	demoEnds struct {
		Type string `json:"type"` // end: every step has held
		Last int64  `json:"last_position"`
	}

	demoStays struct {
		Type    string `json:"type"` // stay
		URL     string `json:"url"`
		Account string `json:"account"` // whom to continue as at the forges
	}
)

func encodeLine[T demoBegins | demoStep | demoEnds | demoStays](l demoLines, line T) error {
	if err := l.out.Encode(line); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func (l demoLines) begin(d *demoHouse) error {
	line := demoBegins{Type: "begin", URL: d.origin, Database: d.deployment.database}
	for _, f := range []standIn{d.a, d.b} {
		line.Forges = append(line.Forges, demoForge{f.connection.Name, f.connection.BaseURL})
	}
	return encodeLine(l, line)
}

func (l demoLines) step(s played) error {
	line := demoStep{Type: "step", Number: s.number, Step: s.does, Holds: s.unmet == nil, Saw: s.saw, Events: appendedOf(s.events)}
	if s.unmet != nil {
		line.Expected, line.Got = s.unmet.expected, s.unmet.got
	}
	return encodeLine(l, line)
}

func (l demoLines) end(last int64) error { return encodeLine(l, demoEnds{Type: "end", Last: last}) }

func (l demoLines) stay(d *demoHouse) error {
	return encodeLine(l, demoStays{Type: "stay", URL: d.origin + "/login", Account: demoOperator})
}
