package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// unmetError says that a step of the script does not hold. Neither part holds a secret.
type unmetError struct {
	expected, got string
}

// Error implements error.
func (e *unmetError) Error() string { return "expected " + e.expected + ", got " + e.got }

// expect returns an *[unmetError] unless both are equal.
func expect[T comparable](what string, want, got T) error {
	if want == got {
		return nil
	}
	return &unmetError{fmt.Sprintf("%s: %v", what, want), fmt.Sprint(got)}
}

// operator is the scripted person: a browser that follows no redirect by itself, so that each can be looked at.
type operator struct {
	origin *url.URL
	client *http.Client
}

// operatorTimeout bounds each request of the script. A callback waits for the forge.
const operatorTimeout = 2 * time.Minute

func newOperator(origin string) (*operator, error) {
	parsed, err := url.Parse(origin)
	if err != nil {
		return nil, fmt.Errorf("the demo's address: %w", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("make a cookie jar: %w", err)
	}
	return &operator{parsed, &http.Client{
		Jar:           jar,
		Transport:     &http.Transport{}, // no proxy: it is this machine
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       operatorTimeout,
	}}, nil
}

// answered is an answer of forgeauth.
type answered struct {
	status   int
	location *url.URL // nil if there is none
	body     string
}

// largestAnswer is more than any answer of the script has.
const largestAnswer = 4 << 20

func (o *operator) do(ctx context.Context, method, path, accept, contentType, body string) (answered, error) {
	target, err := o.origin.Parse(path)
	if err != nil {
		return answered{}, errors.New("an address that cannot be parsed") // it may hold a code
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(body))
	if err != nil {
		return answered{}, fmt.Errorf("%s %s: %w", method, target.Path, err)
	}
	request.Header.Set("Accept", accept)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := o.client.Do(request)
	if err != nil {
		// Without the URL, which may hold a code.
		return answered{}, fmt.Errorf("%s %s: %w", method, target.Path, errors.Unwrap(err))
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	if err != nil {
		return answered{}, fmt.Errorf("%s %s: %w", method, target.Path, err)
	}
	a := answered{status: response.StatusCode, body: string(content)}
	if location := response.Header.Get("Location"); location != "" {
		if a.location, err = target.Parse(location); err != nil {
			return answered{}, fmt.Errorf("%s %s: a redirect that cannot be parsed", method, target.Path)
		}
	}
	return a, nil
}

// page gets a page as a browser does.
func (o *operator) page(ctx context.Context, path string) (answered, error) {
	return o.do(ctx, http.MethodGet, path, "text/html", "", "")
}

// submit sends a form as a browser does.
func (o *operator) submit(ctx context.Context, path string, form url.Values) (answered, error) {
	return o.do(ctx, http.MethodPost, path, "text/html", "application/x-www-form-urlencoded", form.Encode())
}

// refusal is what the script reads of a problem document (RFC 9457).
type refusal struct {
	Error string `json:"error"`
}

// call asks for JSON and decodes an answer with the status; with any other it returns an *[unmetError].
func call[T any](ctx context.Context, o *operator, status int, method, path, body string) (T, error) {
	var document T
	contentType := ""
	if body != "" {
		contentType = "application/json"
	}
	a, err := o.do(ctx, method, path, "application/json", contentType, body)
	if err != nil {
		return document, err
	}
	what, _, _ := strings.Cut(path, "?")
	what = method + " " + what
	if a.status != status {
		got := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
		var problem refusal
		if json.Unmarshal([]byte(a.body), &problem) == nil && problem.Error != "" {
			got = fmt.Sprintf("%d %s", a.status, problem.Error)
		}
		return document, &unmetError{fmt.Sprintf("%s: %d", what, status), got}
	}
	if err := json.Unmarshal([]byte(a.body), &document); err != nil {
		return document, &unmetError{what + ": a JSON document", "something else"}
	}
	return document, nil
}

// refused makes a request that is to be refused with the status and the code.
func (o *operator) refused(ctx context.Context, method, path string, status int, code string) error {
	problem, err := call[refusal](ctx, o, status, method, path, "")
	if err != nil {
		return err
	}
	return expect(method+" "+path+": the code", code, problem.Error)
}

// listen follows a stream of events until it has had n, and returns their ids as positions.
func (o *operator) listen(ctx context.Context, path string, n int) (positions []string, err error) {
	target, err := o.origin.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	response, err := o.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", target.Path, errors.Unwrap(err))
	}
	defer func() { _ = response.Body.Close() }()
	if err := expect("GET "+target.Path, http.StatusOK, response.StatusCode); err != nil {
		return nil, err
	}
	id := ""
	for lines := bufio.NewScanner(response.Body); len(positions) < n; {
		if !lines.Scan() {
			return positions, lines.Err() //nolint:wrapcheck // the script says what it expected
		}
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "data":
			positions = append(positions, "#"+id)
		}
	}
	return positions, nil
}

// sessionCookie returns the session's cookie as the jar holds it, nil if there is none. Its name is documented in package
// http: the port is part of it on loopback.
func (o *operator) sessionCookie() *http.Cookie {
	for _, cookie := range o.client.Jar.Cookies(o.origin) {
		if cookie.Name == "forgeauth_"+o.origin.Port() {
			return cookie
		}
	}
	return nil
}

// with returns another browser, which holds only the given cookie.
func (o *operator) with(cookie *http.Cookie) (*operator, error) {
	other, err := newOperator(o.origin.String())
	if err != nil {
		return nil, err
	}
	other.client.Jar.SetCookies(o.origin, []*http.Cookie{cookie})
	return other, nil
}

// startSignIn presses the forge's button on the sign-in page and returns where that leads: to the forge, or back to the
// sign-in page with a problem.
func (o *operator) startSignIn(ctx context.Context, forgeType, setupCode string) (*url.URL, error) {
	form := url.Values{}
	if setupCode != "" {
		form.Set("setup_code", setupCode)
	}
	a, err := o.submit(ctx, "/oauth/"+forgeType+"/init", form)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusOK { // a page that leads to the forge at once
		_, rest, _ := strings.Cut(a.body, `<meta http-equiv="refresh" content="0;url=`)
		if to, _, found := strings.Cut(rest, `"`); found {
			authorize, err := url.Parse(html.UnescapeString(to))
			if err != nil {
				return nil, &unmetError{"a page that leads to " + forgeType, "one that leads nowhere"}
			}
			return authorize, nil
		}
	}
	if a.status != http.StatusSeeOther || a.location == nil {
		return nil, &unmetError{
			"POST /oauth/" + forgeType + "/init: a page that leads to the forge", fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)),
		}
	}
	return a.location, nil
}

// signIn goes the whole way through a forge: the button, the forge's pages, the callback.
func (o *operator) signIn(ctx context.Context, at standIn, setupCode string) error {
	authorize, err := o.startSignIn(ctx, at.connection.Name, setupCode)
	if err != nil {
		return err
	}
	if err := expect("a redirect to", at.connection.BaseURL, authorize.Scheme+"://"+authorize.Host); err != nil {
		return err
	}
	callback, err := at.Consent(ctx, authorize.String(), demoOperator)
	if err != nil {
		return &unmetError{"consent at " + at.connection.Name, err.Error()}
	}
	a, err := o.page(ctx, callback)
	if err != nil {
		return err
	}
	got := fmt.Sprintf("%d", a.status)
	if a.location != nil {
		got += " to " + a.location.Path
		if code := a.location.Query().Get("error"); code != "" {
			got += " with " + code
		}
	}
	return expect("the callback's answer", "303 to /", got)
}
