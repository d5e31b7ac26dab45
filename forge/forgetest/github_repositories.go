package forgetest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

type githubRepository struct {
	ID            int64           `json:"id"`
	NodeID        string          `json:"node_id"`
	Name          string          `json:"name"`
	FullName      string          `json:"full_name"`
	Private       bool            `json:"private"`
	Owner         githubOwner     `json:"owner"`
	HTMLURL       string          `json:"html_url"`
	Description   string          `json:"description"`
	Fork          bool            `json:"fork"`
	URL           string          `json:"url"`
	SSHURL        string          `json:"ssh_url"`
	CloneURL      string          `json:"clone_url"`
	DefaultBranch string          `json:"default_branch"`
	Archived      bool            `json:"archived"`
	HasIssues     bool            `json:"has_issues"`
	Visibility    string          `json:"visibility"`
	Permissions   map[string]bool `json:"permissions"`
	PushedAt      string          `json:"pushed_at"`
	CreatedAt     string          `json:"created_at"`
	UpdatedAt     string          `json:"updated_at"`
}

func (g *github) describe(root string, who caller, repository Repository) githubRepository {
	full := who.fullName(repository)
	visibility := "public"
	if repository.Private {
		visibility = "private"
	}
	_, host, _ := strings.Cut(root, "://")
	return githubRepository{
		ID: repository.ID, NodeID: fmt.Sprintf("R_%d", repository.ID), Name: repository.Name,
		FullName: who.ownerOf(repository) + "/" + repository.Name, Private: repository.Private,
		Owner: g.owner(root, who.ownerOf(repository), who.ownerID(repository)), HTMLURL: root + "/" + full,
		Description: repository.Description, Fork: repository.Fork, URL: root + "/repos/" + full,
		SSHURL: "git@" + host + ":" + full + ".git", CloneURL: root + "/" + full + ".git",
		DefaultBranch: repository.DefaultBranch, Archived: repository.Archived, HasIssues: !repository.IssuesOff, Visibility: visibility,
		Permissions: map[string]bool{"admin": !repository.ReadOnly, "push": !repository.ReadOnly, "pull": true},
		PushedAt:    founded, CreatedAt: founded, UpdatedAt: founded,
	}
}

// repositories lists what the token may see: without the repo scope, public repositories alone.
func (g *github) repositories(w http.ResponseWriter, r *http.Request, who caller) {
	visible := who.user.Repositories
	if !g.app() && !githubHas(splitScopes(who.scope), "repo") {
		visible = slices.DeleteFunc(slices.Clone(visible), func(repository Repository) bool { return repository.Private })
	}
	window := slicePage(r, "per_page", 30, 100, len(visible))
	if link := window.links(g.f.root(r), r, ", "); link != "" {
		w.Header().Set("Link", link)
	}
	list := make([]githubRepository, 0, window.size)
	for _, repository := range visible[window.from:window.to] {
		list = append(list, g.describe(g.f.root(r), who, repository))
	}
	writeJSON(w, http.StatusOK, githubJSON, list)
}

// githubPlace is a repository as the sender of a request sees it.
type githubPlace struct {
	who        caller
	repository Repository
	root       string
}

// githubAccess is what a route asks of a token of an OAuth App. GitHub lists all scopes that would do, of which public_repo
// counts in public repositories only.
type githubAccess struct {
	accepted string
	// open: anybody may read it of a public repository.
	open bool
	// push and admin: only who may write to the repository, or administer it.
	push, admin bool
}

func (g *github) repositoryRoutes(mux *http.ServeMux, prefix string) {
	const hooks = "admin:repo_hook, repo, write:repo_hook"
	for route, is := range map[string]struct {
		serve  func(http.ResponseWriter, *http.Request, githubPlace)
		access githubAccess
	}{
		"GET ":                           {g.repository, githubAccess{accepted: "repo", open: true}},
		"GET /contents/{path...}":        {g.content, githubAccess{accepted: "repo", open: true}},
		"GET /issues/{number}":           {g.issue, githubAccess{accepted: "repo", open: true}},
		"POST /issues/{number}/comments": {g.addComment, githubAccess{accepted: "public_repo, repo"}},
		"GET /pulls/{number}":            {g.pull, githubAccess{accepted: "repo", open: true}},
		"POST /pulls":                    {g.openPull, githubAccess{accepted: "public_repo, repo", push: true}},
		"POST /statuses/{sha}":           {g.addStatus, githubAccess{accepted: "repo, repo:status", push: true}},
		"GET /hooks":                     {g.hooks, githubAccess{accepted: hooks + ", read:repo_hook", admin: true}},
		"POST /hooks":                    {g.createHook, githubAccess{accepted: hooks, admin: true}},
		"PATCH /hooks/{hook}":            {g.editHook, githubAccess{accepted: hooks, admin: true}},
		"DELETE /hooks/{hook}":           {g.deleteHook, githubAccess{accepted: "admin:repo_hook, repo", admin: true}},
	} {
		method, below, _ := strings.Cut(route, " ")
		serve := g.bound(g.at(is.access, is.serve))
		mux.HandleFunc(method+" "+prefix+"/repos/{owner}/{name}"+below, serve)
		mux.HandleFunc(method+" "+prefix+"/repositories/{id}"+below, serve)
	}
}

// at finds the repository that a request is about. What was renamed answers with a redirect to its id: 301 to reading, 307,
// which has the client send the same again, to everything else (GitHub Docs: Best practices for using the REST API).
func (g *github) at(access githubAccess, serve func(http.ResponseWriter, *http.Request, githubPlace)) func(http.ResponseWriter, *http.Request, caller) {
	return func(w http.ResponseWriter, r *http.Request, who caller) {
		if !g.app() {
			w.Header().Set("X-Accepted-OAuth-Scopes", access.accepted)
		}
		repository, moved, found := g.find(r, who)
		isReading := r.Method == http.MethodGet
		switch {
		case !found, !g.app() && !access.allows(splitScopes(who.scope), repository.Private), access.admin && repository.ReadOnly:
			g.message(w, http.StatusNotFound, "Not Found")
		case moved:
			status := http.StatusTemporaryRedirect
			if isReading {
				status = http.StatusMovedPermanently
			}
			w.Header().Set("Location", g.movedTo(r, repository))
			g.message(w, status, "Moved Permanently")
		case repository.Archived && !isReading:
			g.message(w, http.StatusForbidden, "Repository was archived so is read-only.")
		case access.push && repository.ReadOnly:
			g.message(w, http.StatusForbidden, "Must have push access to the repository.")
		default:
			serve(w, r, githubPlace{who, repository, g.f.root(r)})
		}
	}
}

func (g *github) find(r *http.Request, who caller) (found Repository, moved, ok bool) {
	if id := r.PathValue("id"); id != "" {
		number, _ := strconv.ParseInt(id, 10, 64) // zero, which is no repository's
		found, ok = who.repository(number)
		return found, false, ok
	}
	return g.f.repositoryAt(who, r.PathValue("owner")+"/"+r.PathValue("name"))
}

// movedTo is the request's address with the repository named by its id.
func (g *github) movedTo(r *http.Request, repository Repository) string {
	before, after, _ := strings.Cut(r.URL.EscapedPath(), "/repos/")
	parts := strings.SplitN(after, "/", 3)
	below := ""
	if len(parts) == 3 {
		below = "/" + parts[2]
	}
	target := fmt.Sprintf("%s%s/repositories/%d%s", g.f.root(r), before, repository.ID, below)
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	return target
}

func (a githubAccess) allows(has []string, private bool) bool {
	if a.open && !private {
		return true
	}
	for scope := range strings.SplitSeq(a.accepted, ", ") {
		if githubHas(has, scope) && (scope != "public_repo" || !private) {
			return true
		}
	}
	return false
}

func (g *github) repository(w http.ResponseWriter, _ *http.Request, at githubPlace) {
	writeJSON(w, http.StatusOK, githubJSON, g.describe(at.root, at.who, at.repository))
}

type githubContent struct {
	Type     string  `json:"type"`
	Name     string  `json:"name"`
	Path     string  `json:"path"`
	Size     int     `json:"size"`
	Encoding string  `json:"encoding,omitempty"`
	Content  *string `json:"content,omitempty"`
	// Submodule is where a submodule comes from.
	Submodule string `json:"submodule_git_url,omitempty"`
}

// maxInlineContent is what GitHub answers as JSON; beyond it only the raw media type has the content.
const maxInlineContent = 1 << 20

// content answers with a file as it is where the raw media type was asked for. Directories and submodules have none and
// are JSON whatever was asked for (GitHub Docs: Get repository content).
func (g *github) content(w http.ResponseWriter, r *http.Request, at githubPlace) {
	path, ref := strings.TrimSuffix(r.PathValue("path"), "/"), r.URL.Query().Get("ref")
	if ref == "" {
		ref = at.repository.DefaultBranch
	}
	var commit string
	var content []byte
	var found, isDirectory, isSubmodule, isEmpty bool
	var entries []githubContent
	g.f.inside(at.repository, func(c *contents) {
		commit, isEmpty, isSubmodule = c.resolve(ref), len(c.trees) == 0, c.submodules[path]
		content, found, isDirectory = c.file(commit, path)
		if isDirectory {
			entries = githubEntries(c.trees[commit], path)
		}
	})
	base := path[strings.LastIndex(path, "/")+1:]
	switch {
	case isEmpty:
		g.message(w, http.StatusNotFound, "This repository is empty.")
	case commit == "":
		g.message(w, http.StatusNotFound, "No commit found for the ref "+ref)
	case isSubmodule:
		writeJSON(w, http.StatusOK, githubJSON, githubContent{
			Type: "submodule", Name: base, Path: path, Submodule: "https://forge.invalid/other.git",
		})
	case isDirectory:
		writeJSON(w, http.StatusOK, githubJSON, entries)
	case !found:
		g.message(w, http.StatusNotFound, "Not Found")
	case strings.Contains(r.Header.Get("Accept"), "raw"):
		w.Header().Set("Content-Type", "application/vnd.github.raw+json; charset=utf-8")
		_, _ = w.Write(content) // fails only when the client has gone
	default:
		encoded, encoding := base64.StdEncoding.EncodeToString(content), "base64"
		if len(content) > maxInlineContent {
			encoded, encoding = "", "none"
		}
		writeJSON(w, http.StatusOK, githubJSON, githubContent{
			Type: "file", Name: base, Path: path, Size: len(content), Encoding: encoding, Content: &encoded,
		})
	}
}

// githubEntries lists a directory.
func githubEntries(tree map[string][]byte, path string) []githubContent {
	if path != "" {
		path += "/"
	}
	entries := map[string]githubContent{}
	for file, content := range tree {
		below, inside := strings.CutPrefix(file, path)
		if !inside {
			continue
		}
		name, _, isDeeper := strings.Cut(below, "/")
		entry := githubContent{Type: "file", Name: name, Path: path + name, Size: len(content)}
		if isDeeper {
			entry.Type, entry.Size = "dir", 0
		}
		entries[name] = entry
	}
	list := []githubContent{}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		list = append(list, entries[name])
	}
	return list
}

// stamp writes a time as GitHub does.
func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }
