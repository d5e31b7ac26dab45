package forgeauth

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// Purpose says what a configuration is read for.
type Purpose int

const (
	// Serving is to run the service: OAUTH_ENCRYPTION_KEY is required.
	Serving Purpose = iota
	// Maintaining is to work on the database beside the service. Nothing is sealed or opened: the key is not looked at.
	Maintaining
	// Importing is to import into the database; otherwise as Maintaining.
	Importing
	// Checking is to look at the database beside the service, and at what is sealed if there is a key.
	Checking
	// Probing is to ask the running service how it is: FORGEAUTH_LISTEN is read, and nothing else.
	Probing
)

// Environment is what the environment says: a Config for [Open], and what only the binary needs.
type Environment struct {
	// Config is complete but for DatabaseURL, which is empty where the embedded Postgres is to be used; whoever starts
	// that sets it, and MigrateOnOpen with it. Listen and PublicURL are filled in.
	Config Config
	// DataDir is the absolute path of the embedded Postgres's directory; empty where DATABASE_URL is set.
	DataDir string
	// MetricsListen is where [Service.Metrics] is to be served as GET /metrics; empty if it is not.
	MetricsListen string
	// LogLevel and LogFormat are for whoever makes Config.Logger.
	LogLevel  slog.Level
	LogFormat LogFormat
	// Warnings are settings that do what they say and may well not be meant.
	Warnings []Fault
}

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text" // key=value
	LogJSON LogFormat = "json" // an object per line
)

// Fault is one thing that is wrong with the environment. It holds no secret.
type Fault struct {
	// Name is the variable.
	Name string `json:"name"`
	// Problem completes the sentence that begins with the name: "is missing".
	Problem string `json:"problem"`
	// Remedy says what to do, as an imperative: "set it to …".
	Remedy string `json:"remedy"`
}

// String returns the fault in one line.
func (f Fault) String() string { return f.Name + " " + f.Problem + ": " + f.Remedy }

// ConfigError lists everything that is wrong with the environment, in the order of [Settings].
type ConfigError struct {
	Faults []Fault
}

// Error implements error with a line and a remedy for each fault.
func (e *ConfigError) Error() string {
	var b strings.Builder
	if len(e.Faults) == 1 {
		b.WriteString("the configuration has a fault:")
	} else {
		fmt.Fprintf(&b, "the configuration has %d faults:", len(e.Faults))
	}
	for _, fault := range e.Faults {
		fmt.Fprintf(&b, "\n  %s %s\n      → %s", fault.Name, fault.Problem, fault.Remedy)
	}
	return b.String()
}

// FromEnvironment reads a configuration from environ, which is a list as [os.Environ] returns it. [Settings] names what it
// reads; other variables that begin with FORGEAUTH_ are faults, because a misspelt FORGEAUTH_OPERATORS would be no
// allow-list at all. It reads the files that the settings name, and nothing else of the machine but the user's id.
//
// Except for [Probing], the whole environment is checked. The error is a *[ConfigError] that lists every fault with its
// remedy. A variable that is set but empty counts as not set, as compose files write it, except where that would change
// what is meant: DATABASE_URL and FORGEAUTH_OPERATORS.
func FromEnvironment(environ []string, purpose Purpose) (Environment, error) {
	return fromEnvironment(environ, purpose, os.Geteuid() == 0)
}

func fromEnvironment(environ []string, purpose Purpose, root bool) (Environment, error) {
	r := newEnvironmentReader(environ, purpose, root)
	var e Environment
	if purpose == Probing {
		if e.Config.Listen = r.listen(); len(r.faults) > 0 {
			return Environment{}, &ConfigError{Faults: r.faults}
		}
		return e, nil
	}
	databaseURL, given := r.databaseURL()
	e.Config.DatabaseURL = secret.New(databaseURL)
	e.Config.DatabaseDirectURL = r.directURL(given)
	e.Config.Importing = purpose == Importing
	e.Config.EncryptionKey = r.encryptionKey()
	e.Config.PreviousKeys = r.previousKeys()
	if !given {
		e.DataDir = r.dataDir()
	}
	e.Config.Listen = r.listen()
	e.Config.PublicURL = r.publicURL(e.Config.Listen)
	e.Config.TrustedProxies = r.trustedProxies()
	connections, names := r.connections()
	e.Config.Connections = connections
	e.Config.Operators = r.operators(connections, names)
	e.Config.Signing = r.signing()
	e.Config.Relays = r.relays()
	e.MetricsListen = r.address(metricsVariable)
	e.LogLevel, e.LogFormat = r.logging()
	r.checkUnknown()
	r.checkWaysIn(connections)
	if len(r.faults) > 0 {
		return Environment{}, &ConfigError{Faults: r.faults}
	}
	e.Warnings = r.warnings
	return e, nil
}

// environmentReader reads settings and collects what is wrong with them.
type environmentReader struct {
	values   map[string]string
	purpose  Purpose
	root     bool
	faults   []Fault
	warnings []Fault
}

func newEnvironmentReader(environ []string, purpose Purpose, root bool) *environmentReader {
	r := &environmentReader{values: make(map[string]string, len(environ)), purpose: purpose, root: root}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			r.values[name] = value
		}
	}
	return r
}

// sealing reports whether what is sealed matters, and so the keys.
func (r *environmentReader) sealing() bool { return r.purpose != Maintaining && r.purpose != Importing }

func (r *environmentReader) fault(name, problem, remedy string) {
	r.faults = append(r.faults, Fault{name, problem, remedy})
}

func (r *environmentReader) warn(name, problem, remedy string) {
	r.warnings = append(r.warnings, Fault{name, problem, remedy})
}

// text returns a setting that is no secret, without the space around it; a variable that is set but empty is one that
// is not set.
func (r *environmentReader) text(name string) string { return strings.TrimSpace(r.values[name]) }

// names returns the variables of the environment that begin with prefix, in order.
func (r *environmentReader) names(prefix string) []string {
	var found []string
	for name := range r.values {
		if strings.HasPrefix(name, prefix) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// checkUnknown finds variables that look like ours and mean nothing.
func (r *environmentReader) checkUnknown() {
	for _, name := range r.names(variablePrefix) {
		if isKnownVariable(name) || isServiceLink(name) || strings.HasPrefix(name, forgePrefix) || strings.HasPrefix(name, relayPrefix) {
			continue
		}
		remedy := "unset it; `forgeauth help environment` lists what there is"
		if nearest := nearestVariable(name); nearest != "" {
			remedy = "did you mean " + nearest + "? Otherwise " + remedy
		}
		r.fault(name, "is not a setting of forgeauth", remedy)
	}
}

// checkWaysIn finds configurations under which nobody could sign in.
func (r *environmentReader) checkWaysIn(connections []forge.Connection) {
	if r.purpose != Serving || len(r.faults) > 0 {
		return
	}
	if len(connections) == 0 {
		r.warn(forgePrefix+"<NAME>_CLIENT_ID", "is set for no forge, so nobody can sign in yet",
			"register an OAuth application at a forge and set its client id and secret, for GitHub: "+
				forgePrefix+"GITHUB_CLIENT_ID and "+forgePrefix+"GITHUB_CLIENT_SECRET; `forgeauth demo` shows everything without any")
		return
	}
	if !slices.ContainsFunc(connections, func(c forge.Connection) bool { return c.Login }) {
		first := forgePrefix + variablePart(connections[0].Name) + "_LOGIN"
		r.fault(first, "is false, and so it is for every other forge: nobody could ever sign in", "leave it unset for one forge at least")
	}
}
