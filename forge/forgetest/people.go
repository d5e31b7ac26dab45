package forgetest

// Submodule mounts another repository at a path of a repository.
func (f *Forge) Submodule(repository int64, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	f.ledger.contents(*r).submodules[path] = true
}

// Head returns the commit that a branch is at, empty if there is no such branch.
func (f *Forge) Head(repository int64, branch string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	return f.ledger.contents(*r).branches[branch]
}

// OpenChange proposes a branch of a repository as the user, or as an account that is gone by now if login is empty, and returns
// the change's number.
func (f *Forge) OpenChange(repository int64, login, title, source, target string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	c := f.ledger.contents(*r)
	number := c.nextChange(f.config.Dialect)
	c.changes[number] = &change{
		issue:  issue{number: number, title: title, open: true, author: f.authorID(login), created: f.ledger.now()},
		source: source, target: target,
	}
	return number
}

// nextChange counts a change, with the issues or apart, as the kind of forge does.
func (c *contents) nextChange(d Dialect) int64 {
	if d.countsApart() {
		c.changeNumber++
		return c.changeNumber
	}
	c.number++
	return c.number
}

// countsApart reports whether issues and changes have numbers of their own.
func (d Dialect) countsApart() bool { return d == GitLab || d == Bitbucket }

// DeleteSource deletes the repository that a change comes from, which is not the one it is proposed to.
func (f *Forge) DeleteSource(repository, number int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, r := f.byID(repository)
	f.ledger.contents(*r).changes[number].sourceGone = true
}

func (f *Forge) authorID(login string) int64 {
	if login == "" {
		return 0
	}
	return f.ledger.userByLogin(login).ID
}

// addHook keeps a webhook that was made through the API. [Forge.mu] must be held.
func (f *Forge) addHook(c *contents, h hook) *hook {
	h.id = f.ledger.nextID()
	c.hooks[h.id] = &h
	f.ledger.record(WebhookSecretIssue, h.secret)
	return &h
}

// headOf returns the commit that a change proposes; of a change whose branch is gone, the last one there was.
func (c *contents) headOf(at *change) string {
	if commit := c.branches[at.source]; commit != "" {
		at.head = commit
	}
	return at.head
}
