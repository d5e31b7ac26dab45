package gitlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// errAnswer is what [forge.Caller.Fail] makes an [forge.ErrUnavailable] of.
var errAnswer = errors.New("the answer is not what the documentation says")

// segment escapes a value that GitLab reads as one segment of a path, slashes and all. A dot is escaped as well, as GitLab's
// own client does: behind the last one in a path its API may see the name of a format, so that group/site.json would be
// the project group/site.
func segment(value string) string {
	return strings.ReplaceAll(url.PathEscape(value), ".", "%2E")
}

// projectPath is the path of a repository in the API, or one below it, for a reference that has passed its check. (GitLab
// docs: REST API, namespaced paths.)
func projectPath(in forge.RepositoryRef, below ...string) (string, error) {
	name := in.ID
	if name == "" {
		name = segment(in.Path)
	} else if !isNumber(name) {
		return "", fmt.Errorf("%w (the id of a project is a number)", forge.ErrInvalid)
	}
	return "/projects/" + name + strings.Join(below, ""), nil
}

// below is a part of a path: /issues/4711.
func below(collection string, number int64) string {
	return "/" + collection + "/" + strconv.FormatInt(number, 10)
}

func isNumber(id string) bool {
	number, err := strconv.ParseInt(id, 10, 64)
	return err == nil && forge.Number(number) == id
}

// look checks the arguments and asks for one document of a repository.
func look[T any](ctx context.Context, p *port, op string, in forge.RepositoryRef, below string, checked ...error) (T, error) {
	path, err := p.path(op, in, below, checked...)
	if err != nil {
		var none T
		return none, err
	}
	return forge.Get[T](ctx, p.Caller, op, path)
}

// send is [forge.Send] for what is of a repository, after the arguments have been checked.
func send[T any](
	ctx context.Context, p *port, op, method string, in forge.RepositoryRef, below string, body any, checked ...error,
) (T, error) {
	path, err := p.path(op, in, below, checked...)
	if err != nil {
		var none T
		return none, err
	}
	return forge.Send[T](ctx, p.Caller, op, method, path, body)
}

// check is the first of the errors, with the operation's name.
func (p *port) check(op string, checked ...error) error {
	for _, err := range checked {
		if err != nil {
			return p.Fail(op, err)
		}
	}
	return nil
}

// path is the path of what is asked for, once everything has passed its check.
func (p *port) path(op string, in forge.RepositoryRef, below string, checked ...error) (string, error) {
	if err := p.check(op, append([]error{in.Check()}, checked...)...); err != nil {
		return "", err
	}
	path, err := projectPath(in, below)
	return path, p.Fail(op, err)
}

func statusOf(err error) int {
	if framed, ok := errors.AsType[*forge.Error](err); ok {
		return framed.Status
	}
	return 0
}

// references are how GitLab writes the short name of an issue or a merge request: group/project#1, group/project!1.
type references struct {
	Full string `json:"full"`
}

// path is the path of the project, which GitLab names since 12.7, or else the one that was asked for.
func (r references) path(separator, asked string) string {
	if at := strings.LastIndex(r.Full, separator); at > 0 {
		return r.Full[:at]
	}
	return asked
}

func refusal(status int, header http.Header, body []byte, now time.Time) error {
	if status == http.StatusTooManyRequests {
		return &forge.RateLimitedError{Until: forge.RetryAfter(header, "RateLimit-Reset", now)}
	}
	var answer struct {
		Error string `json:"error"`
		Scope string `json:"scope"`
	}
	_ = json.Unmarshal(body, &answer) // what is no JSON has no error code
	if answer.Error != "insufficient_scope" {
		return nil
	}
	missing := &forge.ScopeMissingError{}
	if want := forge.ParseScopes(answer.Scope); len(want) > 0 {
		missing.Want = want
	}
	return missing
}

// reason recognises what GitLab says in words alone: that a project has another path by now, which it answers to everything
// but GET; and that a status which is to be pending waits or runs already. That there is such a merge request is a 409.
func reason(status int, body []byte) error {
	var answer struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &answer) // a message may also be an object, which is about something else
	says := func(words string) bool { return strings.Contains(answer.Message, words) }
	switch {
	case status == http.StatusMethodNotAllowed && says("not allowed for moved projects"):
		return forge.ErrMoved
	case status == http.StatusBadRequest && (says("via :enqueue from :pending") || says("via :enqueue from :running")):
		return errPending
	}
	return nil
}

// errPending is an [forge.ErrConflict].
var errPending = fmt.Errorf("%w (it is pending already)", forge.ErrConflict)
