package forgetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// caller is who an API request acts for, copied out of the ledger.
type caller struct {
	user          User
	client, scope string
}

// caller judges an access token and returns whose it is.
func (f *Forge) caller(value string) (caller, verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, verdict := f.ledger.judge(value, f.traits.idleTTL)
	if verdict != living {
		return caller{}, verdict
	}
	user := *f.ledger.userByID(t.pair.user)
	user.Repositories = slices.Clone(user.Repositories)
	return caller{user: user, client: t.pair.client, scope: t.pair.scope}, living
}

func (c caller) ownerOf(repository Repository) string {
	if repository.Owner != "" {
		return repository.Owner
	}
	return c.user.Login
}

// ownerID invents an id for owners that are not accounts of this forge.
func (c caller) ownerID(repository Repository) int64 {
	if repository.Owner == "" || repository.Owner == c.user.Login {
		return c.user.ID
	}
	return 1_000_000 + repository.ID
}

func (c caller) fullName(repository Repository) string {
	return url.PathEscape(c.ownerOf(repository)) + "/" + url.PathEscape(repository.Name)
}

// payload lists what the forge writes as JSON, so that nothing else is written by mistake.
type payload interface {
	map[string]json.RawMessage | githubMessage | githubUser | []githubRepository | githubAuthorization |
		githubRepository | []githubContent | githubContent | githubIssue | githubPull | githubComment | githubStatus |
		githubHook | []githubHook | githubDelivery |
		giteaError | giteaMessage | giteaUser | []giteaRepository | giteaRepository | []giteaEmail | giteaToken |
		giteaContents | []giteaContents | giteaCommit | giteaStatus | giteaIssue | giteaComment | giteaPull | giteaHook | []giteaHook |
		giteaUserInfo | giteaIntrospection | giteaVersion | giteaSettings | []giteaNotification |
		bitbucketError | bitbucketFault | bitbucketToken | bitbucketAccount | bitbucketRepository | bitbucketEntry | bitbucketCommit |
		bitbucketPull | bitbucketComment | bitbucketStatus | bitbucketHook | bitbucketDelivery |
		bitbucketPage[bitbucketAccess] | bitbucketPage[bitbucketRepository] | bitbucketPage[bitbucketRef] | bitbucketPage[bitbucketEntry] |
		bitbucketPage[bitbucketPull] | bitbucketPage[bitbucketHook] |
		gitlabError | gitlabMessage | gitlabToken | gitlabUser | []gitlabProject | gitlabTokenInfo | gitlabEmpty |
		gitlabProject | gitlabProblem | gitlabFaults | gitlabReasons | gitlabIssue | gitlabNote | gitlabCommands |
		gitlabMergeRequest | gitlabStatus | gitlabDelivered | []map[string]json.RawMessage | gitlabDevice
}

// writeJSON writes one JSON value and a line break, as Go's forges and most others do.
func writeJSON[T payload](w http.ResponseWriter, status int, contentType string, value T) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(encode(value), '\n')) // fails only when the client has gone
}

func encode[T payload](value T) []byte {
	body, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("forgetest: encoding: %v", err)) // the payloads are plain structs
	}
	return body
}

// decodeBody reads a request's body as JSON; false for what is none. A [bodyValues] before it does not matter.
func decodeBody[T any](r *http.Request) (value T, ok bool) {
	body, err := io.ReadAll(r.Body)
	r.Body = rewound(body)
	return value, err == nil && json.Unmarshal(body, &value) == nil
}

// page is one window of a list, with pages counted from 1.
type page struct {
	number, size, last, total int
	from, to                  int
	sizeName                  string
}

// slicePage reads ?page and the size parameter; what is missing or senseless becomes the default, what is too large
// the maximum.
func slicePage(r *http.Request, sizeName string, size, maximum, total int) page {
	query := r.URL.Query()
	if n, err := strconv.Atoi(query.Get(sizeName)); err == nil && n > 0 {
		size = min(n, maximum)
	}
	number := 1
	if n, err := strconv.Atoi(query.Get("page")); err == nil && n > 0 {
		number = n
	}
	p := page{number: number, size: size, total: total, sizeName: sizeName, last: max(1, (total+size-1)/size)}
	p.from = min(total, (number-1)*size)
	p.to = min(total, p.from+size)
	return p
}

// links returns a Link header (RFC 8288) with the pages that there are, or the empty string for a list of one page.
// The addresses keep the request's path and parameters.
func (p page) links(root string, r *http.Request, separator string) string {
	if p.last == 1 {
		return ""
	}
	var links []string
	add := func(relation string, number int) {
		query := r.URL.Query()
		query.Set("page", strconv.Itoa(number))
		query.Set(p.sizeName, strconv.Itoa(p.size))
		links = append(links, fmt.Sprintf("<%s%s?%s>; rel=%q", root, r.URL.EscapedPath(), query.Encode(), relation))
	}
	if p.number < p.last {
		add("next", p.number+1)
		add("last", p.last)
	}
	if p.number > 1 {
		add("first", 1)
		add("prev", p.number-1)
	}
	return strings.Join(links, separator)
}
