package forgetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
)

// gitlabProblem is what Grape says of parameters that it does not take.
type gitlabProblem struct {
	Error string `json:"error"`
}

// gitlabFaults is what a model says of itself, by field.
type gitlabFaults struct {
	Message map[string][]string `json:"message"`
}

// gitlabReasons is a refusal with several sentences.
type gitlabReasons struct {
	Message []string `json:"message"`
}

func (g *gitlab) says(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, gitlabJSON, gitlabMessage{message})
}

func (g *gitlab) faulty(w http.ResponseWriter, status int, field, fault string) {
	writeJSON(w, status, gitlabJSON, gitlabFaults{map[string][]string{field: {fault}}})
}

// projectRoutes are what is of one project: it is named by its number, or by its whole path as one segment.
func (g *gitlab) projectRoutes(mux *http.ServeMux) {
	route := func(pattern string, serve projectHandler, scopes ...string) {
		method, below, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /api/v4/projects/{id}"+below, g.bound(g.inProject(serve), scopes...))
	}
	route("GET ", g.showProject, "api", "read_api")
	route("GET /repository/files/{path}/raw", g.rawFile, "api", "read_api", "read_repository")
	route("GET /issues/{number}", g.showIssue, "api", "read_api")
	route("POST /issues/{number}/notes", g.createNote, "api")
	route("GET /merge_requests/{number}", g.showMergeRequest, "api", "read_api")
	route("POST /merge_requests/{number}/notes", g.createNote, "api")
	route("POST /merge_requests", g.createMergeRequest, "api")
	route("POST /statuses/{sha}", g.createStatus, "api")
	route("GET /hooks", g.listHooks, "api", "read_api")
	route("POST /hooks", g.createHook, "api")
	route("PUT /hooks/{hook}", g.updateHook, "api")
	route("DELETE /hooks/{hook}", g.deleteHook, "api")
}

type projectHandler func(http.ResponseWriter, *http.Request, caller, Repository)

// inProject finds the project. A path that it had before is answered with a redirect to its number, and with 405 where the
// request is no GET.
func (g *gitlab) inProject(serve projectHandler) func(http.ResponseWriter, *http.Request, caller) {
	return func(w http.ResponseWriter, r *http.Request, who caller) {
		name := r.PathValue("id")
		var found Repository
		var moved, ok bool
		if id, err := strconv.ParseInt(name, 10, 64); err == nil {
			found, ok = who.repository(id)
		} else if strings.Contains(name, "/") {
			found, moved, ok = g.f.repositoryAt(who, name)
		}
		switch {
		case !ok:
			g.says(w, http.StatusNotFound, "404 Project Not Found")
		case moved && r.Method != http.MethodGet:
			g.says(w, http.StatusMethodNotAllowed, "Non GET methods are not allowed for moved projects")
		case moved:
			below := strings.SplitN(strings.TrimPrefix(r.URL.EscapedPath(), "/api/v4/projects/"), "/", 2)
			below[0] = strconv.FormatInt(found.ID, 10)
			to := g.f.root(r) + "/api/v4/projects/" + strings.Join(below, "/")
			if r.URL.RawQuery != "" {
				to += "?" + r.URL.RawQuery
			}
			w.Header().Set("Location", to)
			g.says(w, http.StatusMovedPermanently, "This resource has been moved permanently to "+to)
		default:
			serve(w, r, who, found)
		}
	}
}

// mayWrite refuses what changes a project that is archived, or in which the caller is no more than a guest.
func (g *gitlab) mayWrite(w http.ResponseWriter, repository Repository) bool {
	if repository.Archived || repository.ReadOnly {
		g.says(w, http.StatusForbidden, "403 Forbidden")
		return false
	}
	return true
}

// gitlabParameters reads a body of JSON and looks for what is required; anything else has been answered. The names of what was
// given come back as well.
func gitlabParameters[T any](w http.ResponseWriter, r *http.Request, required ...string) (read T, given map[string]json.RawMessage, ok bool) {
	refuse := func(status int, problem string) (T, map[string]json.RawMessage, bool) {
		writeJSON(w, status, gitlabJSON, gitlabProblem{problem})
		return read, given, false
	}
	contentType := r.Header.Get("Content-Type")
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/json" {
		return refuse(http.StatusUnsupportedMediaType, "The provided content-type '"+contentType+"' is not supported.")
	}
	body, _ := io.ReadAll(r.Body) // it is in memory
	r.Body = rewound(body)
	if json.Unmarshal(body, &given) != nil {
		return refuse(http.StatusBadRequest, "Invalid JSON")
	}
	var missing []string
	for _, name := range required {
		if _, ok := given[name]; !ok {
			missing = append(missing, name+" is missing")
		}
	}
	if len(missing) > 0 {
		return refuse(http.StatusBadRequest, strings.Join(missing, ", "))
	}
	if wrong, isType := errors.AsType[*json.UnmarshalTypeError](json.Unmarshal(body, &read)); isType {
		return refuse(http.StatusBadRequest, wrong.Field+" is invalid")
	}
	return read, given, true
}

// number reads the number in the path.
func (g *gitlab) number(w http.ResponseWriter, r *http.Request, name string) (int64, bool) {
	n, err := strconv.ParseInt(r.PathValue(name), 10, 64)
	if err != nil {
		writeJSON(w, http.StatusBadRequest, gitlabJSON, gitlabProblem{name + " is invalid"})
	}
	return n, err == nil
}

func (g *gitlab) showProject(w http.ResponseWriter, r *http.Request, who caller, repository Repository) {
	writeJSON(w, http.StatusOK, gitlabJSON, g.describeProject(g.f.root(r), who, repository))
}

// rawFile answers with the file as it is. A directory is no file, and a submodule is not found either.
func (g *gitlab) rawFile(w http.ResponseWriter, r *http.Request, _ caller, repository Repository) {
	path, query := r.PathValue("path"), r.URL.Query()
	revision := query.Get("ref")
	if query.Has("ref") && revision == "" {
		writeJSON(w, http.StatusBadRequest, gitlabJSON, gitlabProblem{"ref is empty"})
		return
	}
	if isUnder := slices.ContainsFunc(strings.Split(path, "/"), func(part string) bool { return part == ".." }); isUnder {
		writeJSON(w, http.StatusBadRequest, gitlabJSON, gitlabProblem{"file_path should be a valid file path"})
		return
	}
	var commit string
	var content []byte
	var found bool
	g.f.inside(repository, func(c *contents) {
		if revision == "" {
			revision = repository.DefaultBranch
		}
		if commit = c.resolve(revision); commit != "" {
			content, found, _ = c.file(commit, path)
		}
	})
	switch {
	case commit == "":
		g.says(w, http.StatusNotFound, "404 Commit Not Found")
	case !found:
		g.says(w, http.StatusNotFound, "404 File Not Found")
	default:
		header := w.Header()
		header.Set("Content-Type", "text/plain; charset=utf-8")
		header.Set("Content-Disposition", fmt.Sprintf("inline; filename=%q", url.PathEscape(path[strings.LastIndex(path, "/")+1:])))
		header.Set("X-Gitlab-Commit-Id", commit)
		header.Set("X-Gitlab-Size", strconv.Itoa(len(content)))
		header.Set("X-Gitlab-Encoding", "base64")
		_, _ = w.Write(content) // fails only when the client has gone
	}
}

// pathOf is the project's path, of all its groups and its own name.
func (who caller) pathOf(repository Repository) string {
	return who.ownerOf(repository) + "/" + repository.Name
}

// address is where a person opens something of a project.
func (g *gitlab) address(root string, who caller, repository Repository, below string) string {
	return root + "/" + forge.EscapePath(who.pathOf(repository)) + "/-" + below
}
