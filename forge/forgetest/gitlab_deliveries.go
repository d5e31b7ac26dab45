package forgetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/forgeauth/forgeauth/forge"
)

// gitlabDelivered is the body of a delivery. (GitLab docs: Webhook events.)
type gitlabDelivered struct {
	ObjectKind   string              `json:"object_kind"`
	EventName    string              `json:"event_name,omitempty"`
	EventType    string              `json:"event_type,omitempty"`
	Before       string              `json:"before,omitempty"`
	After        string              `json:"after,omitempty"`
	CheckoutSHA  string              `json:"checkout_sha,omitempty"`
	Ref          string              `json:"ref,omitempty"`
	User         *gitlabMember       `json:"user"`
	ProjectID    int64               `json:"project_id"`
	Project      gitlabProject       `json:"project"`
	Attributes   *gitlabAttributes   `json:"object_attributes,omitempty"`
	Issue        *gitlabIssue        `json:"issue,omitempty"`
	MergeRequest *gitlabMergeRequest `json:"merge_request,omitempty"`
}

// gitlabAttributes are what a delivery says of the thing that it is about.
type gitlabAttributes struct {
	ID           int64  `json:"id"`
	IID          int64  `json:"iid,omitempty"`
	Title        string `json:"title,omitempty"`
	Description  string `json:"description,omitempty"`
	State        string `json:"state,omitempty"`
	Action       string `json:"action"`
	SourceBranch string `json:"source_branch,omitempty"`
	TargetBranch string `json:"target_branch,omitempty"`
	Note         string `json:"note,omitempty"`
	NoteableType string `json:"noteable_type,omitempty"`
	URL          string `json:"url"`
}

// gitlabEvent is what GitLab calls an event: in the header of a delivery, in its body, and as a field of a webhook. It has no
// ping: to try a webhook is to send it a push.
func gitlabEvent(event forge.HookEvent) (header, kind, field string) {
	switch event {
	case forge.HookChange:
		return "Merge Request Hook", "merge_request", "merge_requests_events"
	case forge.HookIssue:
		return "Issue Hook", "issue", "issues_events"
	case forge.HookComment:
		return "Note Hook", "note", "note_events"
	case forge.HookOther:
		return "Wiki Page Hook", "wiki_page", "wiki_page_events"
	case forge.HookPush, forge.HookPing:
	}
	return "Push Hook", "push", "push_events"
}

func (g *gitlab) hears(events []string, what happening) bool {
	_, _, field := gitlabEvent(what.Event)
	return slices.Contains(events, field)
}

// delivery writes what GitLab sends. A webhook with a signing token signs by Standard Webhooks, one with a secret token sends
// that along. (GitLab docs: Webhooks, delivery headers, signing tokens.)
func (g *gitlab) delivery(what happening) (http.Header, []byte) {
	name, kind, _ := gitlabEvent(what.Event)
	body := encode(g.delivered(what, kind))
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", "GitLab/19.6.0")
	header.Set("X-Gitlab-Instance", what.root)
	header.Set("X-Gitlab-Event", name)
	header.Set("X-Gitlab-Event-UUID", newUUID())
	header.Set("X-Gitlab-Webhook-UUID", fmt.Sprintf("00000000-0000-4000-8000-%012x", what.hook.id))
	header.Set("Idempotency-Key", what.id)
	if key, signs := gitlabSigningKey(what.hook.secret); signs {
		at := strconv.FormatInt(what.at.Unix(), 10)
		mac := hmac.New(sha256.New, key)
		_, _ = fmt.Fprintf(mac, "%s.%s.%s", what.id, at, body) // never fails
		header.Set("webhook-id", what.id)
		header.Set("webhook-timestamp", at)
		header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	} else if what.hook.secret != "" {
		header.Set("X-Gitlab-Token", what.hook.secret)
	}
	return header, body
}

func (g *gitlab) delivered(what happening, kind string) gitlabDelivered {
	g.f.mu.Lock()
	defer g.f.mu.Unlock()
	who, repository := what.who, what.repository
	body := gitlabDelivered{
		ObjectKind: kind, EventType: kind, User: g.member(who.user.ID), ProjectID: repository.ID,
		Project: g.describeProject(what.root, who, repository),
	}
	below := ""
	switch {
	case what.issue != nil:
		shown := g.issue(what.root, who, repository, what.issue)
		body.Issue, below = &shown, fmt.Sprintf("/issues/%d", shown.IID)
		body.Attributes = &gitlabAttributes{
			ID: shown.ID, IID: shown.IID, Title: shown.Title, Description: what.issue.body, State: shown.State, Action: "update",
			URL: shown.WebURL, NoteableType: "Issue",
		}
	case what.change != nil:
		shown := g.mergeRequest(what.root, who, repository, what.change, what.head)
		body.MergeRequest, below = &shown, fmt.Sprintf("/merge_requests/%d", shown.IID)
		body.Attributes = &gitlabAttributes{
			ID: shown.ID, IID: shown.IID, Title: shown.Title, Description: what.change.body, State: shown.State, Action: "update",
			SourceBranch: shown.SourceBranch, TargetBranch: shown.TargetBranch, URL: shown.WebURL, NoteableType: "MergeRequest",
		}
	}
	switch what.Event {
	case forge.HookComment:
		body.Attributes = &gitlabAttributes{
			ID: what.comment.id, Action: "create", Note: what.comment.body, NoteableType: body.Attributes.NoteableType,
			URL: g.address(what.root, who, repository, below) + "#note_" + strconv.FormatInt(what.comment.id, 10),
		}
	case forge.HookIssue, forge.HookChange:
		body.Issue, body.MergeRequest, body.Attributes.NoteableType = nil, nil, "" // they are the attributes
	case forge.HookPush:
		body.EventName, body.Ref = kind, "refs/heads/"+what.commit.branch
		body.Before, body.After, body.CheckoutSHA = what.commit.before, what.commit.after, what.commit.after
	case forge.HookPing, forge.HookOther:
	}
	return body
}
