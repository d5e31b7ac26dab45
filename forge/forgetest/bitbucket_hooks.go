package forgetest

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
)

type bitbucketHook struct {
	Type        string   `json:"type"`
	UUID        string   `json:"uuid"`
	URL         string   `json:"url"`
	Description string   `json:"description"`
	SubjectType string   `json:"subject_type"`
	Active      bool     `json:"active"`
	Events      []string `json:"events"`
	SecretSet   bool     `json:"secret_set"`
	Unverified  bool     `json:"skip_cert_verification"`
	CreatedAt   string   `json:"created_at"`
}

func (b *bitbucket) describeHook(h *hook) bitbucketHook {
	return bitbucketHook{
		Type: "webhook_subscription", UUID: bitbucketUUID(h.id), URL: h.url, Description: "forgeauth", SubjectType: "repository",
		Active: h.active, Events: append([]string{}, h.events...), SecretSet: h.secret != "", Unverified: h.unverified, CreatedAt: founded,
	}
}

func (b *bitbucket) hooks(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	all := []bitbucketHook{}
	b.f.inside(at.repository, func(c *contents) {
		for _, id := range slices.Sorted(maps.Keys(c.hooks)) {
			all = append(all, b.describeHook(c.hooks[id]))
		}
	})
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketWindow(b, r, all))
}

// bitbucketEvents are the events of a repository, of which those of the issue tracker are gone with it.
var bitbucketEvents = strings.Fields(`repo:push repo:fork repo:updated repo:transfer repo:deleted repo:imported
	repo:commit_comment_created repo:commit_status_created repo:commit_status_updated
	pullrequest:created pullrequest:updated pullrequest:push pullrequest:approved pullrequest:unapproved
	pullrequest:changes_request_created pullrequest:changes_request_removed pullrequest:fulfilled pullrequest:rejected
	pullrequest:comment_created pullrequest:comment_updated pullrequest:comment_deleted
	pullrequest:comment_resolved pullrequest:comment_reopened`)

type bitbucketHookRequest struct {
	Description string   `json:"description"`
	URL         string   `json:"url"`
	Active      *bool    `json:"active"`
	Secret      *string  `json:"secret"`
	Events      []string `json:"events"`
	Unverified  *bool    `json:"skip_cert_verification"`
}

// apply changes a webhook as a request says, and returns what is wrong with that. A secret that is left out stays.
func (sent bitbucketHookRequest) apply(h *hook) (field, wrong string) {
	switch {
	case sent.Description == "":
		return "description", "required key not provided"
	case !webAddress.MatchString(sent.URL):
		return "url", "Enter a valid URL."
	case len(sent.Events) == 0:
		return "events", "Ensure this value has at least 1 items."
	case sent.Secret != nil && len(*sent.Secret) > 128:
		return "secret", "Ensure this value has at most 128 characters."
	}
	for _, event := range sent.Events {
		if !slices.Contains(bitbucketEvents, event) {
			return "events", event + " is not a valid event"
		}
	}
	h.url, h.events, h.form = sent.URL, slices.Clone(sent.Events), false // there are no forms here
	if sent.Unverified != nil {
		h.unverified = *sent.Unverified
	}
	if sent.Active != nil {
		h.active = *sent.Active
	}
	if sent.Secret != nil {
		h.secret = *sent.Secret
	}
	return "", ""
}

func (b *bitbucket) createHook(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	b.changeHook(w, r, at, http.StatusCreated)
}

func (b *bitbucket) editHook(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	b.changeHook(w, r, at, http.StatusOK)
}

// changeHook makes a webhook, or changes the one that the path names. It needs the scopes of the events, too. That the address
// must be one on the Internet is not checked, since receivers in tests are on loopback.
func (b *bitbucket) changeHook(w http.ResponseWriter, r *http.Request, at bitbucketPlace, done int) {
	sent, ok := decodeBody[bitbucketHookRequest](r)
	if !ok {
		b.refuse(w, http.StatusBadRequest, "Bad request")
		return
	}
	granted := splitScopes(at.who.scope)
	for _, event := range sent.Events {
		subject, _, _ := strings.Cut(event, ":")
		scope := map[string]string{"repo": "repository", "pullrequest": "pullrequest"}[subject]
		if scope != "" && !bitbucketHas(granted, scope) {
			writeJSON(w, http.StatusForbidden, bitbucketJSON, bitbucketError{Type: "error", Error: bitbucketMessage{
				Message: "Your credentials lack one or more required privilege scopes.",
				Detail:  &bitbucketScopes{Required: []string{"webhook", scope}, Granted: granted},
			}})
			return
		}
	}
	var answer bitbucketHook
	var field, wrong string
	b.f.inside(at.repository, func(c *contents) {
		next := hook{active: true}
		if done == http.StatusOK {
			is := c.hooks[bitbucketNumber(r.PathValue("hook"))]
			if is == nil {
				return
			}
			next = *is
		}
		if field, wrong = sent.apply(&next); wrong != "" {
			return
		}
		if done == http.StatusCreated {
			answer = b.describeHook(b.f.addHook(c, next))
			return
		}
		c.hooks[next.id] = &next
		b.f.ledger.record(WebhookSecretIssue, next.secret)
		answer = b.describeHook(&next)
	})
	switch {
	case wrong != "":
		b.invalid(w, field, wrong)
	case answer.UUID == "":
		b.refuse(w, http.StatusNotFound, "Webhook not found")
	default:
		writeJSON(w, done, bitbucketJSON, answer)
	}
}

func (b *bitbucket) deleteHook(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	id, found := bitbucketNumber(r.PathValue("hook")), false
	b.f.inside(at.repository, func(c *contents) {
		found = c.hooks[id] != nil
		delete(c.hooks, id)
	})
	if !found {
		b.refuse(w, http.StatusNotFound, "Webhook not found")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

type bitbucketPushed struct {
	New *bitbucketRef `json:"new"`
	Old *bitbucketRef `json:"old"`
}

type bitbucketPush struct {
	Changes []bitbucketPushed `json:"changes"`
}

type bitbucketDelivery struct {
	Actor       *bitbucketAccount    `json:"actor"`
	Repository  *bitbucketRepository `json:"repository"`
	Push        *bitbucketPush       `json:"push,omitempty"`
	PullRequest *bitbucketPull       `json:"pullrequest,omitempty"`
	Comment     *bitbucketComment    `json:"comment,omitempty"`
}

// bitbucketEvent is the key of what happened. Bitbucket neither tries a webhook nor has issues: what stands for those are events
// that package forge has no name for.
func bitbucketEvent(event forge.HookEvent) string {
	switch event {
	case forge.HookPush:
		return "repo:push"
	case forge.HookChange:
		return "pullrequest:created"
	case forge.HookComment:
		return "pullrequest:comment_created"
	case forge.HookIssue, forge.HookPing, forge.HookOther:
	}
	return "repo:fork"
}

func (b *bitbucket) hears(events []string, what happening) bool {
	return slices.Contains(events, bitbucketEvent(what.Event))
}

// delivery writes what Bitbucket sends (Bitbucket Cloud documentation: Event payloads).
func (b *bitbucket) delivery(what happening) (http.Header, []byte) {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	at := bitbucketPlace{what.who, what.repository}
	repository := b.describe(at.who, at.repository)
	body := bitbucketDelivery{Actor: b.author(what.who.user.ID), Repository: &repository}
	if what.change != nil {
		pull := b.describePull(at, what.change, what.head, "")
		body.PullRequest = &pull
	}
	switch what.Event {
	case forge.HookPush:
		branch := bitbucketRef{"branch", what.commit.branch, bitbucketCommit{"commit", what.commit.after}}
		body.Push = &bitbucketPush{[]bitbucketPushed{{New: &branch}}}
	case forge.HookComment:
		said := b.describeComment(what.comment)
		body.Comment = &said
	case forge.HookChange, forge.HookIssue, forge.HookPing, forge.HookOther:
	}
	encoded := encode(body)
	header := http.Header{}
	header.Set("User-Agent", "Bitbucket-Webhooks/2.0")
	header.Set("Content-Type", "application/json")
	header.Set("X-Event-Key", bitbucketEvent(what.Event))
	header.Set("X-Hook-UUID", strings.Trim(bitbucketUUID(what.hook.id), "{}"))
	header.Set("X-Request-UUID", what.id)
	header.Set("X-Attempt-Number", "1")
	if what.hook.secret != "" {
		header.Set("X-Hub-Signature", "sha256="+signature(what.hook.secret, encoded))
	}
	return header, encoded
}
