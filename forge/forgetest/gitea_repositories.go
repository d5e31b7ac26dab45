package forgetest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

type giteaPermissions struct {
	Admin bool `json:"admin"`
	Push  bool `json:"push"`
	Pull  bool `json:"pull"`
}

type giteaRepository struct {
	ID            int64            `json:"id"`
	Owner         giteaUser        `json:"owner"`
	Name          string           `json:"name"`
	FullName      string           `json:"full_name"`
	Description   string           `json:"description"`
	Empty         bool             `json:"empty"`
	Private       bool             `json:"private"`
	Fork          bool             `json:"fork"`
	Archived      bool             `json:"archived"`
	HTMLURL       string           `json:"html_url"`
	URL           string           `json:"url"`
	SSHURL        string           `json:"ssh_url"`
	CloneURL      string           `json:"clone_url"`
	DefaultBranch string           `json:"default_branch"`
	CreatedAt     string           `json:"created_at"`
	UpdatedAt     string           `json:"updated_at"`
	Permissions   giteaPermissions `json:"permissions"`
	HasIssues     bool             `json:"has_issues"`
	HasPulls      bool             `json:"has_pull_requests"`
}

func (g *gitea) describe(root string, who caller, repository Repository) giteaRepository {
	full := who.fullName(repository)
	owner := who.ownerOf(repository)
	_, host, _ := strings.Cut(root, "://")
	return giteaRepository{
		ID: repository.ID, Owner: g.account(root, who.ownerID(repository), owner, owner), Name: repository.Name,
		FullName: owner + "/" + repository.Name, Description: repository.Description, Empty: repository.Empty,
		Private: repository.Private, Fork: repository.Fork, Archived: repository.Archived,
		HTMLURL: root + "/" + full, URL: root + "/api/v1/repos/" + full, SSHURL: "git@" + host + ":" + full + ".git",
		CloneURL: root + "/" + full + ".git", DefaultBranch: repository.DefaultBranch, CreatedAt: founded, UpdatedAt: founded,
		Permissions: giteaPermissions{Admin: !repository.ReadOnly, Push: !repository.ReadOnly, Pull: true},
		HasIssues:   !repository.IssuesOff, HasPulls: true,
	}
}

func (g *gitea) repositories(w http.ResponseWriter, r *http.Request, who caller) {
	visible := who.user.Repositories
	if g.publicOnly(who) {
		visible = slices.DeleteFunc(visible, func(repository Repository) bool { return repository.Private })
	}
	window := slicePage(r, "limit", 30, 50, len(visible))
	w.Header().Set("Access-Control-Expose-Headers", "Link, X-Total-Count")
	w.Header().Set("X-Total-Count", strconv.Itoa(window.total))
	if link := window.links(g.f.root(r), r, ","); link != "" {
		w.Header().Set("Link", link)
	}
	list := make([]giteaRepository, 0, window.size)
	for _, repository := range visible[window.from:window.to] {
		list = append(list, g.describe(g.f.root(r), who, repository))
	}
	writeJSON(w, http.StatusOK, giteaJSON, list)
}

func (g *gitea) publicOnly(who caller) bool {
	names, everything := g.apiScope(who.scope)
	return !everything && slices.Contains(names, "public-only")
}

// giteaPlace is a repository as the sender of a request sees it.
type giteaPlace struct {
	who        caller
	repository Repository
	root       string
}

func (g *gitea) routeRepositories(mux *http.ServeMux, api string) {
	mux.HandleFunc("GET "+api+"/repositories/{id}", g.bound(g.repositoryByID, "read:repository"))
	const repository, issue = "repository", "issue"
	for _, route := range []struct {
		method, path, category string
		serve                  func(http.ResponseWriter, *http.Request, giteaPlace)
	}{
		{"GET", "", repository, g.repository},
		{"GET", "/contents/{path...}", repository, g.contents},
		{"GET", "/raw/{path...}", repository, g.raw},
		{"GET", "/git/commits/{sha}", repository, g.commit},
		{"POST", "/statuses/{sha}", repository, g.setStatus},
		{"POST", "/pulls", repository, g.openPull},
		{"GET", "/pulls/{number}", repository, g.pull},
		{"GET", "/issues/{number}", issue, g.issue},
		{"POST", "/issues/{number}/comments", issue, g.addComment},
		{"GET", "/hooks", repository, g.hooks},
		{"POST", "/hooks", repository, g.addHook},
		{"GET", "/hooks/{id}", repository, g.hook},
		{"PATCH", "/hooks/{id}", repository, g.editHook},
		{"DELETE", "/hooks/{id}", repository, g.deleteHook},
	} {
		scope := "write:" + route.category
		if route.method == http.MethodGet {
			scope = "read:" + route.category
		}
		mux.HandleFunc(route.method+" "+api+"/repos/{owner}/{name}"+route.path, g.bound(g.inside(route.serve), scope))
	}
}

// inside finds the repository that a request's path names. A path from before a renaming is redirected, with its rest and its
// query, by 301 and whatever the method; the address is without scheme and host. (Forgejo did it by 307 until version 10, and
// both do so for an owner that was renamed.)
func (g *gitea) inside(serve func(http.ResponseWriter, *http.Request, giteaPlace)) func(http.ResponseWriter, *http.Request, caller) {
	return func(w http.ResponseWriter, r *http.Request, who caller) {
		owner, name := r.PathValue("owner"), r.PathValue("name")
		found, moved, ok := g.f.repositoryAt(who, owner+"/"+name)
		switch {
		case !ok:
			g.notFound(w, r)
		case moved:
			former := url.PathEscape(owner) + "/" + url.PathEscape(name)
			to := g.f.local(strings.Replace(r.URL.EscapedPath(), former, who.fullName(found), 1))
			if r.URL.RawQuery != "" {
				to += "?" + r.URL.RawQuery
			}
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusMovedPermanently)
		case found.Private && g.publicOnly(who):
			g.message(w, r, http.StatusForbidden, "token scope is limited to public repos")
		default:
			serve(w, r, giteaPlace{who, found, g.f.root(r)})
		}
	}
}

func (g *gitea) notFound(w http.ResponseWriter, r *http.Request) {
	g.message(w, r, http.StatusNotFound, "The target couldn't be found.")
}

// brokenDown is what both forges answer where they forgot that something may not be there.
func (g *gitea) brokenDown(w http.ResponseWriter, r *http.Request) {
	g.message(w, r, http.StatusInternalServerError, "")
}

// locked refuses what changes an archived repository; true if it did.
func (g *gitea) locked(w http.ResponseWriter, r *http.Request, at giteaPlace) bool {
	if at.repository.Archived {
		g.message(w, r, http.StatusLocked, "repo is archived")
	}
	return at.repository.Archived
}

func (g *gitea) repositoryByID(w http.ResponseWriter, r *http.Request, who caller) {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64) // what is no number is 0, which nothing has
	found, ok := who.repository(id)
	if !ok || found.Private && g.publicOnly(who) {
		g.notFound(w, r)
		return
	}
	writeJSON(w, http.StatusOK, giteaJSON, g.describe(g.f.root(r), who, found))
}

func (g *gitea) repository(w http.ResponseWriter, _ *http.Request, at giteaPlace) {
	writeJSON(w, http.StatusOK, giteaJSON, g.describe(at.root, at.who, at.repository))
}

type giteaContents struct {
	Name     string  `json:"name"`
	Path     string  `json:"path"`
	SHA      string  `json:"sha"`
	Type     string  `json:"type"`
	Size     int     `json:"size"`
	Encoding *string `json:"encoding"`
	Content  *string `json:"content"`
	Target   *string `json:"target"`
}

// giteaMaxBlob is DEFAULT_MAX_BLOB_SIZE: what is larger has no content.
const giteaMaxBlob = 10 << 20

// contents is GET /repos/{owner}/{repo}/contents/{filepath}: an object for a file, a list for a directory.
func (g *gitea) contents(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	path, revision := r.PathValue("path"), strings.TrimSpace(r.URL.Query().Get("ref"))
	if revision == "" {
		revision = at.repository.DefaultBranch
	}
	if at.repository.Empty && g.forgejo() {
		writeJSON(w, http.StatusOK, giteaJSON, []giteaContents{})
		return
	}
	var content []byte
	var found, isDirectory, isSubmodule bool
	var names []string
	g.f.inside(at.repository, func(c *contents) {
		commit := c.resolve(revision)
		isSubmodule = c.submodules[path] && commit != ""
		content, found, isDirectory = c.file(commit, path)
		for name := range maps.Keys(c.trees[commit]) {
			if rest, below := strings.CutPrefix(name, path+"/"); below {
				first, _, _ := strings.Cut(rest, "/")
				names = append(names, first)
			}
		}
	})
	name := path[strings.LastIndex(path, "/")+1:]
	switch {
	case isSubmodule:
		writeJSON(w, http.StatusOK, giteaJSON, giteaContents{Name: name, Path: path, Type: "submodule"})
	case isDirectory:
		slices.Sort(names)
		list := []giteaContents{}
		for _, entry := range slices.Compact(names) {
			list = append(list, giteaContents{Name: entry, Path: path + "/" + entry, Type: "file"})
		}
		writeJSON(w, http.StatusOK, giteaJSON, list)
	case !found:
		g.notFound(w, r)
	default:
		encoding, encoded := "base64", ""
		if len(content) <= giteaMaxBlob {
			encoded = base64.StdEncoding.EncodeToString(content)
		}
		writeJSON(w, http.StatusOK, giteaJSON, giteaContents{
			Name: name, Path: path, Type: "file", Size: len(content), Encoding: &encoding, Content: &encoded,
		})
	}
}

// raw is GET /repos/{owner}/{repo}/raw/{filepath}, with Gitea's way of reading ?ref: the revision and the path are joined, and
// the beginning that is a branch or a tag counts; where there is none, the path is read on the default branch.
func (g *gitea) raw(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	path, revision := r.PathValue("path"), strings.TrimSpace(r.URL.Query().Get("ref"))
	var content []byte
	var found bool
	g.f.inside(at.repository, func(c *contents) {
		if g.forgejo() && revision != "" {
			content, found, _ = c.file(c.resolve(revision), path)
			return
		}
		parts := strings.Split(strings.TrimPrefix(revision+"/"+path, "/"), "/")
		for i := 1; i < len(parts); i++ {
			if commit := c.resolve(strings.Join(parts[:i], "/")); commit != "" {
				content, found, _ = c.file(commit, strings.Join(parts[i:], "/"))
				return
			}
		}
		content, found, _ = c.file(c.resolve(at.repository.DefaultBranch), path)
	})
	if !found {
		g.notFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(content) // fails only when the client has gone
}

type giteaCommit struct {
	SHA string `json:"sha"`
}

func (g *gitea) commit(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	commit := ""
	g.f.inside(at.repository, func(c *contents) { commit = c.resolve(r.PathValue("sha")) })
	if commit == "" {
		g.notFound(w, r)
		return
	}
	writeJSON(w, http.StatusOK, giteaJSON, giteaCommit{commit})
}

type giteaStatus struct {
	ID          int64     `json:"id"`
	Status      string    `json:"status"`
	TargetURL   string    `json:"target_url"`
	Description string    `json:"description"`
	Context     string    `json:"context"`
	Creator     giteaUser `json:"creator"`
	CreatedAt   string    `json:"created_at"`
	UpdatedAt   string    `json:"updated_at"`
}

// setStatus is POST /repos/{owner}/{repo}/statuses/{sha}.
func (g *gitea) setStatus(w http.ResponseWriter, r *http.Request, at giteaPlace) {
	var in struct {
		State       string `json:"state"`
		TargetURL   string `json:"target_url"`
		Description string `json:"description"`
		Context     string `json:"context"`
	}
	if at.repository.ReadOnly {
		g.message(w, r, http.StatusForbidden, "user should have a permission to write to a repo")
		return
	}
	if !g.read(w, r, &in) {
		return
	}
	if in.Context == "" {
		in.Context = "default"
	}
	known, id := false, int64(0)
	if slices.Contains([]string{"pending", "success", "error", "failure", "warning"}, in.State) {
		g.f.inside(at.repository, func(c *contents) {
			commit := c.resolve(r.PathValue("sha"))
			if known = commit != ""; known {
				c.statuses[commit] = append(c.statuses[commit], status{in.Context, in.State, in.Description, in.TargetURL, at.who.user.ID})
				id = g.f.ledger.nextID()
			}
		})
	}
	if !known {
		g.brokenDown(w, r)
		return
	}
	writeJSON(w, http.StatusCreated, giteaJSON, giteaStatus{
		ID: id, Status: in.State, TargetURL: in.TargetURL, Description: in.Description, Context: in.Context,
		Creator:   g.account(at.root, at.who.user.ID, at.who.user.Login, at.who.user.Name),
		CreatedAt: g.stamp(), UpdatedAt: g.stamp(),
	})
}

// read decodes a request's JSON as both forges bind it, and checks that the named fields are there and not empty. It answers
// itself where something is missing.
func (g *gitea) read(w http.ResponseWriter, r *http.Request, into any, required ...string) bool {
	body, err := io.ReadAll(r.Body)
	r.Body = rewound(body)
	var fields map[string]json.RawMessage
	switch mediaType, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); {
	case mediaType != "application/json":
		g.message(w, r, http.StatusUnprocessableEntity, "[]: Unsupported Content-Type")
		return false
	case err != nil, json.Unmarshal(body, &fields) != nil, json.Unmarshal(body, into) != nil:
		g.message(w, r, http.StatusUnprocessableEntity, "[]: Deserialization")
		return false
	}
	for _, name := range required {
		if value := strings.TrimSpace(string(fields[name])); value == "" || value == `""` || value == "null" || value == "{}" {
			g.message(w, r, http.StatusUnprocessableEntity, fmt.Sprintf("[%s]: Required", strings.ToUpper(name[:1])+name[1:]))
			return false
		}
	}
	return true
}
