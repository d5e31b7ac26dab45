package forgetest

import (
	"slices"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// What is different where a forge has less than the others.

// heard lists those of the events that the forge has.
func (d differences) heard(events ...forge.HookEvent) []forge.HookEvent {
	return slices.DeleteFunc(slices.Clone(events), func(event forge.HookEvent) bool { return d.noIssues && event == forge.HookIssue })
}

// methods lists what the port does on a repository, at this kind of forge.
func (x *exercise) methods() []method {
	all := methods()
	if x.differences().noIssues {
		all = slices.DeleteFunc(all, func(m method) bool { return m.endpoint == IssueEndpoint || m.name == "comment on an issue" })
	}
	if x.config.Dialect != Bitbucket {
		return all
	}
	// Bitbucket is asked what lies at a path before the file, and what is proposed already before a change is.
	for i := range all {
		if m := &all[i]; m.op == "file" || m.op == "open change" {
			looking := *m
			looking.name, looking.writes = m.op+", looking", false
			all, m.skip = append(all, looking), 1
		}
	}
	return all
}

// subjects are what can be commented on, and subject is the first of them.
func (w *workshop) subjects() []forge.Subject {
	on := []forge.Subject{{Number: w.issue}, {Number: w.change, OnChange: true}}
	if w.noIssues {
		return on[1:]
	}
	return on
}

func (w *workshop) subject() forge.Subject { return w.subjects()[0] }

// said are the comments on the subject.
func (w *workshop) said() []Note {
	on := w.subject()
	return w.Comments(repositoryID, on.Number, on.OnChange)
}

// exerciseNoIssues is for forges that have none.
func exerciseNoIssues(t *testing.T, x *exercise) {
	t.Helper()
	w := x.workshop(t)
	before := w.Count(AnyEndpoint)
	for _, in := range []forge.RepositoryRef{w.byPath(), w.byID()} {
		_, err := w.port.Issue(t.Context(), in, w.issue)
		w.fails(t, "issue", err, forge.ErrUnsupported)
		_, err = w.port.Comment(t.Context(), in, forge.Subject{Number: w.issue}, "Seen")
		w.fails(t, "comment", err, forge.ErrUnsupported)
		_, err = w.port.EnsureHook(t.Context(), in, forge.HookSpec{
			URL: hookAddress, Secret: secret.New(hookSecret), Events: []forge.HookEvent{forge.HookIssue},
		})
		w.fails(t, "ensure hook", err, forge.ErrUnsupported)
	}
	_, err := w.port.Issue(t.Context(), w.byPath(), 0)
	w.fails(t, "issue", err, forge.ErrInvalid)
	_, err = w.port.Issue(t.Context(), forge.RepositoryRef{}, w.issue)
	w.fails(t, "issue", err, forge.ErrInvalid)
	_, err = w.port.Comment(t.Context(), w.byPath(), forge.Subject{Number: w.issue}, " ")
	w.fails(t, "comment", err, forge.ErrInvalid)
	if w.Count(AnyEndpoint) != before {
		t.Error("the forge was contacted")
	}
}

// clientRefused are the codes with which a refresh is refused because of the client.
func (x *exercise) clientRefused() []string {
	if x.config.Dialect == Bitbucket {
		return []string{"unauthorized_client"}
	}
	return []string{"invalid_client", "incorrect_client_credentials"}
}

// tellsInHeaders: any answer of the API says what the token was granted, so that nothing else is asked about it.
func (d Dialect) tellsInHeaders() bool { return d.isGitHub() || d == Bitbucket }
