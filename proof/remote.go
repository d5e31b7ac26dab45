package proof

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/forgeauth/forgeauth/events"
)

// TreeHead is how many events a log has and the hash over them.
type TreeHead = tlog.Tree

// Remote is a log that shows its hashes over HTTP (C2SP tlog-tiles). What it says is not trusted. Safe for concurrent use.
type Remote struct {
	base, agent string
}

// NewRemote returns the log under a URL, which ends before /checkpoint and /tile. Nothing is asked yet.
func NewRemote(base, userAgent string) *Remote {
	return &Remote{strings.TrimSuffix(base, "/"), userAgent}
}

const (
	remoteTime = time.Minute // for a whole check
	remoteBody = 1 << 20     // bytes of an answer; the largest that there are have a hundredth of that
)

// bounded cuts answers that are longer than any there are: the log that is asked is the one that is not trusted.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, remoteBody), response.Body}
	}
	return response, err //nolint:wrapcheck // as the transport says it
}

// Grown fetches the newest checkpoint and checks that its log is that of an older one to which events were added. It returns the newest
// tree; a *[GrownError] or *[BadCheckpointError] if it does not hold, and another error if the log cannot be asked within a minute.
func (r *Remote) Grown(ctx context.Context, policy Policy, older TreeHead) (TreeHead, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	fetcher, err := torchwood.NewTileFetcher(r.base, torchwood.WithUserAgent(r.agent), torchwood.WithConcurrencyLimit(8),
		torchwood.WithHTTPClient(&http.Client{Timeout: remoteTime / 2, Transport: bounded{http.DefaultTransport}})) //nolint:forbidigo // with limits of its own
	if err != nil {
		return TreeHead{}, fmt.Errorf("the log at %s: %w", r.base, err)
	}
	text, err := fetcher.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return TreeHead{}, fmt.Errorf("the log at %s does not show its hashes: %w", r.base, err)
	}
	newest, err := policy.ReadCheckpoint(string(text))
	if err != nil {
		return TreeHead{}, err
	}
	return newest, Grown(older, newest, torchwood.TileHashReaderWithContext(ctx, newest, fetcher))
}

// GrownSince is [Remote.Grown] for the log in the database.
func (t *Tree) GrownSince(ctx context.Context, policy Policy, older TreeHead) (TreeHead, error) {
	text, err := t.Checkpoint(ctx)
	if err != nil {
		return TreeHead{}, err
	}
	newest, err := policy.ReadCheckpoint(text)
	if err != nil {
		return TreeHead{}, err
	}
	return newest, t.Grown(ctx, older, newest)
}

// Signed returns how many events the newest checkpoint says that it covers, 0 if there is none; its signature is not checked.
func (t *Tree) Signed(ctx context.Context) (size int64, err error) {
	err = t.db.QueryRow(ctx, `SELECT coalesce(max(size), 0) FROM log_checkpoints`).Scan(&size)
	if err != nil {
		return 0, events.ReadError("read the checkpoints", err)
	}
	return size, nil
}
