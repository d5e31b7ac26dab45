package forgetest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// bitbucketError is the body of every refusal of the API. Detail is a list of scopes or nothing.
type bitbucketError struct {
	Type  string           `json:"type"`
	Error bitbucketMessage `json:"error"`
}

type bitbucketMessage struct {
	Message string              `json:"message"`
	Detail  *bitbucketScopes    `json:"detail,omitempty"`
	Fields  map[string][]string `json:"fields,omitempty"`
}

type bitbucketScopes struct {
	Required []string `json:"required"`
	Granted  []string `json:"granted"`
}

func (b *bitbucket) refuse(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, bitbucketJSON, bitbucketError{Type: "error", Error: bitbucketMessage{Message: message}})
}

// invalid refuses what was sent, for one field of it.
func (b *bitbucket) invalid(w http.ResponseWriter, field, message string) {
	writeJSON(w, http.StatusBadRequest, bitbucketJSON, bitbucketError{Type: "error", Error: bitbucketMessage{
		Message: field + ": " + message, Fields: map[string][]string{field: {message}},
	}})
}

func (b *bitbucket) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /2.0/user", b.bound(b.user, "account"))
	mux.HandleFunc("GET /2.0/user/workspaces", b.bound(b.workspaces, "account"))
	mux.HandleFunc("GET /2.0/repositories/{workspace}", b.bound(b.repositories, "repository"))
	for _, gone := range []string{"/2.0/workspaces", "/2.0/repositories", "/2.0/user/permissions/repositories", "/2.0/user/permissions/workspaces"} {
		mux.HandleFunc("GET "+gone, b.bound(b.gone, "account"))
	}
	for route, is := range map[string]struct {
		serve func(http.ResponseWriter, *http.Request, bitbucketPlace)
		scope string
		// write and admin: only who may write to the repository, or administer it.
		write, admin bool
	}{
		"GET ":                                 {serve: b.repository, scope: "repository"},
		"GET /refs":                            {serve: b.refs, scope: "repository"},
		"GET /commit/{commit}":                 {serve: b.commit, scope: "repository"},
		"GET /src/{commit}/{path...}":          {serve: b.source, scope: "repository"},
		"POST /commit/{commit}/statuses/build": {serve: b.addStatus, scope: "repository", write: true},
		"GET /pullrequests":                    {serve: b.pulls, scope: "pullrequest"},
		"POST /pullrequests":                   {serve: b.openPull, scope: "pullrequest:write", write: true},
		"GET /pullrequests/{number}":           {serve: b.pull, scope: "pullrequest"},
		"POST /pullrequests/{number}/comments": {serve: b.addComment, scope: "pullrequest"},
		"GET /hooks":                           {serve: b.hooks, scope: "webhook", admin: true},
		"POST /hooks":                          {serve: b.createHook, scope: "webhook", admin: true},
		"PUT /hooks/{hook}":                    {serve: b.editHook, scope: "webhook", admin: true},
		"DELETE /hooks/{hook}":                 {serve: b.deleteHook, scope: "webhook", admin: true},
	} {
		method, below, _ := strings.Cut(route, " ")
		mux.HandleFunc(method+" /2.0/repositories/{workspace}/{slug}"+below, b.bound(func(w http.ResponseWriter, r *http.Request, who caller) {
			at, moved, ok := b.place(r, who)
			switch {
			case !ok:
				b.refuse(w, http.StatusNotFound, "You may not have access to this repository or it no longer exists in this workspace. "+
					"If you think this repository exists and you have access, make sure you are authenticated.")
			case moved:
				b.lead(w, r, at)
			case at.repository.ReadOnly && (is.write || is.admin):
				b.refuse(w, http.StatusForbidden, "Your credentials do not have the privilege that this needs.")
			default:
				is.serve(w, r, at)
			}
		}, is.scope))
	}
}

// bound wraps an API handler that needs a living token, in the Authorization header, with all of the scopes.
func (b *bitbucket) bound(serve func(http.ResponseWriter, *http.Request, caller), scopes ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, verdict := b.f.caller(bearer(r, "Bearer"))
		granted := splitScopes(who.scope)
		header := w.Header()
		header.Set("X-Accepted-OAuth-Scopes", strings.Join(scopes, ", "))
		switch {
		case verdict == expired:
			b.refuse(w, http.StatusUnauthorized, "Access token expired. Use your refresh token to obtain a new access token.")
			return
		case verdict != living:
			b.refuse(w, http.StatusUnauthorized, "Token is invalid, expired, or not supported for this endpoint.")
			return
		}
		header.Set("X-OAuth-Scopes", strings.Join(granted, ", "))
		header.Set("X-Credential-Type", "oauth2")
		switch {
		case who.user.Prohibited:
			b.refuse(w, http.StatusForbidden, "Your account has been deactivated.")
		case slices.ContainsFunc(scopes, func(scope string) bool { return !bitbucketHas(granted, scope) }):
			writeJSON(w, http.StatusForbidden, bitbucketJSON, bitbucketError{Type: "error", Error: bitbucketMessage{
				Message: "Your credentials lack one or more required privilege scopes.",
				Detail:  &bitbucketScopes{Required: scopes, Granted: append([]string{}, granted...)},
			}})
		default:
			serve(w, r, who)
		}
	}
}

// gone is what answers where lists across workspaces were until April 2026.
func (b *bitbucket) gone(w http.ResponseWriter, _ *http.Request, _ caller) {
	b.refuse(w, http.StatusGone, "CHANGE-2770 - Functionality has been deprecated")
}

type bitbucketAccount struct {
	Type          string `json:"type"`
	UUID          string `json:"uuid"`
	AccountID     string `json:"account_id"`
	Nickname      string `json:"nickname"`
	DisplayName   string `json:"display_name"`
	AccountStatus string `json:"account_status,omitempty"`
	CreatedOn     string `json:"created_on,omitempty"`
}

// author writes an account as the author of something; [Forge.mu] must be held. One that is gone is null.
func (b *bitbucket) author(id int64) *bitbucketAccount {
	u := b.f.ledger.userByID(id)
	if u == nil {
		return nil
	}
	return &bitbucketAccount{
		Type: "user", UUID: fmt.Sprintf(bitbucketUser, u.ID), AccountID: bitbucketAccountID(u.ID), Nickname: u.Login, DisplayName: u.Name,
	}
}

func (b *bitbucket) user(w http.ResponseWriter, _ *http.Request, who caller) {
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketAccount{
		Type: "user", UUID: fmt.Sprintf(bitbucketUser, who.user.ID), AccountID: bitbucketAccountID(who.user.ID), Nickname: who.user.Login,
		DisplayName: who.user.Name, AccountStatus: "active", CreatedOn: founded,
	})
}

// bitbucketPage is one page of a list.
type bitbucketPage[T any] struct {
	PageLen int    `json:"pagelen"`
	Page    int    `json:"page"`
	Size    int    `json:"size"`
	Next    string `json:"next,omitempty"`
	Values  []T    `json:"values"`
}

// bitbucketWindow cuts the page out of a list that a request asks for: 10 to a page, 100 at most.
func bitbucketWindow[T any](b *bitbucket, r *http.Request, all []T) bitbucketPage[T] {
	window := slicePage(r, "pagelen", 10, 100, len(all))
	answer := bitbucketPage[T]{PageLen: window.size, Page: window.number, Size: window.total, Values: append([]T{}, all[window.from:window.to]...)}
	if window.number < window.last {
		query := r.URL.Query()
		query.Set("page", strconv.Itoa(window.number+1))
		answer.Next = b.f.root(r) + r.URL.EscapedPath() + "?" + query.Encode()
	}
	return answer
}

type bitbucketAccess struct {
	Type          string             `json:"type"`
	Administrator bool               `json:"administrator"`
	Workspace     bitbucketNamespace `json:"workspace"`
}

type bitbucketNamespace struct {
	Type string `json:"type"`
	UUID string `json:"uuid"`
	Slug string `json:"slug"`
	Name string `json:"name,omitempty"`
}

// namespace is the workspace of an owner, which stands for the first repository that the owner has here.
func (who caller) namespace(repository Repository) bitbucketNamespace {
	slug := who.ownerOf(repository)
	if slug == who.user.Login {
		return bitbucketNamespace{Type: "workspace", UUID: fmt.Sprintf(bitbucketWorkspace, who.user.ID), Slug: slug}
	}
	i := slices.IndexFunc(who.user.Repositories, func(r Repository) bool { return who.ownerOf(r) == slug })
	return bitbucketNamespace{Type: "workspace", UUID: fmt.Sprintf(bitbucketWorkspace, who.ownerID(who.user.Repositories[i])), Slug: slug}
}

// namespaces are the workspaces that the caller is in: their own, and those of the other owners.
func (who caller) namespaces() []bitbucketNamespace {
	all := []bitbucketNamespace{{Type: "workspace", UUID: fmt.Sprintf(bitbucketWorkspace, who.user.ID), Slug: who.user.Login}}
	for _, r := range who.user.Repositories {
		if in := who.namespace(r); !slices.Contains(all, in) {
			all = append(all, in)
		}
	}
	return all
}

func (b *bitbucket) workspaces(w http.ResponseWriter, r *http.Request, who caller) {
	var all []bitbucketAccess
	for _, in := range who.namespaces() {
		all = append(all, bitbucketAccess{Type: "workspace_access", Administrator: in.Slug == who.user.Login, Workspace: in})
	}
	slices.SortFunc(all, func(a, b bitbucketAccess) int { return cmp.Compare(a.Workspace.Slug, b.Workspace.Slug) })
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketWindow(b, r, all))
}

type bitbucketBranch struct {
	Type string `json:"type,omitempty"`
	Name string `json:"name"`
}

type bitbucketRepository struct {
	Type        string             `json:"type"`
	UUID        string             `json:"uuid"`
	FullName    string             `json:"full_name"`
	Name        string             `json:"name"`
	Slug        string             `json:"slug"`
	Description string             `json:"description"`
	Private     bool               `json:"is_private"`
	SCM         string             `json:"scm"`
	HasIssues   bool               `json:"has_issues"`
	Workspace   bitbucketNamespace `json:"workspace"`
	MainBranch  *bitbucketBranch   `json:"mainbranch"`
	CreatedOn   string             `json:"created_on"`
	UpdatedOn   string             `json:"updated_on"`
}

func (b *bitbucket) describe(who caller, repository Repository) bitbucketRepository {
	answer := bitbucketRepository{
		Type: "repository", UUID: bitbucketUUID(repository.ID), FullName: who.ownerOf(repository) + "/" + repository.Name,
		Name: repository.Name, Slug: repository.Name, Description: repository.Description, Private: repository.Private, SCM: "git",
		Workspace: who.namespace(repository), CreatedOn: founded, UpdatedOn: founded,
	}
	if !repository.Empty {
		answer.MainBranch = &bitbucketBranch{Type: "branch", Name: repository.DefaultBranch}
	}
	return answer
}

// repositories lists those of one workspace. Without role it would list what is public to anybody, too; at a stand-in forge nobody
// has such.
func (b *bitbucket) repositories(w http.ResponseWriter, r *http.Request, who caller) {
	named := r.PathValue("workspace")
	all := who.namespaces()
	i := slices.IndexFunc(all, func(in bitbucketNamespace) bool { return in.UUID == named || strings.EqualFold(in.Slug, named) })
	if i < 0 {
		b.refuse(w, http.StatusNotFound, fmt.Sprintf("No workspace with identifier '%s'.", named))
		return
	}
	list := []bitbucketRepository{}
	for _, repository := range who.user.Repositories {
		if who.ownerOf(repository) == all[i].Slug {
			list = append(list, b.describe(who, repository))
		}
	}
	writeJSON(w, http.StatusOK, bitbucketJSON, bitbucketWindow(b, r, list))
}

// bitbucketPlace is a repository as the sender of a request sees it.
type bitbucketPlace struct {
	who        caller
	repository Repository
}

// place finds the repository that a request is about: by slugs, by UUIDs, by its UUID in the workspace {}, or by slugs that it
// had.
func (b *bitbucket) place(r *http.Request, who caller) (at bitbucketPlace, moved, ok bool) {
	workspace, slug := r.PathValue("workspace"), r.PathValue("slug")
	for _, repository := range who.user.Repositories {
		in := who.namespace(repository)
		isIn := workspace == in.UUID || strings.EqualFold(workspace, in.Slug)
		if bitbucketUUID(repository.ID) == slug && (isIn || workspace == "{}") || isIn && strings.EqualFold(slug, repository.Name) {
			return bitbucketPlace{who, repository}, false, true
		}
	}
	found, moved, ok := b.f.repositoryAt(who, workspace+"/"+slug)
	return bitbucketPlace{who, found}, moved, ok
}

// lead answers where a repository was before it was renamed: that it is redirected has been seen, with which status has not.
func (b *bitbucket) lead(w http.ResponseWriter, r *http.Request, at bitbucketPlace) {
	parts := strings.SplitN(r.URL.EscapedPath(), "/", 6) // "", 2.0, repositories, workspace, slug, what is below
	parts[4] = url.PathEscape(at.repository.Name)
	w.Header().Set("Location", b.f.root(r)+strings.Join(parts, "/")+"?"+r.URL.RawQuery)
	b.refuse(w, http.StatusMovedPermanently, "Repository has moved")
}

func (b *bitbucket) repository(w http.ResponseWriter, _ *http.Request, at bitbucketPlace) {
	writeJSON(w, http.StatusOK, bitbucketJSON, b.describe(at.who, at.repository))
}
