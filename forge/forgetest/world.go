package forgetest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// contents is what a repository holds, in no forge's shape: the dialects write it in theirs. It belongs to the ledger and is
// guarded by [Forge.mu].
type contents struct {
	// trees are files by path, by commit. A file's content is never changed in place.
	trees    map[string]map[string][]byte
	branches map[string]string // commit by branch
	tags     map[string]string // commit by tag
	// submodules are paths, in every commit, at which another repository is mounted.
	submodules map[string]bool
	issues     map[int64]*issue
	changes    map[int64]*change
	statuses   map[string][]status // by commit, in the order of arrival
	hooks      map[int64]*hook
	// number is the last number of an issue or a change, counted together; GitLab and Bitbucket count changes apart.
	number, changeNumber int64
	// formerPaths still lead here: owner/name before it was renamed.
	formerPaths []string
}

type issue struct {
	number      int64
	title, body string
	open        bool
	author      int64 // id of a user, 0 for one that is gone
	created     time.Time
	comments    []comment
}

type change struct {
	issue

	source, target string // branches
	head           string // the last commit that was seen on the source
	draft, merged  bool
	sourceGone     bool // the repository of the source was deleted
}

type comment struct {
	id      int64
	author  int64
	body    string
	created time.Time
}

type status struct {
	context, state, description, target string
	author                              int64
}

type hook struct {
	id          int64
	url, secret string
	events      []string // as the dialect calls them
	active      bool
	form        bool // sends a form in the place of JSON
	unverified  bool // does not look at the receiver's certificate
}

// contents returns what a repository holds; it exists from the first look on, with one commit on the default branch.
func (l *ledger) contents(r Repository) *contents {
	c := l.repositories[r.ID]
	if c == nil {
		c = &contents{
			trees: map[string]map[string][]byte{}, branches: map[string]string{}, tags: map[string]string{},
			submodules: map[string]bool{},
			issues:     map[int64]*issue{}, changes: map[int64]*change{}, statuses: map[string][]status{}, hooks: map[int64]*hook{},
		}
		if !r.Empty {
			c.commit(r.DefaultBranch, "README.md", []byte("# "+r.Name+"\n"))
		}
		l.repositories[r.ID] = c
	}
	return c
}

// commit puts a file on a branch, which begins empty if there is none of that name, and returns the new commit.
func (c *contents) commit(branch, path string, content []byte) string {
	tree := maps.Clone(c.trees[c.branches[branch]])
	if tree == nil {
		tree = map[string][]byte{}
	}
	tree[path] = slices.Clone(content)
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %x %d", branch, path, sha256.Sum256(content), len(c.trees)))
	commit := hex.EncodeToString(sum[:20])
	c.trees[commit], c.branches[branch] = tree, commit
	return commit
}

// resolve returns the commit that a revision names: a branch, a tag or a full hash; empty for none.
func (c *contents) resolve(revision string) string {
	if commit, ok := c.branches[revision]; ok {
		return commit
	}
	if commit, ok := c.tags[revision]; ok {
		return commit
	}
	if _, ok := c.trees[revision]; ok {
		return revision
	}
	return ""
}

// file returns a file, or whether the path is a directory of that commit; a submodule is one as well.
func (c *contents) file(commit, path string) (content []byte, found, isDirectory bool) {
	tree := c.trees[commit]
	if content, found = tree[path]; found {
		return content, true, false
	}
	if c.submodules[path] {
		return nil, false, true
	}
	for name := range tree {
		if path == "" || strings.HasPrefix(name, path+"/") {
			return nil, false, true
		}
	}
	return nil, false, false
}

// openChange is the open change for two branches, or nil.
func (c *contents) openChange(source, target string) *change {
	for _, at := range c.changes {
		if at.open && at.source == source && at.target == target {
			return at
		}
	}
	return nil
}

// repository finds a repository that a caller can see, by id.
func (who caller) repository(id int64) (Repository, bool) {
	i := slices.IndexFunc(who.user.Repositories, func(r Repository) bool { return r.ID == id })
	if i < 0 {
		return Repository{}, false
	}
	return who.user.Repositories[i], true
}

// repositoryAt finds a repository that a caller can see by its path, without regard to case, as all forges do. If it is a
// former path, moved is true.
func (f *Forge) repositoryAt(who caller, path string) (found Repository, moved, ok bool) {
	for _, r := range who.user.Repositories {
		if strings.EqualFold(who.ownerOf(r)+"/"+r.Name, path) {
			return r, false, true
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range who.user.Repositories {
		c := f.ledger.repositories[r.ID]
		if c != nil && slices.ContainsFunc(c.formerPaths, func(former string) bool { return strings.EqualFold(former, path) }) {
			return r, true, true
		}
	}
	return Repository{}, false, false
}

// inside runs a function on what a repository holds, with the ledger locked. The function must not block.
func (f *Forge) inside(r Repository, do func(*contents)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.ledger.contents(r))
}

// The methods below are what people do at a forge. They panic where a test names what is not there.

// byID finds a repository whoever sees it. [Forge.mu] must be held.
func (f *Forge) byID(repository int64) (*User, *Repository) {
	for _, u := range f.ledger.users {
		for i := range u.Repositories {
			if u.Repositories[i].ID == repository {
				return u, &u.Repositories[i]
			}
		}
	}
	panic(fmt.Sprintf("forgetest: there is no repository %d", repository))
}

// Commit puts a file on a branch of a repository, and returns the hash of the commit.
func (f *Forge) Commit(repository int64, branch, path string, content []byte) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	return f.ledger.contents(*r).commit(branch, path, content)
}

// Tag names a commit.
func (f *Forge) Tag(repository int64, tag, commit string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	f.ledger.contents(*r).tags[tag] = commit
}

// OpenIssue opens an issue as the user, or as an account that is gone by now if login is empty, and returns its number.
func (f *Forge) OpenIssue(repository int64, login, title, body string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	c := f.ledger.contents(*r)
	c.number++
	c.issues[c.number] = &issue{
		number: c.number, title: title, body: body, open: true, author: f.authorID(login), created: f.ledger.now(),
	}
	return c.number
}

// CloseIssue closes an issue.
func (f *Forge) CloseIssue(repository, number int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	f.ledger.contents(*r).issues[number].open = false
}

// MergeChange merges an open change, and CloseChange closes it without.
func (f *Forge) MergeChange(repository, number int64) { f.endChange(repository, number, true) }

// CloseChange closes an open change without merging it.
func (f *Forge) CloseChange(repository, number int64) { f.endChange(repository, number, false) }

func (f *Forge) endChange(repository, number int64, merged bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	at := f.ledger.contents(*r).changes[number]
	at.open, at.merged = false, merged
}

// RenameRepository gives a repository another name. The former path leads to it for as long as nobody takes it.
func (f *Forge) RenameRepository(repository int64, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, r := f.byID(repository)
	owner := r.Owner
	if owner == "" {
		owner = u.Login
	}
	c := f.ledger.contents(*r)
	c.formerPaths = append(c.formerPaths, owner+"/"+r.Name)
	r.Name = name
}

// Note is a comment as a person sees it.
type Note struct{ Author, Body string }

// Comments returns the comments on an issue or a change.
func (f *Forge) Comments(repository, number int64, onChange bool) []Note {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	c := f.ledger.contents(*r)
	var from []comment
	if onChange {
		from = c.changes[number].comments
	} else {
		from = c.issues[number].comments
	}
	var notes []Note
	for _, n := range from {
		notes = append(notes, Note{f.ledger.userByID(n.author).Login, n.body})
	}
	return notes
}

// Check is a status of a commit as a person sees it.
type Check struct{ Context, State, Description, Target string }

// Checks returns the statuses of a commit, the last of each context, in the order in which the contexts came up.
func (f *Forge) Checks(repository int64, commit string) []Check {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	var checks []Check
	for _, s := range f.ledger.contents(*r).statuses[commit] {
		check := Check{s.context, s.state, s.description, s.target}
		if i := slices.IndexFunc(checks, func(c Check) bool { return c.Context == s.context }); i >= 0 {
			checks[i] = check
			continue
		}
		checks = append(checks, check)
	}
	return checks
}

// Webhook is a webhook as the forge keeps it.
type Webhook struct {
	ID          int64
	URL, Secret string
	Events      []string // as the dialect calls them, sorted
	Active      bool
	// Form: deliveries are forms and not JSON. Unverified: the receiver's certificate is not looked at.
	Form, Unverified bool
}

// Webhooks returns the webhooks of a repository, by id.
func (f *Forge) Webhooks(repository int64) []Webhook {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	c := f.ledger.contents(*r)
	var hooks []Webhook
	for _, id := range slices.Sorted(maps.Keys(c.hooks)) {
		h := c.hooks[id]
		hooks = append(hooks, Webhook{
			ID: h.id, URL: h.url, Secret: h.secret, Events: slices.Sorted(slices.Values(h.events)), Active: h.active,
			Form: h.form, Unverified: h.unverified,
		})
	}
	return hooks
}

// AddWebhook makes a webhook behind the back of everybody, and RemoveWebhook removes one.
func (f *Forge) AddWebhook(repository int64, w Webhook) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	id := f.ledger.nextID()
	f.ledger.contents(*r).hooks[id] = &hook{
		id: id, url: w.URL, secret: w.Secret, events: slices.Clone(w.Events), active: w.Active, form: w.Form, unverified: w.Unverified,
	}
	f.ledger.record(WebhookSecretIssue, w.Secret)
	return id
}

// RemoveWebhook removes a webhook.
func (f *Forge) RemoveWebhook(repository, id int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	delete(f.ledger.contents(*r).hooks, id)
}
