package forgetest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// gitlabHookEvents are the events of a project's webhook.
var gitlabHookEvents = []string{
	"push_events", "tag_push_events", "merge_requests_events", "issues_events", "confidential_issues_events", "note_events",
	"confidential_note_events", "job_events", "pipeline_events", "wiki_page_events", "deployment_events", "feature_flag_events",
	"releases_events", "milestone_events", "emoji_events", "resource_access_token_events", "vulnerability_events",
}

// hook is a webhook in GitLab's words: a field for each event, and of its secrets only whether there are any.
func (g *gitlab) hook(repository Repository, h *hook) map[string]json.RawMessage {
	_, signs := gitlabSigningKey(h.secret)
	alert := "disabled" // given up, since it kept failing
	if h.active {
		alert = "executable"
	}
	fields := map[string]json.RawMessage{
		"id": raw(h.id), "url": raw(h.url), "project_id": raw(repository.ID), "created_at": raw(founded), "alert_status": raw(alert),
		"disabled_until": raw[*string](nil), "enable_ssl_verification": raw(!h.unverified), "token_present": raw(h.secret != "" && !signs),
		"signing_token_present": raw(signs), "push_events_branch_filter": raw(""), "branch_filter_strategy": raw("all_branches"),
	}
	for _, event := range gitlabHookEvents {
		fields[event] = raw(slices.Contains(h.events, event))
	}
	return fields
}

// raw is a value as JSON.
func raw[T int64 | string | bool | *string](value T) json.RawMessage {
	text, _ := json.Marshal(value) // these can be
	return text
}

// gitlabSigningKey is the key in a signing token: whsec_ and 32 bytes in base64.
func gitlabSigningKey(secret string) ([]byte, bool) {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	return key, ok && err == nil && len(key) == 32
}

// mayAdminister refuses whoever is no Maintainer. Webhooks of an archived project can be seen to.
func (g *gitlab) mayAdminister(w http.ResponseWriter, repository Repository) bool {
	if repository.ReadOnly {
		g.says(w, http.StatusForbidden, "403 Forbidden")
	}
	return !repository.ReadOnly
}

func (g *gitlab) listHooks(w http.ResponseWriter, r *http.Request, _ caller, repository Repository) {
	if !g.mayAdminister(w, repository) {
		return
	}
	var all []map[string]json.RawMessage
	g.f.inside(repository, func(c *contents) {
		for _, id := range slices.Sorted(maps.Keys(c.hooks)) {
			all = append(all, g.hook(repository, c.hooks[id]))
		}
	})
	writeJSON(w, http.StatusOK, gitlabJSON, append([]map[string]json.RawMessage{}, gitlabOffset(g, w, r, all)...))
}

// createHook adds a webhook; any number may have the same address. Pushes are on unless switched off.
func (g *gitlab) createHook(w http.ResponseWriter, r *http.Request, _ caller, repository Repository) {
	if !g.mayAdminister(w, repository) {
		return
	}
	made := hook{events: []string{"push_events"}, active: true}
	if !g.changeHook(w, r, &made) {
		return
	}
	var answer map[string]json.RawMessage
	g.f.inside(repository, func(c *contents) {
		made.id = g.f.ledger.nextID()
		c.hooks[made.id] = &made
		g.f.ledger.record(WebhookSecretIssue, made.secret)
		answer = g.hook(repository, &made)
	})
	writeJSON(w, http.StatusCreated, gitlabJSON, answer)
}

// updateHook changes a webhook. One that was given up stays so: only a delivery that succeeds brings it back.
func (g *gitlab) updateHook(w http.ResponseWriter, r *http.Request, _ caller, repository Repository) {
	id, ok := g.number(w, r, "hook")
	if !ok || !g.mayAdminister(w, repository) {
		return
	}
	var changed hook
	var found bool
	g.f.inside(repository, func(c *contents) {
		if h := c.hooks[id]; h != nil {
			changed, found = *h, true
			changed.events = slices.Clone(h.events)
		}
	})
	if !found {
		g.says(w, http.StatusNotFound, "404 Not found")
		return
	}
	if !g.changeHook(w, r, &changed) {
		return
	}
	var answer map[string]json.RawMessage
	g.f.inside(repository, func(c *contents) {
		c.hooks[id] = &changed
		g.f.ledger.record(WebhookSecretIssue, changed.secret)
		answer = g.hook(repository, &changed)
	})
	writeJSON(w, http.StatusOK, gitlabJSON, answer)
}

// changeHook puts parameters into a webhook; what GitLab does not take has been answered. Another address forgets the token.
// Unlike GitLab, which would send it along in clear, this refuses a signing token that is given as the plain one.
func (g *gitlab) changeHook(w http.ResponseWriter, r *http.Request, h *hook) bool {
	sent, given, ok := gitlabParameters[struct {
		URL          string `json:"url"`
		Token        string `json:"token"`
		SigningToken string `json:"signing_token"`
		Verify       *bool  `json:"enable_ssl_verification"`
	}](w, r, "url")
	if !ok {
		return false
	}
	at, err := url.Parse(sent.URL)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || strings.Contains(sent.URL, "{") {
		writeJSON(w, http.StatusUnprocessableEntity, gitlabJSON, gitlabProblem{"Invalid url given"})
		return false
	}
	token, signing, before := sent.Token, sent.SigningToken, h.url
	h.url, h.unverified = sent.URL, sent.Verify != nil && !*sent.Verify
	_, signs := gitlabSigningKey(signing)
	if _, tokenSigns := gitlabSigningKey(token); tokenSigns || signing != "" && !signs || strings.Contains(token, "\n") {
		g.faulty(w, http.StatusUnprocessableEntity, "signing_token", "is invalid")
		return false
	}
	switch {
	case signs:
		h.secret = signing
	case token != "" || h.url != before:
		h.secret = token
	}
	for _, event := range gitlabHookEvents {
		value, isGiven := given[event]
		if !isGiven {
			continue
		}
		var on bool
		if json.Unmarshal(value, &on) != nil {
			writeJSON(w, http.StatusBadRequest, gitlabJSON, gitlabProblem{event + " is invalid"})
			return false
		}
		h.events = slices.DeleteFunc(h.events, func(other string) bool { return other == event })
		if on {
			h.events = append(h.events, event)
		}
	}
	return true
}

func (g *gitlab) deleteHook(w http.ResponseWriter, r *http.Request, _ caller, repository Repository) {
	id, ok := g.number(w, r, "hook")
	if !ok || !g.mayAdminister(w, repository) {
		return
	}
	var found bool
	g.f.inside(repository, func(c *contents) {
		_, found = c.hooks[id]
		delete(c.hooks, id)
	})
	if !found {
		g.says(w, http.StatusNotFound, "404 Not found")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
