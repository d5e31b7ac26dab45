package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/migrations"
)

func TestConfirmTakesNothingButYes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		typed       string
		canAsk, yes bool
		code        exitCode
		asked       bool
	}{
		"yes":                   {"yes\n", true, false, exitOK, true},
		"yes, loudly":           {" YES \n", true, false, exitOK, true},
		"y":                     {"y\n", true, false, exitFailure, true},
		"nothing":               {"\n", true, false, exitFailure, true},
		"the end of the input":  {"yes", true, false, exitFailure, true},
		"--yes":                 {"", true, true, exitOK, false},
		"--yes and nobody":      {"", false, true, exitOK, false},
		"nobody who could type": {"yes\n", false, false, exitUsage, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var prompt bytes.Buffer
			p := &program{in: strings.NewReader(test.typed), err: &prompt, canAsk: test.canAsk}
			err := p.confirm(t.Context(), test.yes, "All is lost", "forgeauth lose")
			if codeOf(err) != test.code || (prompt.Len() > 0) != test.asked {
				t.Errorf("err = %v, prompt %q", err, prompt.String())
			}
			if test.asked && !strings.HasPrefix(prompt.String(), "All is lost.\n") {
				t.Errorf("the consequence is not named: %q", prompt.String())
			}
		})
	}
}

func TestConfirmEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, keyboard := io.Pipe() // nobody types
	defer func() { _ = keyboard.Close() }()
	p := &program{in: silent, err: &bytes.Buffer{}, canAsk: true}
	if err := p.confirm(ctx, false, "All is lost", "forgeauth lose"); codeOf(err) != exitInterrupted {
		t.Errorf("err = %v", err)
	}
}

func TestProgressIsDrawnForTerminalsOnly(t *testing.T) {
	t.Parallel()
	for _, canAnimate := range []bool{true, false} {
		var drawn bytes.Buffer
		p := &program{err: &drawn, canAnimate: canAnimate}
		report, finish := p.progress("folding the log")
		if report != nil {
			report(1, 3)
			report(3, 3)
		}
		finish()
		if (report != nil) != canAnimate || strings.Contains(drawn.String(), "folding the log") != canAnimate {
			t.Errorf("with a terminal: %t; drawn: %q", canAnimate, drawn.String())
		}
	}
}

func TestStagesAreDrawnOneAfterTheOther(t *testing.T) {
	t.Parallel()
	for _, canAnimate := range []bool{true, false} {
		var drawn bytes.Buffer
		p := &program{err: &drawn, canAnimate: canAnimate}
		reports, finish := p.stages("hashing", "folding")
		for i, name := range []string{"hashing", "folding"} {
			if strings.Contains(drawn.String(), name) {
				t.Errorf("%s is drawn before it begins: %q", name, drawn.String())
			}
			if (reports[i] != nil) != canAnimate {
				t.Fatalf("with a terminal: %t; a report: %t", canAnimate, reports[i] != nil)
			}
			if canAnimate {
				reports[i](1, 3)
				reports[i](3, 3)
			}
			if strings.Contains(drawn.String(), name) != canAnimate {
				t.Errorf("with a terminal: %t; drawn: %q", canAnimate, drawn.String())
			}
		}
		finish()
	}
}

func TestWaitingIsDrawnForTerminalsOnlyAndRemoved(t *testing.T) {
	t.Parallel()
	for _, canAnimate := range []bool{true, false} {
		var drawn bytes.Buffer
		p := &program{err: &drawn, canAnimate: canAnimate}
		p.waiting("fetching Postgres")()
		if strings.Contains(drawn.String(), "fetching Postgres") != canAnimate {
			t.Errorf("with a terminal: %t; drawn: %q", canAnimate, drawn.String())
		}
		if left := drawn.String()[strings.LastIndex(drawn.String(), "\r")+1:]; left != "" {
			t.Errorf("left in the line: %q", left)
		}
	}
}

func TestExitCodesAreConstant(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"no error":           {nil, 0},
		"any error":          {errors.New("x"), 1},
		"an outdated schema": {&migrations.VersionError{Have: 1, Want: 2}, 1},
		"wrong usage":        {fmt.Errorf("x: %w", &usageError{err: errors.New("y"), command: "forgeauth"}), 2},
		"wrong settings":     {fmt.Errorf("x: %w", &forgeauth.ConfigError{}), 2},
		"differences":        {errors.Join(errDifferences, nil), 3},
		"an interrupt":       {fmt.Errorf("x: %w", context.Canceled), 130},
	} {
		if got := codeOf(test.err); int(got) != test.want {
			t.Errorf("%s: exit code %d, want %d", name, got, test.want)
		}
	}
	for _, code := range []exitCode{exitOK, exitFailure, exitUsage, exitDifferences, exitInterrupted} {
		if !strings.Contains("\n"+exitCodesHelp, fmt.Sprintf("\n  %d ", code)) {
			t.Errorf("exit code %d is not documented", code)
		}
	}
}

func TestErrorsAreOneLineWithoutSecrets(t *testing.T) {
	t.Parallel()
	var printed bytes.Buffer
	p := &program{err: &printed}
	p.printError(errors.Join(errors.New("these:\n\tfirst"), errors.New("second: gho_16C7e42F292c6912E7710c838347Ae178B4a")))
	if got, want := printed.String(), "forgeauth: these: first; second: gho_[redacted]\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestADatabaseIsDescribedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	got := describe("postgres://forgeauth:" + testPassword + "@db.example.org:5433/auth")
	if want := "Postgres at db.example.org, database auth, as forgeauth"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatIsPrintedMovesNoTerminal(t *testing.T) {
	t.Parallel()
	var out, err bytes.Buffer
	p := &program{out: &out, err: &err}
	const hostile = "eve\x1b[2J\x07\r\u202egnp\u2066 \x00\x9b ok é\n"
	const shown = `eve\x1b[2J\a\r\u202egnp\u2066 \x00\ufffd ok é` + "\n"
	p.printf("%s", hostile)
	p.note("%s", hostile)
	if out.String() != shown || err.String() != "forgeauth: "+shown+"\n" {
		t.Errorf("printed %q and %q", out.String(), err.String())
	}
	out.Reset()
	p.printTable([]string{"name"}, [][]string{{"a\x1b[31mb"}})
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("a table holds %q", out.String())
	}
}
