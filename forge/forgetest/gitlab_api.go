package forgetest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
)

type gitlabMessage struct {
	Message string `json:"message"`
}

func (g *gitlab) routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /oauth/revoke", g.revokeToken)
	mux.HandleFunc("GET /oauth/token/info", g.tokenInfo)
	mux.HandleFunc("GET /api/v4/user", g.bound(g.user, "api", "read_api", "read_user"))
	mux.HandleFunc("GET /api/v4/projects", g.bound(g.projects, "api", "read_api"))
	g.projectRoutes(mux)
}

// bound wraps an API handler that needs a living token with one of the scopes. GitLab says of a token that it knew
// whether it expired or was revoked.
func (g *gitlab) bound(serve func(http.ResponseWriter, *http.Request, caller), scopes ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value := bearer(r, "Bearer")
		if value == "" {
			value = r.Header.Get("Private-Token")
		}
		who, verdict := g.f.caller(value)
		switch {
		case verdict == absent || verdict == unknown:
			writeJSON(w, http.StatusUnauthorized, gitlabJSON, gitlabMessage{"401 Unauthorized"})
		case verdict == expired:
			g.invalidToken(w, "Token is expired. You can either do re-authorization or token refresh.")
		case verdict == revoked:
			g.invalidToken(w, "Token was revoked. You have to re-authorize from the user.")
		case who.user.Prohibited:
			writeJSON(w, http.StatusForbidden, gitlabJSON, gitlabMessage{"403 Forbidden - Your account has been blocked."})
		case !slices.ContainsFunc(splitScopes(who.scope), func(name string) bool { return slices.Contains(scopes, name) }):
			writeJSON(w, http.StatusForbidden, gitlabJSON, gitlabError{
				Error: "insufficient_scope", Scope: strings.Join(scopes, " "),
				Description: "The request requires higher privileges than provided by the access token.",
			})
		default:
			serve(w, r, who)
		}
	}
}

func (g *gitlab) invalidToken(w http.ResponseWriter, description string) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="Protected by OAuth 2.0", error="invalid_token", error_description=%q`, description))
	writeJSON(w, http.StatusUnauthorized, gitlabJSON, gitlabError{Error: "invalid_token", Description: description})
}

type gitlabUser struct {
	ID        int64  `json:"id"`
	Username  string `json:"username"`
	Name      string `json:"name"`
	State     string `json:"state"`
	AvatarURL string `json:"avatar_url"`
	WebURL    string `json:"web_url"`
	CreatedAt string `json:"created_at"`
	Email     string `json:"email"`
}

func (g *gitlab) user(w http.ResponseWriter, r *http.Request, who caller) {
	login := url.PathEscape(who.user.Login)
	writeJSON(w, http.StatusOK, gitlabJSON, gitlabUser{
		ID: who.user.ID, Username: who.user.Login, Name: who.user.Name, State: "active",
		AvatarURL: g.f.root(r) + "/avatars/" + login, WebURL: g.f.root(r) + "/" + login, CreatedAt: founded,
		Email: who.user.Login + "@forge.invalid",
	})
}

type gitlabNamespace struct {
	ID       int64  `json:"id"`
	Name     string `json:"name"`
	Path     string `json:"path"`
	Kind     string `json:"kind"`
	FullPath string `json:"full_path"`
}

type gitlabProject struct {
	ID                int64           `json:"id"`
	Description       string          `json:"description"`
	Name              string          `json:"name"`
	NameWithNamespace string          `json:"name_with_namespace"`
	Path              string          `json:"path"`
	PathWithNamespace string          `json:"path_with_namespace"`
	CreatedAt         string          `json:"created_at"`
	DefaultBranch     *string         `json:"default_branch"`
	EmptyRepository   bool            `json:"empty_repo"`
	IssuesEnabled     bool            `json:"issues_enabled"`
	SSHURL            string          `json:"ssh_url_to_repo"`
	HTTPURL           string          `json:"http_url_to_repo"`
	WebURL            string          `json:"web_url"`
	Visibility        string          `json:"visibility"`
	Archived          bool            `json:"archived"`
	LastActivityAt    string          `json:"last_activity_at"`
	Namespace         gitlabNamespace `json:"namespace"`
}

// projects lists the user's projects, newest first as GitLab does, by offset or, with pagination=keyset and
// order_by=id, by keyset. Without membership=true GitLab lists every public project of the instance; at a stand-in
// forge those are the user's own public ones.
func (g *gitlab) projects(w http.ResponseWriter, r *http.Request, who caller) {
	query := r.URL.Query()
	list := who.user.Repositories
	if member, err := strconv.ParseBool(query.Get("membership")); err != nil || !member {
		list = slices.DeleteFunc(list, func(repository Repository) bool { return repository.Private })
	}
	ascending := query.Get("sort") == "asc"
	slices.SortStableFunc(list, func(a, b Repository) int {
		if ascending {
			return int(a.ID - b.ID)
		}
		return int(b.ID - a.ID)
	})
	if query.Get("pagination") == "keyset" {
		if orderBy := query.Get("order_by"); orderBy != "id" {
			writeJSON(w, http.StatusMethodNotAllowed, gitlabJSON, gitlabMessage{"Keyset pagination is not yet available for this type of request"})
			return
		}
		list = g.keyset(w, r, list, ascending)
	} else {
		list = gitlabOffset(g, w, r, list)
	}
	answer := make([]gitlabProject, 0, len(list))
	for _, repository := range list {
		answer = append(answer, g.describeProject(g.f.root(r), who, repository))
	}
	writeJSON(w, http.StatusOK, gitlabJSON, answer)
}

// gitlabOffset writes the headers of one numbered page and returns what is on it.
func gitlabOffset[T any](g *gitlab, w http.ResponseWriter, r *http.Request, list []T) []T {
	window := slicePage(r, "per_page", 20, 100, len(list))
	header := w.Header()
	header.Set("X-Page", strconv.Itoa(window.number))
	header.Set("X-Per-Page", strconv.Itoa(window.size))
	header.Set("X-Total", strconv.Itoa(window.total))
	header.Set("X-Total-Pages", strconv.Itoa(window.last))
	header.Set("X-Next-Page", "")
	header.Set("X-Prev-Page", "")
	if window.number < window.last {
		header.Set("X-Next-Page", strconv.Itoa(window.number+1))
	}
	if window.number > 1 {
		header.Set("X-Prev-Page", strconv.Itoa(window.number-1))
	}
	if link := window.links(g.f.root(r), r, ", "); link != "" {
		header.Set("Link", link)
	}
	return list[window.from:window.to]
}

// keyset returns the projects beyond ?id_after or ?id_before and links to the rest, if there is any.
func (g *gitlab) keyset(w http.ResponseWriter, r *http.Request, list []Repository, ascending bool) []Repository {
	query := r.URL.Query()
	mark := "id_before"
	if ascending {
		mark = "id_after"
	}
	if bound, err := strconv.ParseInt(query.Get(mark), 10, 64); err == nil {
		list = slices.DeleteFunc(list, func(repository Repository) bool {
			return ascending && repository.ID <= bound || !ascending && repository.ID >= bound
		})
	}
	size := slicePage(r, "per_page", 20, 100, len(list)).size
	if len(list) <= size {
		return list
	}
	list = list[:size]
	query.Set(mark, strconv.FormatInt(list[size-1].ID, 10))
	w.Header().Set("Link", fmt.Sprintf(`<%s%s?%s>; rel="next"`, g.f.root(r), r.URL.EscapedPath(), query.Encode()))
	return list
}

func (g *gitlab) describeProject(root string, who caller, repository Repository) gitlabProject {
	full, owner := who.pathOf(repository), who.ownerOf(repository)
	at := root + "/" + forge.EscapePath(full)
	visibility, branch := "public", &repository.DefaultBranch
	if repository.Private {
		visibility = "private"
	}
	if repository.Empty {
		branch = nil
	}
	return gitlabProject{
		ID: repository.ID, Description: repository.Description, Name: repository.Name,
		NameWithNamespace: owner + " / " + repository.Name, Path: repository.Name, PathWithNamespace: full,
		CreatedAt: founded, DefaultBranch: branch, SSHURL: "git@forge.invalid:" + full + ".git",
		HTTPURL: at + ".git", WebURL: at, Visibility: visibility, Archived: repository.Archived,
		EmptyRepository: repository.Empty, IssuesEnabled: !repository.IssuesOff,
		LastActivityAt: founded,
		Namespace:      gitlabNamespace{ID: who.ownerID(repository), Name: owner, Path: owner, Kind: "user", FullPath: owner},
	}
}
