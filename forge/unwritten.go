package forge

import (
	"context"
	"iter"
)

// What an adapter does not override it does not support.

func (c *Caller) Grant(context.Context) (Grant, error) {
	return Grant{}, c.Fail("grant", ErrUnsupported)
}

func (c *Caller) Repository(context.Context, RepositoryRef) (Repository, error) {
	return Repository{}, c.Fail("repository", ErrUnsupported)
}

func (c *Caller) File(context.Context, RepositoryRef, string, string) (File, error) {
	return File{}, c.Fail("file", ErrUnsupported)
}

func (c *Caller) Issue(context.Context, RepositoryRef, int64) (Issue, error) {
	return Issue{}, c.Fail("issue", ErrUnsupported)
}

func (c *Caller) Change(context.Context, RepositoryRef, int64) (Change, error) {
	return Change{}, c.Fail("change", ErrUnsupported)
}

func (c *Caller) Comment(context.Context, RepositoryRef, Subject, string) (Comment, error) {
	return Comment{}, c.Fail("comment", ErrUnsupported)
}

func (c *Caller) OpenChange(context.Context, RepositoryRef, NewChange) (Change, error) {
	return Change{}, c.Fail("open change", ErrUnsupported)
}

func (c *Caller) SetStatus(context.Context, RepositoryRef, string, Status) error {
	return c.Fail("set status", ErrUnsupported)
}

func (c *Caller) EnsureHook(context.Context, RepositoryRef, HookSpec) (Hook, error) {
	return Hook{}, c.Fail("ensure hook", ErrUnsupported)
}

func (c *Caller) Hooks(context.Context, RepositoryRef) iter.Seq2[Hook, error] {
	return func(yield func(Hook, error) bool) { yield(Hook{}, c.Fail("hooks", ErrUnsupported)) }
}

func (c *Caller) RemoveHook(context.Context, RepositoryRef, string) error {
	return c.Fail("remove hook", ErrUnsupported)
}

func (t *Transport) HookVerifier() HookVerifier { return nil }
