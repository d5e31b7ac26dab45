package forgetest

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// PageError is what [Forge.Consent] and [Forge.Deny] return when the forge ends the flow on a page of its own instead
// of sending the browser back to the client.
type PageError struct {
	Status   int
	Sentence string
}

// Error implements error.
func (e *PageError) Error() string {
	return fmt.Sprintf("forgetest: the forge stopped with status %d: %s", e.Status, e.Sentence)
}

// errLost says that the browser did not find its way through the pages.
var errLost = errors.New("forgetest: the browser met a page it does not know")

// Consent walks through the pages as a person with a fresh browser would: it logs in as the account, authorizes the
// application, and returns the address, code and all, to which the forge then sends the browser. It does not open
// that address. Where the forge stops on a page of its own, the error is a [PageError].
func (f *Forge) Consent(ctx context.Context, authorizeURL, login string) (callbackURL string, err error) {
	return f.walk(ctx, authorizeURL, login, "authorize")
}

// Deny is [Forge.Consent] by a person who presses the other button. An application that the account authorized before
// is not asked about again, so the returned address can hold a code even so.
func (f *Forge) Deny(ctx context.Context, authorizeURL, login string) (callbackURL string, err error) {
	return f.walk(ctx, authorizeURL, login, "deny")
}

// longestWalk is more pages than any flow has.
const longestWalk = 12

func (f *Forge) walk(ctx context.Context, authorizeURL, login, decision string) (string, error) {
	start, err := url.Parse(authorizeURL)
	if err != nil {
		return "", fmt.Errorf("forgetest: authorization URL: %w", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", fmt.Errorf("forgetest: cookie jar: %w", err)
	}
	browser := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	at, form := start, url.Values(nil)
	for range longestWalk {
		page, err := visit(ctx, browser, at, form)
		if err != nil {
			return "", err
		}
		form = nil
		if page.location != nil {
			if page.location.Scheme != start.Scheme || page.location.Host != start.Host {
				return page.location.String(), nil
			}
			at = page.location
			continue
		}
		if at, form, err = page.decide(login, decision); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%w: still not back after %d pages", errLost, longestWalk)
}

// visited is a page as far as the walk needs it.
type visited struct {
	url, location *url.URL
	status        int
	body          string
}

func visit(ctx context.Context, browser *http.Client, at *url.URL, form url.Values) (*visited, error) {
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, fmt.Errorf("forgetest: %w", err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := browser.Do(request)
	if err != nil {
		return nil, fmt.Errorf("forgetest: visiting %s: %w", at.Path, errors.Unwrap(err))
	}
	defer func() { _ = response.Body.Close() }()
	page := &visited{url: at, status: response.StatusCode}
	if location := response.Header.Get("Location"); location != "" {
		if page.location, err = at.Parse(location); err != nil {
			return nil, fmt.Errorf("forgetest: the forge redirects to a bad address: %w", errors.Unwrap(err))
		}
		return page, nil
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxRequestBody))
	if err != nil {
		return nil, fmt.Errorf("forgetest: reading %s: %w", at.Path, err)
	}
	page.body = string(content)
	return page, nil
}

var (
	formPattern   = regexp.MustCompile(`<form method="post" action="([^"]*)" data-step="(\w+)">`)
	hiddenPattern = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	stopPattern   = regexp.MustCompile(`<p data-step="error">([^<]*)</p>`)
)

// decide fills in the page's form.
func (p *visited) decide(login, decision string) (*url.URL, url.Values, error) {
	form := formPattern.FindStringSubmatch(p.body)
	if form == nil || p.status != http.StatusOK {
		if stop := stopPattern.FindStringSubmatch(p.body); stop != nil {
			return nil, nil, &PageError{Status: p.status, Sentence: html.UnescapeString(stop[1])}
		}
		return nil, nil, &PageError{Status: p.status, Sentence: "no page of the stand-in forge"}
	}
	action, err := p.url.Parse(html.UnescapeString(form[1]))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errLost, err)
	}
	fields := url.Values{}
	for _, hidden := range hiddenPattern.FindAllStringSubmatch(p.body, -1) {
		fields.Set(html.UnescapeString(hidden[1]), html.UnescapeString(hidden[2]))
	}
	switch form[2] {
	case "login":
		fields.Set("login", login)
	case "consent":
		fields.Set("decision", decision)
	default:
		return nil, nil, fmt.Errorf("%w: a form for %q", errLost, form[2])
	}
	return action, fields, nil
}
