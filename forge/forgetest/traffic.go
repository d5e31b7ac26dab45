package forgetest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Endpoint is a part of the forge that faults can be ordered for and requests are counted by.
type Endpoint string

// The endpoints. A token request goes to [RefreshEndpoint] if it says
// grant_type=refresh_token, to [PollEndpoint] if it is the device grant and to [TokenEndpoint] otherwise. [AnyEndpoint] stands for all of them.
const (
	AuthorizeEndpoint     Endpoint = "authorize"
	TokenEndpoint         Endpoint = "token"
	DeviceEndpoint        Endpoint = "device"
	PollEndpoint          Endpoint = "poll"
	RefreshEndpoint       Endpoint = "refresh"
	RevokeEndpoint        Endpoint = "revoke"
	UserEndpoint          Endpoint = "user"
	WorkspacesEndpoint    Endpoint = "workspaces"
	RepositoriesEndpoint  Endpoint = "repositories"
	RepositoryEndpoint    Endpoint = "repository"
	RevisionEndpoint      Endpoint = "revision"
	FileEndpoint          Endpoint = "file"
	IssueEndpoint         Endpoint = "issue"
	ChangeEndpoint        Endpoint = "change"
	CommentEndpoint       Endpoint = "comment"
	StatusEndpoint        Endpoint = "status"
	HookEndpoint          Endpoint = "hook"
	IntrospectionEndpoint Endpoint = "introspection"
	VersionEndpoint       Endpoint = "version"
	PageEndpoint          Endpoint = "pages"
	AnyEndpoint           Endpoint = "any"
	OtherEndpoint         Endpoint = "other"
)

// endpoint classifies a request, for all dialects alike.
func (f *Forge) endpoint(r *http.Request) Endpoint {
	path := r.URL.Path
	switch {
	case path == f.traits.authorizePath:
		return AuthorizeEndpoint
	case path == f.traits.tokenPath:
		switch bodyValues(r).Get("grant_type") {
		case "refresh_token":
			return RefreshEndpoint
		case deviceGrantType:
			return PollEndpoint
		}
		return TokenEndpoint
	case f.isDevicePath(path):
		return DeviceEndpoint
	case f.isDevicePage(path):
		return PageEndpoint
	case path == "/oauth/revoke", r.Method == http.MethodDelete && strings.Contains(path, "/applications/"):
		return RevokeEndpoint
	case path == "/login/oauth/introspect", path == "/oauth/token/info", strings.Contains(path, "/applications/"):
		return IntrospectionEndpoint
	case path == f.traits.loginPath, path == f.traits.consentPath, path == "/", path == logoutPath, path == stylesheetPath:
		return PageEndpoint
	case strings.HasSuffix(path, "/user"), strings.HasSuffix(path, "/userinfo"):
		return UserEndpoint
	case strings.HasSuffix(path, "/user/repos"), strings.HasSuffix(path, "/projects"), isWorkspaceList(path):
		return RepositoriesEndpoint
	case strings.HasSuffix(path, "/user/workspaces"):
		return WorkspacesEndpoint
	case strings.HasSuffix(path, "/version"):
		return VersionEndpoint
	default:
		return workEndpoint(path)
	}
}

// isWorkspaceList reports whether a path is /repositories/{workspace}, where Bitbucket lists the repositories of one.
func isWorkspaceList(path string) bool {
	_, workspace, found := strings.Cut(path, "/2.0/repositories/")
	return found && workspace != "" && !strings.Contains(workspace, "/")
}

// workEndpoint classifies what is below a repository. The first match counts, so that a file's path may hold any word.
func workEndpoint(path string) Endpoint {
	for _, match := range []struct {
		endpoint Endpoint
		parts    []string
	}{
		{FileEndpoint, []string{"/contents/", "/raw/", "/media/", "/repository/files/", "/src/"}},
		{HookEndpoint, []string{"/hooks"}},
		{StatusEndpoint, []string{"/statuses"}},
		{CommentEndpoint, []string{"/comments", "/notes"}},
		{ChangeEndpoint, []string{"/pulls", "/merge_requests", "/pullrequests"}},
		{IssueEndpoint, []string{"/issues"}},
		{RevisionEndpoint, []string{"/refs", "/commit/"}},
		{RepositoryEndpoint, []string{"/repos/", "/repositories/", "/projects/"}},
	} {
		if slices.ContainsFunc(match.parts, func(part string) bool { return strings.Contains(path, part) }) {
			return match.endpoint
		}
	}
	return OtherEndpoint
}

// Request is one request that reached the forge, without any value that could be secret.
type Request struct {
	Endpoint     Endpoint
	Method, Path string
	// Query, Form and Header are the sorted names of what was sent, never the values.
	Query, Form, Header []string
	// AuthScheme is the first word of the Authorization header: Bearer, token or Basic.
	AuthScheme string
	// Accept and UserAgent are those headers as sent.
	Accept, UserAgent string
	At                time.Time
	// Status is what was answered; zero while the answer is pending or if the connection was cut before one.
	Status int
}

func (f *Forge) describe(r *http.Request, endpoint Endpoint) Request {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return Request{
		Endpoint: endpoint, Method: r.Method, Path: r.URL.Path,
		Query: slices.Sorted(maps.Keys(r.URL.Query())), Form: slices.Sorted(maps.Keys(bodyValues(r))),
		Header: slices.Sorted(maps.Keys(r.Header)), AuthScheme: scheme,
		Accept: r.Header.Get("Accept"), UserAgent: r.UserAgent(), At: f.config.Now(),
	}
}

// traffic is the forge's request log.
type traffic struct {
	mu       sync.Mutex
	requests []Request
	changed  chan struct{}
}

func (t *traffic) arrive(request Request) (index int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = append(t.requests, request)
	close(t.changed)
	t.changed = make(chan struct{})
	return len(t.requests) - 1
}

func (t *traffic) settle(index, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests[index].Status = status
}

// Requests returns every request that arrived so far, in order of arrival.
func (f *Forge) Requests() []Request {
	f.traffic.mu.Lock()
	defer f.traffic.mu.Unlock()
	return slices.Clone(f.traffic.requests)
}

// Count returns how many requests an endpoint has seen; [AnyEndpoint] counts all.
func (f *Forge) Count(endpoint Endpoint) int {
	n, _ := f.count(endpoint)
	return n
}

func (f *Forge) count(endpoint Endpoint) (n int, changed <-chan struct{}) {
	f.traffic.mu.Lock()
	defer f.traffic.mu.Unlock()
	for _, request := range f.traffic.requests {
		if endpoint == AnyEndpoint || request.Endpoint == endpoint {
			n++
		}
	}
	return n, f.traffic.changed
}

// Await returns when at least n requests have arrived at the endpoint, answered or not, since the forge started. It
// returns an error when ctx ends first.
func (f *Forge) Await(ctx context.Context, endpoint Endpoint, n int) error {
	for {
		seen, changed := f.count(endpoint)
		if seen >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("forgetest: %d of %d requests arrived at %s: %w", seen, n, endpoint, context.Cause(ctx))
		}
	}
}
