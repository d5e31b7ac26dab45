package forgetest

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
)

// differences are where the kinds of forges do not behave alike. What is not here is the same for all.
type differences struct {
	// issuePath, changePath and commentMark make the addresses that people open, below the repository's.
	issuePath, changePath, commentMark string
	// statusNames are what the forge calls the verdicts.
	statusNames map[forge.StatusState]string
	// anyAnswerIsAFile: a file is answered as it is, with nothing that tells it from a page that a proxy puts in its place.
	anyAnswerIsAFile bool
	// onePerAddress: the forge refuses a second webhook with the same address and events.
	onePerAddress bool
	// replacesHooks: the forge takes no new secret for a webhook that is there, so that a new one takes the place of all that had
	// the address.
	replacesHooks bool
	// readersPropose: who may only read a repository may propose its branches all the same.
	readersPropose bool
	// alsoSigned is another header with the signature, either of which is enough.
	alsoSigned string
	// pings: the forge has an event for trying a webhook.
	pings bool
	// signsBody: the signature covers the body. Without it, it is a token that travels along.
	signsBody bool
	// hasScopes: a token has scopes that can be missing.
	hasScopes bool
	// narrow are scopes with which nobody can work on a private repository.
	narrow []string
	// noIssues: the forge has neither issues nor comments on them, nor events of them. noArchive: it archives no repositories.
	noIssues, noArchive bool
	// id is what the port calls the repository or webhook to which the stand-in gave a number, and account the account.
	id, account func(int64) string
}

func (x *exercise) differences() differences {
	d := differences{
		issuePath: "/issues/%d", changePath: "/pull/%d", commentMark: "#issuecomment-%s",
		statusNames: map[forge.StatusState]string{
			forge.StatusPending: "pending", forge.StatusSuccess: "success", forge.StatusFailure: "failure", forge.StatusError: "error",
		},
		signsBody: true, hasScopes: true, id: forge.Number, account: forge.Number,
	}
	switch x.config.Dialect.Kind() {
	case forge.GitHub:
		d.onePerAddress, d.pings, d.narrow = true, true, []string{"read:org"}
		d.hasScopes = x.config.Dialect != GitHubApp // which has permissions
	case forge.GitLab:
		d.issuePath, d.changePath, d.commentMark = "/-/issues/%d", "/-/merge_requests/%d", "#note_%s"
		d.statusNames[forge.StatusFailure], d.statusNames[forge.StatusError] = "failed", "failed"
		d.anyAnswerIsAFile, d.signsBody, d.narrow = true, false, []string{"read_user"}
	case forge.Gitea, forge.Forgejo:
		d.changePath, d.narrow = "/pulls/%d", []string{"read:user"}
		d.replacesHooks, d.readersPropose = true, true
		if x.config.Dialect == Forgejo {
			d.alsoSigned = "X-Gitea-Signature"
		}
	case forge.Bitbucket:
		d.changePath, d.commentMark, d.narrow = "/pull-requests/%d", "#comment-%s", []string{"account"}
		d.statusNames = map[forge.StatusState]string{
			forge.StatusPending: "INPROGRESS", forge.StatusSuccess: "SUCCESSFUL", forge.StatusFailure: "FAILED", forge.StatusError: "STOPPED",
		}
		d.noIssues, d.noArchive, d.id, d.account = true, true, bitbucketUUID, bitbucketAccountID
	}
	return d
}

// workshop is a bench with a repository in which there is something to work on.
type workshop struct {
	*bench
	differences

	port          forge.Port
	path          string
	issue, change int64
	commit        string
	names         int
}

const (
	// repositoryID is the repository that is worked on; it is private.
	repositoryID  = 1
	issueTitle    = "Ünïcödé: it is broken 🙂"
	issueBody     = "Since *yesterday*.\n\n- 漢字"
	changeTitle   = "Mend it"
	guide         = "docs/guide.md"
	guideContent  = "# Guide\r\n\x00\xff\xfe\n"
	hookSecret    = "hook-secret-0123456789"
	hookAddress   = "https://hooks.invalid/in?forge=1"
	proposedBy    = "bob"
	proposedByID  = 4712
	targetBranch  = "main"
	sourceBranch  = "mend"
	statusContext = "ci/build"
)

// workshop signs in and fills the first repository.
func (x *exercise) workshop(t *testing.T, options ...option) *workshop {
	t.Helper()
	b := x.bench(t, append([]option{func(c *Config, _ *forge.Connection) {
		c.Users = append(c.Users, User{ID: proposedByID, Login: proposedBy})
	}}, options...)...)
	w := &workshop{bench: b, differences: x.differences(), port: b.port(t)}
	w.path = exerciseLogin + "/" + b.config.Users[0].Repositories[0].Name
	if b.config.Users[0].Repositories[0].Empty {
		return w
	}
	b.Commit(repositoryID, targetBranch, guide, []byte(guideContent))
	w.commit = b.Commit(repositoryID, sourceBranch, "fix.txt", []byte("fixed"))
	w.issue = b.OpenIssue(repositoryID, proposedBy, issueTitle, issueBody)
	w.change = b.OpenChange(repositoryID, proposedBy, changeTitle, sourceBranch, targetBranch)
	return w
}

func (w *workshop) byID() forge.RepositoryRef { return forge.RepositoryRef{ID: w.id(repositoryID)} }

func (w *workshop) byPath() forge.RepositoryRef { return forge.RepositoryRef{Path: w.path} }

// web is the address of something in the repository that people open.
func (w *workshop) web(format string, a ...any) string {
	return w.URL() + "/" + forge.EscapePath(w.path) + fmt.Sprintf(format, a...)
}

// fresh is a name that was not used before.
func (w *workshop) fresh(prefix string) string {
	w.names++
	return fmt.Sprintf("%s-%d", prefix, w.names)
}

// drain forgets the faults that were ordered and did not strike.
func (b *bench) drain() {
	b.faults.mu.Lock()
	defer b.faults.mu.Unlock()
	clear(b.faults.waiting)
}

// method is one method of the port that works on a repository.
type method struct {
	op, name string
	endpoint Endpoint
	// skip is how many requests to the endpoint come before the one that it is about.
	skip int
	// writes: that request changes something.
	writes bool
	// prepare makes everything ready that the call needs, each time another. What the call returns has no meaning beside an error:
	// that it is zero is checked.
	prepare func(t *testing.T, w *workshop) call
}

// call is one call of a method.
type call func(context.Context, forge.Port, forge.RepositoryRef) error

// checked passes the error on, and complains about what came beside it.
func checked[T any](t *testing.T, got T, err error) error {
	t.Helper()
	if err != nil && !reflect.ValueOf(&got).Elem().IsZero() {
		t.Errorf("%T beside an error: %+v", got, got)
	}
	return err
}

// methods lists what the port does on a repository.
func methods() []method {
	return []method{
		{op: "repository", endpoint: RepositoryEndpoint, prepare: func(t *testing.T, _ *workshop) call {
			t.Helper()
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := p.Repository(ctx, in)
				return checked(t, got, err)
			}
		}},
		{op: "file", endpoint: FileEndpoint, prepare: func(t *testing.T, _ *workshop) call {
			t.Helper()
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := p.File(ctx, in, guide, targetBranch)
				return checked(t, got, err)
			}
		}},
		{op: "issue", endpoint: IssueEndpoint, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := p.Issue(ctx, in, w.issue)
				return checked(t, got, err)
			}
		}},
		{op: "change", endpoint: ChangeEndpoint, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := p.Change(ctx, in, w.change)
				return checked(t, got, err)
			}
		}},
		{op: "comment", name: "comment on an issue", endpoint: CommentEndpoint, writes: true, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := p.Comment(ctx, in, forge.Subject{Number: w.issue}, "Seen")
				return checked(t, got, err)
			}
		}},
		{op: "comment", name: "comment on a change", endpoint: CommentEndpoint, writes: true, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := p.Comment(ctx, in, forge.Subject{Number: w.change, OnChange: true}, "Seen")
				return checked(t, got, err)
			}
		}},
		{op: "open change", endpoint: ChangeEndpoint, writes: true, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			source := w.fresh("proposal")
			w.Commit(repositoryID, source, "new.txt", []byte(source))
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := p.OpenChange(ctx, in, forge.NewChange{Title: "Take it", Source: source, Target: targetBranch})
				return checked(t, got, err)
			}
		}},
		{op: "set status", endpoint: StatusEndpoint, writes: true, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				return p.SetStatus(ctx, in, w.commit, forge.Status{Context: statusContext, State: forge.StatusSuccess})
			}
		}},
		{op: "ensure hook", name: "ensure hook, looking", endpoint: HookEndpoint, prepare: ensureHook(false)},
		{op: "ensure hook", name: "ensure hook, making", endpoint: HookEndpoint, skip: 1, writes: true, prepare: ensureHook(false)},
		{op: "ensure hook", name: "ensure hook, changing", endpoint: HookEndpoint, skip: 1, writes: true, prepare: ensureHook(true)},
		{op: "hooks", endpoint: HookEndpoint, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			w.clearHooks()
			w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: hookSecret})
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				got, err := hooksOf(ctx, p, in)
				return checked(t, got, err)
			}
		}},
		{op: "remove hook", endpoint: HookEndpoint, writes: true, prepare: func(t *testing.T, w *workshop) call {
			t.Helper()
			id := w.id(w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: hookSecret}))
			return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
				return p.RemoveHook(ctx, in, id)
			}
		}},
	}
}

func ensureHook(isThere bool) func(*testing.T, *workshop) call {
	return func(t *testing.T, w *workshop) call {
		t.Helper()
		w.clearHooks()
		if isThere {
			w.AddWebhook(repositoryID, Webhook{URL: hookAddress, Secret: "another-secret-0123", Active: true})
		}
		return func(ctx context.Context, p forge.Port, in forge.RepositoryRef) error {
			got, err := p.EnsureHook(ctx, in, hookSpec(hookAddress))
			return checked(t, got, err)
		}
	}
}

// hooksOf reads all webhooks.
func hooksOf(ctx context.Context, p forge.Port, in forge.RepositoryRef) ([]forge.Hook, error) {
	var all []forge.Hook
	for h, err := range p.Hooks(ctx, in) {
		if err != nil {
			if !reflect.DeepEqual(h, forge.Hook{}) {
				return nil, fmt.Errorf("a webhook beside an error: %w", err)
			}
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

func (m method) String() string {
	if m.name != "" {
		return m.name
	}
	return m.op
}

// order has the fault strike the request that the method is about.
func (m method) order(w *workshop, fault Fault) {
	for range m.skip {
		w.Next(m.endpoint, AsUsual())
	}
	w.Next(m.endpoint, fault)
}

func exerciseMethods(t *testing.T, x *exercise) {
	t.Helper()
	refs := map[string]func(*workshop) forge.RepositoryRef{
		"by path": (*workshop).byPath, "by id": (*workshop).byID,
	}
	for name, ref := range refs {
		t.Run("a token of 8 kB goes through every method, "+name, func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t)
			long := strings.Repeat("Aa0-._~+/", 8192/9) + "=="
			w.Next(TokenEndpoint, w.longToken(long))
			port := w.bench.port(t)
			for _, m := range x.methods() {
				if err := m.prepare(t, w)(t.Context(), port, ref(w)); err != nil {
					t.Errorf("%v: %v", m, err)
				}
			}
		})
		t.Run("names in other scripts go through every method, "+name, func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t, func(c *Config, _ *forge.Connection) { c.Users[0].Repositories[0].Name = "Ünïcödé-漢字-🙂" })
			for _, m := range x.methods() {
				if err := m.prepare(t, w)(t.Context(), w.port, ref(w)); err != nil {
					t.Errorf("%v: %v", m, err)
				}
			}
		})
		t.Run("a token that was revoked needs a new sign-in in every method, "+name, func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t)
			w.RevokeUser(exerciseLogin)
			for _, m := range x.methods() {
				w.fails(t, m.op, m.prepare(t, w)(t.Context(), w.port, ref(w)), forge.ErrNeedsReauth)
			}
		})
	}
	t.Run("what is not there is not found", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		for _, in := range []forge.RepositoryRef{{ID: w.id(999999)}, {Path: exerciseLogin + "/no-such"}, {Path: "nobody/nothing"}} {
			for _, m := range x.methods() {
				err := m.prepare(t, w)(t.Context(), w.port, in)
				if m.op == "remove hook" {
					if err != nil {
						t.Errorf("a webhook of a repository that is gone: %v", err)
					}
					continue
				}
				w.fails(t, m.op, err, forge.ErrNotFound)
			}
		}
	})
	t.Run("a reference that names nothing is invalid and nobody is asked", func(t *testing.T) {
		t.Parallel()
		w := x.workshop(t)
		before := w.Count(AnyEndpoint)
		for _, in := range []forge.RepositoryRef{
			{},
			{ID: "../" + exerciseMark},
			{ID: "1/2"},
			{Path: exerciseMark},
			{Path: "a/../b"},
			{Path: "/a/b"},
			{Path: "a//b"},
			{Path: "a/%2e%2e"},
			{Path: "a/b\n"},
			{Path: "a/\xff"},
			{ID: " 1"},
			{Path: "a/b?" + exerciseMark + "/../../c"},
		} {
			for _, m := range x.methods() {
				w.fails(t, m.op, m.prepare(t, w)(t.Context(), w.port, in), forge.ErrInvalid)
			}
		}
		if w.Count(AnyEndpoint) != before {
			t.Error("the forge was contacted")
		}
	})
	if x.differences().hasScopes {
		t.Run("a scope that is missing is named", func(t *testing.T) {
			t.Parallel()
			w := x.workshop(t, func(config *Config, c *forge.Connection) {
				config.Clients[0].Scopes, c.Scopes = x.differences().narrow, x.differences().narrow
			})
			for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
				for _, m := range x.methods() {
					missing := failsAs[*forge.ScopeMissingError](t, w.bench, m.op, m.prepare(t, w)(t.Context(), w.port, in))
					if len(missing.Want) == 0 {
						t.Errorf("%v: which one?", m)
					}
				}
			}
		})
	}
	exerciseMethodFaults(t, x)
}
