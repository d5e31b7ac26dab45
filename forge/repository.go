package forge

import (
	"strings"
	"time"
)

// Repository is a repository that the token's account can see.
type Repository struct {
	ID       string `json:"id"`        // immutable at the forge
	Path     string `json:"path"`      // owner/name; on GitLab the full group path
	WebURL   string `json:"web_url"`   // where a person opens it
	CloneURL string `json:"clone_url"` // over HTTPS, without credentials
	Default  string `json:"default_branch"`
	Private  bool   `json:"private"`
	Archived bool   `json:"archived"`
}

// Ref names the repository by its id.
func (r Repository) Ref() RepositoryRef { return RepositoryRef{ID: r.ID} }

// RepositoryRef names a repository: by its id, which is immutable, or where that is empty by its path. A path can be
// renamed, and then be taken by somebody else; whoever keeps a name keeps the id. With both, the id counts. On GitHub,
// Gitea and Forgejo an operation on a repository named by id costs one request more, which asks where it is; on Bitbucket only
// where an address of it is needed.
type RepositoryRef struct {
	ID   string
	Path string // owner/name; on GitLab the full group path
}

// RepositoryQuery narrows a list of repositories. The zero value is all of them.
type RepositoryQuery struct {
	// Text is looked for in the path, whatever the case.
	Text string
	// WithoutArchived leaves archived repositories out.
	WithoutArchived bool
}

// Admits reports whether the query asks for r.
func (q RepositoryQuery) Admits(r Repository) bool {
	if q.WithoutArchived && r.Archived {
		return false
	}
	return q.Text == "" || strings.Contains(strings.ToLower(r.Path), strings.ToLower(q.Text))
}

// MaxFile bounds the bytes of a [File].
const MaxFile = 8 << 20

// File is the content of one file of a repository at a revision.
type File struct {
	Path string
	// Revision is the branch, tag or commit that was asked for.
	Revision string
	Content  []byte
}

// Issue is an entry of a repository's issue tracker.
type Issue struct {
	Number    int64     `json:"number"` // within the repository
	Title     string    `json:"title"`
	Body      string    `json:"body"` // as its author wrote it, but valid UTF-8: text of strangers
	Open      bool      `json:"open"`
	Author    Account   `json:"author"` // zero for an account that is gone
	WebURL    string    `json:"web_url"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ChangeState is how far a [Change] has come.
type ChangeState string

// The states of a change.
const (
	ChangeOpen   ChangeState = "open"
	ChangeMerged ChangeState = "merged"
	ChangeClosed ChangeState = "closed" // without having been merged
)

// Change is a proposal to merge one branch into another: a pull request, or on GitLab a merge request.
type Change struct {
	Number int64       `json:"number"` // within the repository it is proposed to
	Title  string      `json:"title"`
	Body   string      `json:"body"` // as its author wrote it, but valid UTF-8: text of strangers
	State  ChangeState `json:"state"`
	Draft  bool        `json:"draft"`
	// Source is the branch that is proposed, SourceID the immutable id of its repository (empty if that is gone), Target the
	// branch that it is proposed to.
	Source   string `json:"source"`
	SourceID string `json:"source_id"`
	Target   string `json:"target"`
	// Head is the commit that is proposed now: what a status is set on.
	Head      string    `json:"head"`
	Author    Account   `json:"author"` // zero for an account that is gone
	WebURL    string    `json:"web_url"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// NewChange is a proposal to open. Both branches are of the repository it is proposed to.
type NewChange struct {
	Title, Body string
	Source      string
	Target      string // the default branch if empty
	Draft       bool
}

// Subject is what a comment is on.
type Subject struct {
	Number int64
	// OnChange says that Number is that of a change; else it is an issue's. GitHub, Gitea and Forgejo count both together,
	// GitLab and Bitbucket do not.
	OnChange bool
}

// Comment is a comment on an issue or a change.
type Comment struct {
	ID        string    `json:"id"`
	Body      string    `json:"body"`
	Author    Account   `json:"author"`
	WebURL    string    `json:"web_url"`
	CreatedAt time.Time `json:"created_at"`
}

// StatusState is the verdict of a [Status].
type StatusState string

// The verdicts. Every kind of forge knows these; GitLab calls the last two by one name.
const (
	StatusPending StatusState = "pending"
	StatusSuccess StatusState = "success"
	StatusFailure StatusState = "failure" // the check says no
	StatusError   StatusState = "error"   // the check could not be made
)

// Status is what a check says of a commit. One of the same Context takes its place.
type Status struct {
	Context     string // names the check, such as ci/build; at most 255 characters
	State       StatusState
	Description string // one line; longer than 140 characters is cut
	TargetURL   string // where a person sees more: http or https, or empty
}
