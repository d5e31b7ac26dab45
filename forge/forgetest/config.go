package forgetest

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Dialect is the kind of forge that a [Forge] speaks as. The zero value is no dialect; [New] refuses it.
type Dialect int

// The dialects, each named for what it imitates.
const (
	// GitHub is github.com with an OAuth App: tokens that never expire and no refresh token. Its API is served at
	// the root and, because a loopback forge has no host of its own for the API, also under /api/v3.
	GitHub Dialect = iota + 1
	// GitHubApp is github.com with a GitHub App that issues expiring user tokens (8 hours, refresh token of 6 months).
	GitHubApp
	// GitHubEnterprise is a GitHub Enterprise Server with an OAuth App; its API is under /api/v3 only.
	GitHubEnterprise
	// GitLab is gitlab.com or a self-managed GitLab.
	GitLab
	// Gitea is Gitea 1.26 with its default of reusable refresh tokens; [Config.Rotation] turns rotation on.
	Gitea
	// Forgejo is Forgejo 15 with its default of single-use refresh tokens; [Config.Rotation] turns rotation off.
	Forgejo
	// Bitbucket is Bitbucket Cloud, with its API under /2.0 of the same origin. Its accounts, repositories and webhooks have
	// ids that are no numbers, but end with them.
	Bitbucket
)

// String returns the name of the dialect in lower case, such as "github-app".
func (d Dialect) String() string {
	switch d {
	case GitHub:
		return "github"
	case GitHubApp:
		return "github-app"
	case GitHubEnterprise:
		return "github-enterprise"
	case GitLab:
		return "gitlab"
	case Gitea:
		return "gitea"
	case Forgejo:
		return "forgejo"
	case Bitbucket:
		return "bitbucket"
	default:
		return fmt.Sprintf("dialect(%d)", int(d))
	}
}

// Title returns the name of the dialect as its pages show it, such as "GitHub Enterprise".
func (d Dialect) Title() string {
	switch d {
	case GitHub, GitHubApp:
		return "GitHub"
	case GitHubEnterprise:
		return "GitHub Enterprise"
	case GitLab:
		return "GitLab"
	case Gitea:
		return "Gitea"
	case Forgejo:
		return "Forgejo"
	case Bitbucket:
		return "Bitbucket"
	default:
		return d.String()
	}
}

// Config says what a [Forge] imitates. Only Dialect is required.
type Config struct {
	Dialect Dialect
	// Clients are the registered applications. [Forge.Register] adds one later.
	Clients []Client
	// Users are the accounts that can log in.
	Users []User
	// Now is the forge's clock; nil means the system's.
	Now func() time.Time
	// Rotation overrides whether a refresh token is single use; nil keeps the dialect's default. GitHub Apps,
	// GitLab and Bitbucket always rotate, whatever this says, because the forges offer no choice.
	Rotation *bool
	// AccessTokenTTL and RefreshTokenTTL override the dialect's lifetimes where positive. An AccessTokenTTL has no
	// effect on GitHub OAuth Apps, whose tokens do not expire.
	AccessTokenTTL, RefreshTokenTTL time.Duration
	// CodeTTL overrides the ten minutes that an authorization code lives.
	CodeTTL time.Duration
	// DeviceInterval and DeviceTTL override how many seconds a device has to wait between polls and how long its code
	// lives, where positive.
	DeviceInterval, DeviceTTL time.Duration
	// Logger receives one debug line per request: method, path, status; never a query, header or body. Nil discards.
	Logger *slog.Logger
	// AutoConsent answers every authorization request at once as the first user, without pages.
	AutoConsent bool
	// RequirePKCE refuses authorization requests without an S256 challenge. Without it a challenge is optional, as at
	// the real forges, but once sent it is enforced.
	RequirePKCE bool
	// SendIssuer adds the iss parameter of RFC 9207 to every redirect back to the client.
	SendIssuer bool
	// FirstConsentSkipsPKCE imitates a fault recorded on Gitea 1.26-dev: the code of a user's first consent is
	// exchanged whatever verifier is sent. It is off by default: a stand-in that does not enforce PKCE on the only
	// path most tests take would let a client that never sends the verifier pass. Gitea and Forgejo dialects only.
	FirstConsentSkipsPKCE bool
	// URL is the forge's own origin, such as https://forge.example. [Listen] and [Start] fill it in; a Forge that
	// is mounted as a plain handler without it answers with the origin of each request.
	URL string
	// PathPrefix is the path under which a self-managed forge lives, such as /gitea: a leading slash and no trailing
	// one. Requests outside it are 404. It is part of what [Forge.URL] returns.
	PathPrefix string
}

// Client is a registered OAuth application.
type Client struct {
	ID, Secret string
	// RedirectURIs are compared byte by byte: no wildcard, no case folding, no trailing slash.
	RedirectURIs []string
	// Name is shown at consent; empty means the ID.
	Name string
	// DeviceFlow enables the device flow at GitHub, where it has to be; GitLab offers it to every application.
	DeviceFlow bool
	// Scopes are what a Bitbucket consumer is registered for: it is granted them, whatever a request asks. Nil is what
	// [forge.Info] names. The other dialects grant what is asked.
	Scopes []string
}

// User is an account at the forge.
type User struct {
	ID           int64
	Login, Name  string
	Repositories []Repository
	// Prohibited accounts can neither log in nor use the API.
	Prohibited bool
}

// Repository is a repository of a [User], who is its owner unless Owner says otherwise.
type Repository struct {
	ID            int64
	Owner         string
	Name          string
	Description   string
	DefaultBranch string
	Private       bool
	Fork          bool
	Archived      bool
	// Empty repositories have no commit.
	Empty bool
	// IssuesOff: its issue tracker is switched off.
	IssuesOff bool
	// ReadOnly: the accounts that see it may neither write to it nor administer it.
	ReadOnly bool
}

// Repositories returns n repositories named repository-0001 and so on, with the ids first, first+1, …; every third
// is private and every tenth archived.
func Repositories(first int64, n int) []Repository {
	repositories := make([]Repository, n)
	for i := range repositories {
		repositories[i] = Repository{
			ID:            first + int64(i),
			Name:          fmt.Sprintf("repository-%04d", i+1),
			Description:   fmt.Sprintf("Repository %d of %d", i+1, n),
			DefaultBranch: "main",
			Private:       i%3 == 0,
			Archived:      i%10 == 9,
		}
	}
	return repositories
}

// withDefaults returns a deep copy of c with every default filled in. It panics on a configuration that no forge
// could have; a test that is wrong in this way should stop at its first line.
func (c Config) withDefaults() Config {
	if c.Dialect < GitHub || c.Dialect > Bitbucket {
		panic(fmt.Sprintf("forgetest: Config.Dialect is %v; set one of the dialects", c.Dialect))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.PathPrefix != "" && (c.PathPrefix[0] != '/' || c.PathPrefix[len(c.PathPrefix)-1] == '/') {
		panic(fmt.Sprintf("forgetest: Config.PathPrefix is %q; it starts with a slash and does not end with one", c.PathPrefix))
	}
	if c.CodeTTL <= 0 {
		c.CodeTTL = 10 * time.Minute
	}
	c.Clients = slices.Clone(c.Clients)
	c.Users = slices.Clone(c.Users)
	return c
}

func (c Client) checked() Client {
	if c.ID == "" || c.Secret == "" || len(c.RedirectURIs) == 0 {
		panic(fmt.Sprintf("forgetest: client %q needs an ID, a Secret and at least one redirect URI", c.ID))
	}
	if c.Name == "" {
		c.Name = c.ID
	}
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	c.Scopes = slices.Clone(c.Scopes)
	return c
}

func (u User) checked() User {
	if u.ID <= 0 || u.Login == "" {
		panic(fmt.Sprintf("forgetest: user %q needs a positive ID and a Login", u.Login))
	}
	if u.Name == "" {
		u.Name = u.Login
	}
	u.Repositories = slices.Clone(u.Repositories)
	for i := range u.Repositories {
		if u.Repositories[i].DefaultBranch == "" {
			u.Repositories[i].DefaultBranch = "main"
		}
	}
	return u
}
