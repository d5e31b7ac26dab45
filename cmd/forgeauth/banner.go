package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth"
)

// describe names a database without its password; empty for no URL.
func describe(databaseURL string) string {
	config, err := pgx.ParseConfig(databaseURL)
	if databaseURL == "" || err != nil {
		return ""
	}
	return fmt.Sprintf("Postgres at %s, database %s, as %s", config.Host, config.Database, config.User)
}

// printBanner says what a person needs to go on: where to open it, what to register at each forge, and the setup code. It goes
// to standard output and never through the logger.
func (p *program) printBanner(ctx context.Context, d *deployment, e forgeauth.Environment) error {
	code, expires, needed, err := d.service.Commands().EnsureSetupCode(ctx)
	if err != nil {
		return fmt.Errorf("make a setup code: %w", err)
	}
	login := e.Config.PublicURL + "/login"
	var b strings.Builder
	width := 12
	for _, c := range e.Config.Connections {
		width = max(width, len("  "+c.Name))
	}
	for _, r := range e.Config.Relays {
		width = max(width, len("  "+r.Name))
	}
	line := func(name, value string) { fmt.Fprintf(&b, "  %-*s  %s\n", width, name, value) }
	b.WriteString("forgeauth " + readBuild().Version + "\n\n")
	line("Open", login)
	line("Database", d.database)
	switch {
	case e.Config.Operators != nil:
		line("Sign-in", fmt.Sprintf("FORGEAUTH_OPERATORS decides (%d)", len(e.Config.Operators)))
	case needed && code.IsZero():
		line("Setup code", "printed before and good until "+moment(expires))
		line("", "`forgeauth setup-code` prints another")
	case needed:
		line("Setup code", code.Reveal())
		line("", "enter it there before "+moment(expires)+": nobody owns this yet")
	default:
		line("Sign-in", "the accounts that `forgeauth accounts list` names")
	}
	if len(e.Config.Connections) > 0 {
		b.WriteString("\n  Callback URLs, to be registered at each forge exactly so:\n")
	}
	for _, c := range e.Config.Connections {
		line("  "+c.Name, d.service.CallbackURL(c.Name)+"  (at "+c.BaseURL+")")
	}
	if len(e.Config.Relays) > 0 {
		b.WriteString("\n  Relays, of which `forgeauth subscriptions` says how they do:\n")
	}
	for _, r := range e.Config.Relays {
		line("  "+r.Name, r.String()+"  ("+topicOf(r)+")")
	}
	for _, warning := range e.Warnings {
		b.WriteString("\n  Note: " + warning.Name + " " + warning.Problem + ":\n        " + warning.Remedy + "\n")
	}
	p.printf("%s\n", b.String())
	return nil
}

// topicOf says what a relay is given.
func topicOf(r forgeauth.RelayConfig) string {
	if len(r.Types) == 0 {
		return "all events"
	}
	return strings.Join(r.Types, ", ")
}
