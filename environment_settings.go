package forgeauth

import (
	"regexp"
	"slices"
	"strings"

	"github.com/forgeauth/forgeauth/internal/spelling"
	"github.com/forgeauth/forgeauth/vault"
)

// Setting describes one variable of the environment, for help texts and documentation.
type Setting struct {
	// Group is the heading that the setting stands under.
	Group string
	// Name is the variable; that of a connection or a relay holds <NAME>.
	Name string
	// Secret says that Name + "_FILE" may name a file that holds the value instead.
	Secret bool
	// Default is what holds where the variable is not set, in words; empty where there is no default.
	Default string
	// Help says what the setting does, in a sentence or two.
	Help string
}

// The groups of [Settings].
const (
	groupStorage = "Storage and key"
	groupDoor    = "Front door"
	groupPeople  = "Who may sign in"
	groupForge   = "A forge, once for each <NAME>"
	groupSigning = "Signing the log"
	groupRelay   = "A relay, once for each <NAME>"
	groupLogs    = "Logs and metrics"
)

const (
	variablePrefix = "FORGEAUTH_"
	forgePrefix    = "FORGEAUTH_FORGE_"
	relayPrefix    = "FORGEAUTH_RELAY_"
	fileSuffix     = "_FILE"
	namePart       = "<NAME>"

	databaseVariable        = "DATABASE_URL"
	directVariable          = "FORGEAUTH_DATABASE_DIRECT_URL"
	previousKeysVariable    = vault.KeyVariable + "_PREVIOUS"
	listenVariable          = "FORGEAUTH_LISTEN"
	publicVariable          = "FORGEAUTH_PUBLIC_URL"
	proxiesVariable         = "FORGEAUTH_TRUSTED_PROXIES"
	operatorsVariable       = "FORGEAUTH_OPERATORS"
	dataDirVariable         = "FORGEAUTH_DATA_DIR"
	levelVariable           = "FORGEAUTH_LOG_LEVEL"
	formatVariable          = "FORGEAUTH_LOG_FORMAT"
	signingVariable         = "FORGEAUTH_SIGNING_KEY"
	previousSigningVariable = "FORGEAUTH_SIGNING_KEY_PREVIOUS"
	checkpointVariable      = "FORGEAUTH_CHECKPOINT_FILE"
	publicLogVariable       = "FORGEAUTH_PUBLIC_LOG"
	metricsVariable         = "FORGEAUTH_METRICS_LISTEN"
)

// Settings lists everything that [FromEnvironment] reads, grouped, in the order in which faults are listed. The caller owns
// the result.
func Settings() []Setting {
	return []Setting{
		{
			groupStorage, databaseVariable, true, "a private Postgres under FORGEAUTH_DATA_DIR",
			"Postgres to keep everything in, such as postgres://forgeauth@db.example.org/forgeauth. Not set, forgeauth runs a " +
				"Postgres of its own. Set but empty is refused, so that a lost value does not start another database.",
		},
		{
			groupStorage, directVariable, true, "DATABASE_URL",
			"The same database past a pooler in transaction mode, for the feed, which listens and holds locks.",
		},
		{
			groupStorage, "OAUTH_ENCRYPTION_KEY", true, "",
			"Seals the tokens; at least 32 bytes, made with `openssl rand -base64 32`. Required by serve. Keep a copy: without " +
				"it stored tokens cannot be opened.",
		},
		{
			groupStorage, previousKeysVariable, true, "none",
			"Values that OAUTH_ENCRYPTION_KEY had before, separated by spaces: they open what they sealed, until `forgeauth keys rotate`.",
		},
		{
			groupStorage, dataDirVariable, false, "/var/lib/forgeauth as root, else $XDG_DATA_HOME/forgeauth or ~/.local/share/forgeauth",
			"Absolute path of the folder for the Postgres that forgeauth runs. Not used with DATABASE_URL.",
		},
		{groupDoor, listenVariable, false, "127.0.0.1:8080", "Address and port to listen on."},
		{
			groupDoor, publicVariable, false, "http:// and FORGEAUTH_LISTEN, if that is loopback",
			"Where browsers reach forgeauth: https://host[:port], or http:// on loopback. Callback URLs begin with it.",
		},
		{
			groupDoor, proxiesVariable, false, "none",
			"Addresses or networks (10.0.0.0/8), separated by commas, of the proxies whose X-Forwarded-For is believed.",
		},
		{groupForge, forgePrefix + "<NAME>_KIND", false, "the name", "github, gitlab, gitea, forgejo or bitbucket. <NAME> in lower case with _ as - " +
			"names the connection: GITLAB_WORK is gitlab-work."},
		{
			groupForge, forgePrefix + "<NAME>_BASE_URL", false, "the kind's public host",
			"Web root of the forge. Tokens are sent nowhere else. https, or http on loopback.",
		},
		{groupForge, forgePrefix + "<NAME>_CLIENT_ID", false, "", "Client id of the OAuth application registered at the forge."},
		{groupForge, forgePrefix + "<NAME>_CLIENT_SECRET", true, "", "Its client secret."},
		{
			groupForge, forgePrefix + "<NAME>_SCOPES", false, "what the kind needs for repositories",
			"Scopes to ask for, separated by spaces or commas. The word none asks for nothing, which is right for a GitHub App.",
		},
		{
			groupForge, forgePrefix + "<NAME>_CA_FILE", false, "the system's authorities",
			"PEM file with the only authorities to trust for this forge.",
		},
		{
			groupForge, forgePrefix + "<NAME>_LOGIN", false, "true",
			"false makes the forge usable but no way in: it is connected from within a session, or by `forgeauth login`.",
		},
		{
			groupForge, forgePrefix + "<NAME>_ALLOW_HTTP", false, "false",
			"true takes an http:// base URL beyond loopback, for a network that you trust.",
		},
		{
			groupPeople, operatorsVariable, false, "whoever claims with the setup code, and who they link",
			"forge:account_id, separated by commas: the only accounts that may sign in. The account id is what the " +
				"refusal page shows, never the login name.",
		},
		{
			groupSigning, signingVariable, true, "none: the log is not signed",
			"Signs checkpoints of the log, so that whoever changes the database is found out; made with `forgeauth keys generate NAME`. " +
				"Keep it apart from the database.",
		},
		{
			groupSigning, previousSigningVariable, true, "none",
			"Signing keys from before, separated by spaces: they sign too while those who check are given the new public key.",
		},
		{
			groupSigning, checkpointVariable, false, "",
			"Absolute path of the file that keeps the newest checkpoint, outside of the database and on a disk of its own at best. " +
				"Required with " + signingVariable + "; not to be shared by two processes.",
		},
		{
			groupSigning, publicLogVariable, false, "false",
			"true serves checkpoints and hashes under /log to anybody, so that others can check that the log only grows. They tell how " +
				"many events there are, and nothing of what is in them.",
		},
		{
			groupRelay, relayPrefix + "<NAME>_URL", true, "",
			"Where events go: nats://host/prefix, kafka://host/topic or https://host/path. <NAME> in lower case with _ as - names " +
				"the consumer group. docs/relay-brokers.md and docs/webhooks.md have the options.",
		},
		{
			groupRelay, relayPrefix + "<NAME>_SECRET", true, "",
			"Signs a webhook's requests: whsec_ and 24 to 64 bytes in base64. While it is rotated, the new one and the one before, " +
				"separated by a space. Required for https://.",
		},
		{
			groupRelay, relayPrefix + "<NAME>_TYPES", false, "all",
			"Types of events, separated by commas, such as ForgeActivated,ForgeDeactivated.",
		},
		{
			groupRelay, relayPrefix + "<NAME>_START", false, "now",
			"Where a relay begins that has never run: now, beginning, a position, or a time (2026-01-31T00:00:00Z).",
		},
		{
			groupRelay, relayPrefix + "<NAME>_ON_FAILURE", false, "park",
			"What becomes of an event that is refused again and again: park holds back its stream, pause everything. A destination " +
				"that is down is waited for in any case.",
		},
		{
			groupRelay, relayPrefix + "<NAME>_CHECKPOINTS", false, "false",
			"true makes it carry the signed checkpoints of the log and no events, to where an intruder in the database cannot reach.",
		},
		{
			groupRelay, relayPrefix + "<NAME>_ALLOW_PRIVATE", false, "false",
			"true lets a webhook go to an address that is not public, and to http:// there.",
		},
		{
			groupRelay, relayPrefix + "<NAME>_CA_FILE", false, "the system's authorities",
			"PEM file with the only authorities to trust for this relay.",
		},
		{groupLogs, metricsVariable, false, "none", "Address and port to serve GET /metrics on, for Prometheus."},
		{groupLogs, levelVariable, false, "info", "debug, info, warn or error."},
		{groupLogs, formatVariable, false, "text", "text or json."},
	}
}

// variables returns the names of [Settings] that are nobody's in particular, with their _FILE forms.
func variables() []string {
	var all []string
	for _, s := range Settings() {
		if strings.Contains(s.Name, namePart) {
			continue
		}
		all = append(all, s.Name)
		if s.Secret {
			all = append(all, s.Name+fileSuffix)
		}
	}
	return all
}

func isKnownVariable(name string) bool {
	return slices.Contains(variables(), name) || slices.Contains([]string{testDatabaseVariable}, name)
}

// testDatabaseVariable is read by tests only (internal/pgtest); it may be exported in a developer's shell.
const testDatabaseVariable = "FORGEAUTH_TEST_DATABASE_URL"

// serviceLink is what Kubernetes and Docker links put into the environment for a service named forgeauth or
// forgeauth-something: FORGEAUTH_SERVICE_HOST, FORGEAUTH_PORT_8080_TCP_ADDR, ….
var serviceLink = regexp.MustCompile(`^FORGEAUTH(_[A-Z0-9]+)*?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

func isServiceLink(name string) bool { return serviceLink.MatchString(name) }

// nearestVariable returns the variable that was probably meant, or nothing.
func nearestVariable(name string) string {
	if found, _ := nearest(name, variables()); found != "" {
		return found
	}
	// FORGEAUTH_DATABASE_URL and FORGEAUTH_ENCRYPTION_KEY: the right word with the wrong prefix.
	bare := strings.TrimPrefix(name, variablePrefix)
	for _, known := range variables() {
		if known == bare || strings.TrimPrefix(known, "OAUTH_") == bare {
			return known
		}
	}
	return ""
}

// nearest returns the candidate with the least edit distance to s, and nothing if even that one is farther than a
// third of its length.
func nearest(s string, candidates []string) (found string, distance int) {
	for _, candidate := range candidates {
		if d := spelling.Distance(s, candidate); d <= max(1, min(len(candidate)/3, 4)) && (found == "" || d < distance) {
			found, distance = candidate, d
		}
	}
	return found, distance
}

// variablePart is the <NAME> of a connection's or a relay's variables.
func variablePart(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}
