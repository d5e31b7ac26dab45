package main

import (
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
)

const rootHelp = `forgeauth signs one operator in to code forges (GitHub, GitLab, Gitea, Forgejo,
Bitbucket), keeps the tokens sealed, and records who could act on which forge,
when and by whose hand, in a log that can only grow.

It is configured by the environment. Without any it serves on
http://127.0.0.1:8080 with a Postgres of its own, once there is an encryption
key:

  export OAUTH_ENCRYPTION_KEY="$(openssl rand -base64 32)"   # keep a copy
  export FORGEAUTH_FORGE_GITHUB_CLIENT_ID=…      # of an OAuth application whose
  export FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET=…  # callback URL serve prints
  forgeauth serve`

const rootExamples = `  forgeauth serve                      run the service
  forgeauth help environment           every setting
  forgeauth help exit-codes            what scripts can rely on
  forgeauth verify --json              check the tables against the log
  forgeauth subscriptions              who is given the log, and how far`

const exitCodesHelp = `  0    What was asked for has been done.
  1    It could not be done. Standard error says why, and what to do next.
  2    The command line or the configuration is wrong. Nothing was tried; all
       faults are listed at once.
  3    A check found what does not hold: verify (tables that it repaired do not
       count), audit prove or audit check.
  130  Ended by a signal before it was done. serve, told to end by SIGINT or
       SIGTERM, shuts down and exits with 0; a second signal ends it at once,
       with this code. Nothing that was committed is lost.`

// helpTopics returns commands that do nothing but explain.
func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "environment", Short: "Every setting, with its default", Long: environmentHelp()},
		{Use: "exit-codes", Short: "What scripts can rely on", Long: exitCodesHelp},
	}
}

// environmentHelp lists the settings in their groups.
func environmentHelp() string {
	var b strings.Builder
	b.WriteString(wrap("forgeauth reads these variables. All of them are checked before anything is done, and every fault is listed at once. "+
		"Those marked * may also stand in a file that the variable with _FILE at its end names; one newline at its end is not "+
		"part of the value. A variable that is set but empty counts as not set, unless it says otherwise below.", ""))
	group := ""
	for _, s := range forgeauth.Settings() {
		if s.Group != group {
			group = s.Group
			b.WriteString("\n" + group + "\n")
		}
		mark := ""
		if s.Secret {
			mark = " *"
		}
		b.WriteString("\n  " + s.Name + mark + "\n")
		b.WriteString(wrap(s.Help, "      "))
		if s.Default != "" {
			b.WriteString(wrap("Default: "+s.Default+".", "      "))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// helpWidth is how many columns the texts of help have at most: those of a terminal that nobody made wider.
const helpWidth = 80

// wrap breaks a text into lines of help, each after the indent.
func wrap(text, indent string) string {
	lines := fold(text, helpWidth-len(indent))
	return indent + strings.Join(lines, "\n"+indent) + "\n"
}

// fold breaks a text between words into lines of at most width characters. A word that is longer has a line of its own.
func fold(text string, width int) []string {
	var lines []string
	line, length := "", 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if line != "" && length+1+n > width {
			lines = append(lines, line)
			line, length = "", 0
		}
		if line != "" {
			line, length = line+" ", length+1
		}
		line, length = line+word, length+n
	}
	return append(lines, line)
}
