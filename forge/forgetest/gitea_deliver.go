package forgetest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // one of the headers that both forges send is of that kind
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/forgeauth/forgeauth/forge"
)

type giteaDelivery struct {
	Action     string `json:"action,omitempty"`
	Number     int64  `json:"number,omitempty"`
	Ref        string `json:"ref,omitempty"`
	Before     string `json:"before,omitempty"`
	After      string `json:"after,omitempty"`
	TotalCount int    `json:"total_commits,omitempty"`
	IsPull     *bool  `json:"is_pull,omitempty"`

	Issue       *giteaIssue     `json:"issue,omitempty"`
	PullRequest *giteaPull      `json:"pull_request,omitempty"`
	Comment     *giteaComment   `json:"comment,omitempty"`
	Repository  giteaRepository `json:"repository"`
	Pusher      *giteaUser      `json:"pusher,omitempty"`
	Sender      giteaUser       `json:"sender"`
}

// giteaEvent is how both forges call what happened: the group's name, by which most programs know it, and the type. Neither
// has a ping: whoever tries a hook gets a push. What package forge has no name for is a release.
func giteaEvent(what happening) (event, kind string) {
	switch what.Event {
	case forge.HookPush, forge.HookPing:
		return "push", "push"
	case forge.HookChange:
		return "pull_request", "pull_request"
	case forge.HookIssue:
		return "issues", "issues"
	case forge.HookComment:
		if what.change != nil {
			return "issue_comment", "pull_request_comment"
		}
		return "issue_comment", "issue_comment"
	case forge.HookOther:
	}
	return "release", "release"
}

func (g *gitea) hears(events []string, what happening) bool {
	_, kind := giteaEvent(what)
	return slices.Contains(events, kind)
}

// delivery writes what both forges send, and Forgejo under its own name besides.
func (g *gitea) delivery(what happening) (http.Header, []byte) {
	at := giteaPlace{what.who, what.repository, what.root}
	event, kind := giteaEvent(what)
	sender := g.account(at.root, at.who.user.ID, at.who.user.Login, at.who.user.Name)
	body := giteaDelivery{Repository: g.describe(at.root, at.who, at.repository), Sender: sender}
	switch what.Event {
	case forge.HookPush, forge.HookPing:
		body.Ref, body.Before, body.After = "refs/heads/"+cmp.Or(what.commit.branch, what.repository.DefaultBranch), what.commit.before, what.commit.after
		body.Pusher, body.TotalCount = &sender, 1
	case forge.HookChange, forge.HookIssue, forge.HookOther:
		body.Action, body.Number = "opened", what.Number
	case forge.HookComment:
		isPull := what.change != nil
		said := g.describeComment(at, what.Number, isPull, what.comment)
		body.Action, body.Comment, body.IsPull = "created", &said, &isPull
	}
	if what.issue != nil {
		described := g.describeIssue(at, *what.issue, nil)
		body.Issue = &described
	}
	if what.change != nil {
		described := g.describePull(at, *what.change, what.head)
		body.PullRequest = &described
		if what.Event == forge.HookComment {
			about := g.describeIssue(at, what.change.issue, &giteaPullMeta{Merged: what.change.merged, Draft: giteaDraft(what.change.title)})
			body.Issue = &about
		}
	}
	encoded, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("forgetest: encoding a delivery: %v", err)) // the payloads are plain structs
	}
	header := g.deliveryHeader(what, event, kind, encoded)
	if what.hook.form { // whose signature is that of what is in it
		header.Set("Content-Type", "application/x-www-form-urlencoded")
		encoded = []byte(url.Values{"payload": {string(encoded)}}.Encode())
	}
	return header, encoded
}

func (g *gitea) deliveryHeader(what happening, event, kind string, body []byte) http.Header {
	signed256, signed1 := "", "" // a hook without a secret has the headers, and nothing in them
	if key := what.hook.secret; key != "" {
		signed256 = signature(key, body)
		mac := hmac.New(sha1.New, []byte(key))
		_, _ = mac.Write(body) // never fails
		signed1 = hex.EncodeToString(mac.Sum(nil))
	}
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	names := []string{"X-Gitea-", "X-Gogs-"}
	if g.forgejo() {
		names = append(names, "X-Forgejo-")
	}
	for _, name := range names {
		header.Set(name+"Delivery", what.id)
		header.Set(name+"Event", event)
		header.Set(name+"Event-Type", kind)
		header.Set(name+"Signature", signed256)
	}
	header.Set("X-Hub-Signature", "sha1="+signed1)
	header.Set("X-Hub-Signature-256", "sha256="+signed256)
	header.Set("X-GitHub-Delivery", what.id)
	header.Set("X-GitHub-Event", event)
	header.Set("X-GitHub-Event-Type", kind)
	return header
}
