package bitbucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/forgeauth/forgeauth/forge"
)

// buildStatus is a status. The key is what another of the same takes the place of.
type buildStatus struct {
	Key         string `json:"key"`
	State       string `json:"state"`
	Name        string `json:"name"`
	URL         string `json:"url"`
	Description string `json:"description,omitempty"`
}

// SetStatus implements [forge.Port]. Where the status has no address the page of the commit is sent, since Bitbucket wants one.
// (Bitbucket Cloud REST API: Commit statuses, Create a build status for a commit)
func (p *port) SetStatus(ctx context.Context, in forge.RepositoryRef, commit string, s forge.Status) error {
	const op = "set status"
	below, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, forge.CheckCommit(commit))
	}
	if err == nil {
		err = p.Fail(op, s.Check())
	}
	if err != nil {
		return err
	}
	address := s.TargetURL
	if address == "" {
		path, err := p.path(ctx, op, below, in)
		if err != nil {
			return err
		}
		if address = p.WebURL(path, "/commits/"+commit); address == "" {
			return p.nonsense(op, "names no repository")
		}
	}
	status := buildStatus{
		Key: statusKey(s.Context), State: statusState(s.State), Name: s.Context, URL: literally(address), Description: s.Summary(),
	}
	kept, err := forge.Send[buildStatus](ctx, p.Caller, op, http.MethodPost, below+"/commit/"+commit+"/statuses/build", status)
	if err == nil && (kept.Key != status.Key || kept.State != status.State) {
		err = p.nonsense(op, "is about another status")
	}
	return err
}

// statusState is a verdict in Bitbucket's words. STOPPED is a check that did not come to one.
func statusState(s forge.StatusState) string {
	switch s {
	case forge.StatusPending:
		return "INPROGRESS"
	case forge.StatusSuccess:
		return "SUCCESSFUL"
	case forge.StatusFailure:
		return "FAILED"
	case forge.StatusError:
	}
	return "STOPPED"
}

// maxStatusKey is the most characters of a key: longer ones are refused.
const maxStatusKey = 40

// statusKey is the context, or where that is too long its digest; the name shows it in full.
func statusKey(name string) string {
	if utf8.RuneCountInString(name) <= maxStatusKey {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])[:maxStatusKey]
}

// literally keeps Bitbucket from taking braces in an address for names of variables, which it would put values in for.
func literally(address string) string {
	return strings.NewReplacer("{", "%7B", "}", "%7D").Replace(address)
}
