package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
)

// byBrowser signs in through a browser, here or elsewhere. The forge sends it back to the callback URL that is registered there:
// to a listener of this process if that address is this machine's and free, else to a serve that is running, whose page says what
// to do, or to nothing. In the latter cases a person brings the address here.
func (s *signIn) byBrowser(ctx context.Context) (commands.HostLoginCompleted, error) {
	var none commands.HostLoginCompleted
	started, err := s.commands.StartBrowserLogin(ctx, s.forgeType)
	if err != nil {
		return none, err
	}
	back := listenForCallback(ctx, started)
	defer back.close(ctx)
	s.say("Open this address in any browser, and give your consent there:\n\n  %s\n\n", started.AuthorizeURL)
	if back != nil {
		s.say("A browser on this machine then comes back by itself. From another one, copy the\naddress that it ends on, " +
			"whatever the page says, and paste it here.\n")
	} else {
		s.say("Then copy the address that the browser ends on, whatever the page says, and\npaste it here.\n")
	}
	s.await(started.AuthorizeURL, started.ExpiresAt) // and draws nothing: it would be in the way of what is pasted
	query, err := s.callback(ctx, started, back)
	if err != nil {
		return none, err
	}
	return s.commands.CompleteBrowserLogin(ctx, started, query, s.request())
}

var errNoAddress = errors.New("the input ended before the address was pasted: keep standard input open, or paste it there")

// callback waits for the answer to the sign-in, from the browser or from the keyboard.
func (s *signIn) callback(ctx context.Context, started commands.BrowserLogin, back *callbackListener) (commands.CallbackQuery, error) {
	waiting, cancel := context.WithDeadline(ctx, started.ExpiresAt)
	defer cancel()
	lines, mistaken := s.lines(), false
	for {
		select {
		case query := <-back.answers():
			return query, nil
		case line, ok := <-lines:
			if !ok && back == nil {
				if mistaken {
					return commands.CallbackQuery{}, &commands.LoginError{Code: commands.CodeStateMismatch}
				}
				return commands.CallbackQuery{}, errNoAddress
			}
			if !ok {
				lines = nil // nobody is at the keyboard; the browser may still come
				continue
			}
			if strings.TrimSpace(line) == "" {
				continue
			}
			query, err := parseCallback(line)
			if err == nil && !started.Answers(query) {
				err = errOtherAddress
			}
			if err == nil {
				return query, nil
			}
			mistaken = true
			s.note("%v", err)
		case <-waiting.Done():
			if ctx.Err() != nil {
				return commands.CallbackQuery{}, fmt.Errorf("sign in: %w", context.Cause(ctx))
			}
			return commands.CallbackQuery{}, &commands.LoginError{Code: commands.CodeExpiredAttempt}
		}
	}
}

// What is wrong with an address that was pasted. It is never repeated: it may hold the code.
var (
	errNoCallback   = errors.New("that is no address that a forge sends a browser back to: copy the whole of it, with what follows the question mark")
	errOtherAddress = errors.New("that address belongs to another sign-in: copy the one that the browser ended on for the address above")
)

// parseCallback reads the address that a browser ended on. Of its query four parameters are looked at, and nothing else of it:
// which host answered there, if any, does not matter.
func parseCallback(line string) (commands.CallbackQuery, error) {
	address, err := url.Parse(strings.Trim(strings.TrimSpace(line), `"'<>`))
	if err != nil || address.Host == "" {
		return commands.CallbackQuery{}, errNoCallback
	}
	return readCallback(address.RawQuery)
}

// readCallback reads the query of a callback: what the forge says, or why not.
func readCallback(raw string) (commands.CallbackQuery, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return commands.CallbackQuery{}, errNoCallback
	}
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(values[name]) > 1 {
			return commands.CallbackQuery{}, errNoCallback
		}
	}
	query := commands.CallbackQuery{
		State: values.Get("state"), Code: values.Get("code"), Error: values.Get("error"), Issuer: values.Get("iss"),
	}
	if query.State == "" || query.Code == "" && query.Error == "" {
		return commands.CallbackQuery{}, errNoCallback
	}
	return query, nil
}

// callbackListener is an HTTP server for one callback. A nil one gets none.
type callbackListener struct {
	server *http.Server
	answer chan commands.CallbackQuery // holds one
}

// listenForCallback listens where the forge sends the browser back to, if that is this machine's own and free. A port that is taken
// is mostly serve's.
func listenForCallback(ctx context.Context, started commands.BrowserLogin) *callbackListener {
	to, err := url.Parse(started.CallbackURL)
	if err != nil || to.Scheme != "http" || !forge.IsLoopback(to.Hostname()) {
		return nil
	}
	address := to.Host
	if to.Port() == "" {
		address = net.JoinHostPort(to.Hostname(), "80")
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil
	}
	back := &callbackListener{answer: make(chan commands.CallbackQuery, 1)}
	back.server = &http.Server{
		Handler: back.handler(to, started), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout,
		WriteTimeout: readTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	go func() { _ = back.server.Serve(listener) }() // ends with close
	return back
}

func (l *callbackListener) answers() <-chan commands.CallbackQuery {
	if l == nil {
		return nil
	}
	return l.answer
}

// close ends the listener when the page that it answered with has been read.
func (l *callbackListener) close(ctx context.Context) {
	if l == nil {
		return
	}
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
}

const callbackPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>%[1]s</title></head>
<body><h1>%[1]s</h1><p>%[2]s</p></body>
</html>
`

// handler answers exactly the callback of the sign-in, under exactly its host; everything else is nothing it knows.
func (l *callbackListener) handler(to *url.URL, started commands.BrowserLogin) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		say := func(status int, title, text string) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, callbackPage, title, text)
		}
		switch {
		case !strings.EqualFold(r.Host, to.Host), r.URL.Path != to.Path:
			say(http.StatusNotFound, "There is nothing here", "forgeauth waits for a sign-in to come back, and for nothing else.")
			return
		case r.Method != http.MethodGet:
			header.Set("Allow", http.MethodGet)
			say(http.StatusMethodNotAllowed, "Not this way", "A sign-in comes back by GET.")
			return
		}
		query, err := readCallback(r.URL.RawQuery)
		if err != nil || !started.Answers(query) {
			say(http.StatusBadRequest, "This is another sign-in", "The one that the terminal waits for began with the address that it shows.")
			return
		}
		select {
		case l.answer <- query:
		default: // it has come before
		}
		say(http.StatusOK, "Return to the terminal", "It says whether you are signed in. You can close this page.")
	})
}
