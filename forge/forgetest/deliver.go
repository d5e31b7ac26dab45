package forgetest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

// Happening is something that happened at a repository and that its webhooks are told of. What it names must be there.
type Happening struct {
	// Event is what happened, [forge.HookOther] for something that package forge has no name for.
	Event forge.HookEvent
	// Login is who did it; empty is the account that has the repository.
	Login string
	// Number is that of the issue or change; the change's if OnChange, which a [forge.HookComment] needs. A comment is the last
	// one there, or one that nobody has written where there is none.
	Number   int64
	OnChange bool
	// Branch is where commits were pushed to; empty is the default branch.
	Branch string
}

// Delivery is one request to a webhook, signed with the webhook's secret. It can be sent again, as the same delivery.
type Delivery struct {
	Hook   int64
	URL    string
	Header http.Header
	Body   []byte
	// Status is what was answered; zero if it was not sent, or got no answer.
	Status int
}

// happening is a [Happening] with what it names, copied out of the ledger: a dialect writes it down without any lock.
type happening struct {
	Happening

	hook       hook
	id         string // of the delivery, a UUID
	root       string // the forge's web root
	who        caller // who did it, with the repositories of the account that has this one
	repository Repository
	at         time.Time

	issue   *issue // for an issue, and a comment on one
	change  *change
	head    string // the commit that a change proposes, or that was pushed
	comment comment
	commit  pushed
}

// pushed is a branch that has moved.
type pushed struct{ branch, before, after string }

// deliverer is the part of a dialect that tells webhooks what happened.
type deliverer interface {
	// hears reports whether a webhook with these events, as the dialect calls them, is told of it. Pings reach all.
	hears(events []string, what happening) bool
	// delivery writes the request's header, with the signature, and its body.
	delivery(what happening) (http.Header, []byte)
}

// Deliver tells the webhooks of a repository what happened, those that are active and subscribed to it, and returns the
// deliveries in the order of their webhooks. The error is about those that got no answer.
func (f *Forge) Deliver(ctx context.Context, repository int64, what Happening) ([]Delivery, error) {
	var deliveries []Delivery
	var failed []error
	for _, event := range f.happenings(repository, what) {
		if !event.hook.active || what.Event != forge.HookPing && !f.dialect.hears(event.hook.events, event) {
			continue
		}
		delivery := f.write(event)
		err := delivery.Send(ctx)
		deliveries, failed = append(deliveries, delivery), append(failed, err)
	}
	return deliveries, errors.Join(failed...)
}

// Delivery writes what a webhook would be told, whatever it is subscribed to, and does not send it.
func (f *Forge) Delivery(repository, webhook int64, what Happening) Delivery {
	for _, event := range f.happenings(repository, what) {
		if event.hook.id == webhook {
			return f.write(event)
		}
	}
	panic(fmt.Sprintf("forgetest: repository %d has no webhook %d", repository, webhook))
}

// Request returns the delivery as a request.
func (d *Delivery) Request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.Body))
	if err != nil {
		return nil, fmt.Errorf("forgetest: webhook %d: %w", d.Hook, err)
	}
	req.Header = d.Header.Clone()
	return req, nil
}

// Send sends the delivery and notes the status that it is answered with. Like forges do, it follows no redirect.
func (d *Delivery) Send(ctx context.Context) error {
	req, err := d.Request(ctx)
	if err != nil {
		return err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	d.Status = 0
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("forgetest: webhook %d: %w", d.Hook, err)
	}
	d.Status = resp.StatusCode
	_, _ = io.Copy(io.Discard, resp.Body) // what a receiver says interests no forge
	_ = resp.Body.Close()
	return nil
}

func (f *Forge) write(what happening) Delivery {
	header, body := f.dialect.delivery(what)
	return Delivery{Hook: what.hook.id, URL: what.hook.url, Header: header, Body: body}
}

// happenings returns what happened once for each webhook of the repository.
func (f *Forge) happenings(repository int64, what Happening) []happening {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, r := f.byID(repository)
	c := f.ledger.contents(*r)
	event := happening{Happening: what, root: f.URL(), who: caller{user: *u}, repository: *r, at: f.ledger.now()}
	event.who.user.Repositories = slices.Clone(u.Repositories)
	if what.Login != "" {
		by := f.ledger.userByLogin(what.Login)
		event.who.user.ID, event.who.user.Login, event.who.user.Name = by.ID, by.Login, by.Name
	}
	if event.repository.Owner == "" {
		event.repository.Owner = u.Login
	}
	switch on := what.OnChange || what.Event == forge.HookChange; {
	case what.Number != 0 && on:
		at := *c.changes[what.Number]
		event.change, event.head = &at, c.headOf(&at)
		event.comment = lastComment(at.comments, event)
	case what.Number != 0:
		at := *c.issues[what.Number]
		event.issue, event.comment = &at, lastComment(at.comments, event)
	case what.Event == forge.HookPush:
		branch := what.Branch
		if branch == "" {
			branch = r.DefaultBranch
		}
		event.head = c.branches[branch]
		event.commit = pushed{branch: branch, before: noCommit, after: event.head}
	}
	var events []happening
	for _, id := range slices.Sorted(maps.Keys(c.hooks)) {
		event.hook, event.id = *c.hooks[id], newUUID()
		event.hook.events = slices.Clone(event.hook.events)
		events = append(events, event)
	}
	return events
}

// noCommit stands for what was not there before.
const noCommit = "0000000000000000000000000000000000000000"

func lastComment(all []comment, event happening) comment {
	if len(all) == 0 {
		return comment{id: 1, author: event.who.user.ID, body: "A comment", created: event.at}
	}
	return all[len(all)-1]
}

// signature is the HMAC-SHA-256 of a body in hexadecimal digits, which most forges sign deliveries with.
func signature(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write(body) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// newUUID returns a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
