package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/forge"
)

const (
	// probeTimeout is less than the timeout of the image's and the compose file's health checks, so that what is printed is why.
	probeTimeout = 3 * time.Second
	// largestReadiness bounds the answer, in bytes: whatever has the port may be another program.
	largestReadiness = 64 << 10
)

func (p *program) healthcheckCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running service whether it is ready",
		Long: `Asks GET /readyz of the serve that listens on FORGEAUTH_LISTEN on this machine,
and waits for 3 seconds at most. Exits with 0 when it is ready and with 1 when
it is not or does not answer; standard error then names the checks that failed.

It needs neither the database nor a key, and reads no other setting. The
container image uses it for its health check.`,
		Example: `  forgeauth healthcheck
  docker compose exec forgeauth forgeauth healthcheck --json`,
		Args: cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error { return p.healthcheck(ctx, asJSON) }),
	}
	jsonFlag(command, &asJSON)
	return command
}

// readinessDocument is the body of GET /readyz.
type readinessDocument struct {
	Ready   bool             `json:"ready"`
	Version string           `json:"version"`
	LogHead int64            `json:"log_head"`
	Checks  []readinessCheck `json:"checks"`
}

type readinessCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// failing names the checks that are not OK, with what was found.
func (d readinessDocument) failing() string {
	var found []string
	for _, check := range d.Checks {
		if !check.OK {
			found = append(found, check.Name+" ("+check.Detail+")")
		}
	}
	return strings.Join(found, ", ")
}

func (p *program) healthcheck(ctx context.Context, asJSON bool) error {
	e, err := p.environment(forgeauth.Probing)
	if err != nil {
		return err
	}
	document, err := probe(ctx, e.Config.Listen, probeTimeout)
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(p, document); err != nil {
			return err
		}
	}
	if !document.Ready {
		return fmt.Errorf("not ready: %s", document.failing())
	}
	if !asJSON {
		p.printf("ready: version %s, log head %d\n", document.Version, document.LogHead)
	}
	return nil
}

// probe asks the service that listens on an address how it is. A service that is not ready is a document that says so; no
// answer in time, or one of another program, is an error.
func probe(ctx context.Context, listen string, timeout time.Duration) (readinessDocument, error) {
	target, err := probeURL(listen)
	if err != nil {
		return readinessDocument{}, err
	}
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(asking, http.MethodGet, target, http.NoBody)
	if err != nil {
		return readinessDocument{}, fmt.Errorf("ask %s: %w", target, err)
	}
	client := &http.Client{
		// This machine is asked, whatever proxy the environment names, and nobody else.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		err = fmt.Errorf("%w: see whether `forgeauth serve` runs, with the same FORGEAUTH_LISTEN", err)
		return readinessDocument{}, late(ctx, err, target, timeout)
	}
	defer func() { _ = response.Body.Close() }()
	document, err := readReadiness(response)
	if err != nil {
		err = fmt.Errorf("the answer of %s (%s) is not forgeauth's: %w: check FORGEAUTH_LISTEN", target, forge.CleanString(response.Status), err)
		return readinessDocument{}, late(ctx, err, target, timeout)
	}
	return document, nil
}

// late returns err, unless it only says that nobody waited any longer.
func late(ctx context.Context, err error, target string, timeout time.Duration) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from %s within %s: the service's log says what it waits for", target, timeout)
	}
	return err
}

// probeURL returns where a service that listens on an address is reached from this machine. One that listens on every
// address, of either family, also listens on the loopback of IPv4.
func probeURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("FORGEAUTH_LISTEN: %w", err)
	}
	if address, err := netip.ParseAddr(host); host == "" || err == nil && address.Unmap().IsUnspecified() {
		host = "127.0.0.1"
	}
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: "/readyz"}).String(), nil
}

var errNotReadiness = errors.New("it is no readiness document")

// readReadiness reads an answer of /readyz. Its texts come out clean, and fit for a terminal.
func readReadiness(response *http.Response) (readinessDocument, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, largestReadiness))
	if err != nil {
		return readinessDocument{}, fmt.Errorf("read it: %w", err)
	}
	var document readinessDocument
	if err := json.Unmarshal(body, &document); err != nil {
		return readinessDocument{}, errNotReadiness
	}
	document.Version = forge.CleanString(document.Version)
	ready := len(document.Checks) > 0
	for i := range document.Checks {
		check := &document.Checks[i]
		check.Name, check.Detail = forge.CleanString(check.Name), forge.CleanString(check.Detail)
		ready = ready && check.OK
	}
	status := http.StatusServiceUnavailable
	if ready {
		status = http.StatusOK
	}
	if len(document.Checks) == 0 || document.Ready != ready || response.StatusCode != status {
		return readinessDocument{}, errNotReadiness
	}
	return document, nil
}
