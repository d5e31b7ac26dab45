package forgetest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// ApproveDevice does what a person does who was shown a user code: it opens the forge's page with a fresh browser, logs in as
// the account, enters the code and authorizes the application. Where the forge stops on a page of its own, the error is a
// [PageError].
func (f *Forge) ApproveDevice(ctx context.Context, userCode, login string) error {
	return f.decideDevice(ctx, userCode, login, "authorize")
}

// DenyDevice is [Forge.ApproveDevice] by a person who presses the other button.
func (f *Forge) DenyDevice(ctx context.Context, userCode, login string) error {
	return f.decideDevice(ctx, userCode, login, "deny")
}

func (f *Forge) decideDevice(ctx context.Context, userCode, login, decision string) error {
	enter, _ := f.devicePages()
	if enter == "" {
		return fmt.Errorf("%w: %s has no device flow", errLost, f.config.Dialect)
	}
	at, err := url.Parse(f.URL() + enter)
	if err != nil {
		return fmt.Errorf("forgetest: the forge's address: %w", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return fmt.Errorf("forgetest: cookie jar: %w", err)
	}
	browser := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	form := url.Values(nil)
	for range longestWalk {
		page, err := visit(ctx, browser, at, form)
		switch {
		case err != nil:
			return err
		case page.location != nil:
			at, form = page.location, nil
			continue
		case page.status == http.StatusOK && strings.Contains(page.body, `<p data-step="done">`):
			return nil
		}
		if step := formPattern.FindStringSubmatch(page.body); step != nil && step[2] == "device" && page.status == http.StatusOK {
			form = url.Values{"user_code": {userCode}}
			continue
		}
		if at, form, err = page.decide(login, decision); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: still not done after %d pages", errLost, longestWalk)
}
