package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/events"
)

// cli is on whose behalf commands of this binary run.
func cli() commands.Caller { return commands.Caller{Actor: "cli"} }

// harmless returns text in which nothing moves a terminal's cursor, changes what it shows, or reverses the order of what is read: what is
// printed may come from a forge, from a proof that somebody else made, or from a database that somebody else has been at.
func harmless(text string) string {
	dangerous := func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) || r == utf8.RuneError
	}
	if !strings.ContainsFunc(text, dangerous) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if dangerous(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// printJSON prints a document, indented, with a newline at its end.
func printJSON[T any](p *program, document T) error {
	encoder := json.NewEncoder(p.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printLine prints a document on one line.
func printLine[T any](p *program, document T) error {
	encoder := json.NewEncoder(p.out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(document); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// printTable prints rows under a header, in plain text: no colours, no lines, so that it can be read by eyes and by awk.
func (p *program) printTable(header []string, rows [][]string) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.AppendHeader(row(header))
	for _, cells := range rows {
		t.AppendRow(row(cells))
	}
	for line := range strings.Lines(t.Render() + "\n") {
		p.printf("%s\n", strings.TrimRight(line, " \n"))
	}
}

// fitted returns the rows with the cells of some columns shortened, the widest first, so that the table is no wider than the
// terminal. 0 is no terminal: whatever reads the table then wants all of it.
func fitted(header []string, rows [][]string, columns int, shorten ...int) [][]string {
	const gap, least = 2, 8
	widths := make([]int, len(header))
	total := gap * (len(header) - 1)
	for i, name := range header {
		widths[i] = utf8.RuneCountInString(name)
		for _, cells := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]))
		}
		total += widths[i]
	}
	for columns > 0 && total > columns {
		widest := slices.MaxFunc(shorten, func(a, b int) int { return widths[a] - widths[b] })
		if widths[widest] <= least {
			break
		}
		widths[widest]--
		total--
	}
	for _, cells := range rows {
		for _, i := range shorten {
			if text := []rune(cells[i]); len(text) > widths[i] {
				cells[i] = string(text[:widths[i]-1]) + "…"
			}
		}
	}
	return rows
}

func row(cells []string) table.Row {
	r := make(table.Row, len(cells))
	for i, cell := range cells {
		r[i] = cell
	}
	return r
}

// moment prints a time for people: in UTC, to the second.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// appended is what a command wrote, as data.
type appended struct {
	Position int64  `json:"position"`
	Type     string `json:"type"`
	Stream   string `json:"stream"`
}

// appendedOf never returns nil, so that no events are an empty list.
func appendedOf(written []events.Event) []appended {
	list := make([]appended, 0, len(written))
	for _, e := range written {
		list = append(list, appended{e.Position, e.Type, string(e.Stream)})
	}
	return list
}

// positions names events for people: "events 7–9", "event 7".
func positions(written []events.Event) string {
	switch len(written) {
	case 0:
		return "no event"
	case 1:
		return fmt.Sprintf("event %d", written[0].Position)
	default:
		return fmt.Sprintf("events %d–%d", written[0].Position, written[len(written)-1].Position)
	}
}
