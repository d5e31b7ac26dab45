package forge

import (
	"crypto/x509"
	"time"

	"github.com/forgeauth/forgeauth/secret"
)

// Kind is the software a forge runs.
type Kind string

// The kinds this module speaks to. GitHub Enterprise Server is [GitHub] with a base URL of its own, a self-managed
// GitLab is [GitLab] with one. [Bitbucket] is Bitbucket Cloud; Data Center is another software with another API.
const (
	GitHub    Kind = "github"
	GitLab    Kind = "gitlab"
	Gitea     Kind = "gitea"
	Forgejo   Kind = "forgejo"
	Bitbucket Kind = "bitbucket"
)

// Connection is one configured forge: where it is and which OAuth application we are there. It comes from
// configuration alone; nothing that a forge, a browser or a database row says changes where a token is sent.
type Connection struct {
	// Name is the connection's own name, the forge_type of the tables and routes: by default the kind, and
	// something like gitlab-work for a second instance of a kind. Lower case letters, digits and inner dashes.
	Name string
	Kind Kind
	// BaseURL is the forge's web root in canonical form (see [CanonicalBaseURL]): scheme, host, port where it is
	// not the default, path prefix; no trailing slash.
	BaseURL      string
	ClientID     string
	ClientSecret secret.Text
	// Scopes to ask for. Never empty on Gitea and Forgejo, where no scope means full access.
	Scopes []string
	// RootCAs verifies the forge's certificate; nil means the system's roots.
	RootCAs *x509.CertPool
	// Login says whether an account of this forge may be a way into this deployment.
	Login bool
}

// Account is who a token belongs to at its forge. ID is immutable there and never reused; Login can be renamed and
// taken over by somebody else, so it is shown and never compared.
type Account struct {
	ID    string `json:"id"`
	Login string `json:"login"`
}

// Token is what a forge granted.
type Token struct {
	Access  secret.Text
	Refresh secret.Text // zero where the forge gives none
	// ExpiresAt is when the access token stops working, zero if it does not expire.
	ExpiresAt time.Time
	// Scopes as granted, nil where the forge does not say. Gitea and Forgejo do not when they grant; see [Port.Grant].
	Scopes []string
	// Generation tells the tokens of a connection apart, as in [Binding]; 0 for a token that is not stored.
	Generation int64
}

// Binding says what a [Port] is bound to. It holds no token and may be logged.
type Binding struct {
	Connection string  `json:"forge_type"`
	Kind       Kind    `json:"kind"`
	BaseURL    string  `json:"base_url"`
	Account    Account `json:"account"`
	// Generation counts the grants and refreshes of this connection's token; it is the version of the stream
	// token/<connection> that last changed the token.
	Generation int64 `json:"generation"`
	// Position is the log position of that change.
	Position int64 `json:"position"`
}
