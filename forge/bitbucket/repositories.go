package bitbucket

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
)

type repository struct {
	UUID     string `json:"uuid"`
	FullName string `json:"full_name"`
	// Private is a pointer because what leaves it out must not pass for public.
	Private    *bool   `json:"is_private"`
	MainBranch *branch `json:"mainbranch"` // null in an empty repository
}

type branch struct {
	Name string `json:"name"`
}

func (r repository) mainBranch() string {
	if r.MainBranch == nil {
		return ""
	}
	return r.MainBranch.Name
}

func (p *port) repository(op string, r repository) (forge.Repository, error) {
	return p.NewRepository(op, uuid(r.UUID), r.FullName, forge.Repository{
		Default: r.mainBranch(), Private: r.Private == nil || *r.Private,
	})
}

// workspace is the answer of /user/workspaces: that the caller is in a workspace.
type workspace struct {
	Workspace struct {
		UUID string `json:"uuid"`
	} `json:"workspace"`
}

// Repositories lists what the account was given access to, workspace by workspace, 100 to a page: since the requests across
// workspaces were removed in April 2026 (changelog, CHANGE-2770) there is no other way. Archived repositories are not known
// to Bitbucket Cloud. (Bitbucket Cloud REST API: Workspaces, List workspaces for the current user; Repositories, List repositories
// in a workspace)
func (p *port) Repositories(ctx context.Context, query forge.RepositoryQuery) iter.Seq2[forge.Repository, error] {
	const op = "repositories"
	return func(yield func(forge.Repository, error) bool) {
		for in, err := range forge.BodyPages[workspace](ctx, p.Caller, op, "/user/workspaces?pagelen=100") {
			id := uuid(in.Workspace.UUID)
			if err == nil && id == "" {
				err = p.Fail(op, fmt.Errorf("%w (its answer names no workspace)", forge.ErrUnavailable))
			}
			if err != nil {
				yield(forge.Repository{}, err)
				return
			}
			list := "/repositories/" + url.PathEscape(id) + "?pagelen=100&role=member"
			for r, err := range forge.BodyPages[repository](ctx, p.Caller, op, list) {
				var out forge.Repository
				if err == nil {
					out, err = p.repository(op, r)
				}
				if err == nil && !query.Admits(out) {
					continue
				}
				if !yield(out, err) || err != nil {
					return
				}
			}
		}
	}
}

// below is where a repository is in the API. A UUID alone names it in an empty workspace, {}, without a question where it is.
// (Bitbucket Cloud REST API: Introduction, Universally Unique Identifier)
func (p *port) below(op string, ref forge.RepositoryRef) (string, error) {
	if err := ref.Check(); err != nil {
		return "", p.Fail(op, err)
	}
	if ref.ID != "" {
		if err := checkUUID(ref.ID); err != nil {
			return "", p.Fail(op, err)
		}
		return "/repositories/%7B%7D/" + url.PathEscape(ref.ID), nil
	}
	owner, name, err := ref.OwnerAndName()
	if err != nil {
		return "", p.Fail(op, err)
	}
	return "/repositories/" + url.PathEscape(owner) + "/" + url.PathEscape(name), nil
}

// locate asks where a repository is.
func (p *port) locate(ctx context.Context, op, below string) (forge.Repository, error) {
	is, _, err := p.withMainBranch(ctx, op, below)
	return is, err
}

// withMainBranch is locate, and the main branch by the name that Bitbucket knows it by: that of a [forge.Repository] is cleaned.
// It is empty in an empty repository.
func (p *port) withMainBranch(ctx context.Context, op, below string) (is forge.Repository, main string, err error) {
	r, err := forge.Get[repository](ctx, p.Caller, op, below)
	if err == nil {
		is, err = p.repository(op, r)
	}
	return is, r.mainBranch(), err
}

// path is the workspace and name of a repository, asked for where the reference does not have it.
func (p *port) path(ctx context.Context, op, below string, ref forge.RepositoryRef) (string, error) {
	if ref.ID == "" {
		return ref.Path, nil
	}
	r, err := p.locate(ctx, op, below)
	return r.Path, err
}

// Repository implements [forge.Port]. A former path is not found. (Bitbucket Cloud REST API: Repositories, Get a repository)
func (p *port) Repository(ctx context.Context, ref forge.RepositoryRef) (forge.Repository, error) {
	const op = "repository"
	below, err := p.below(op, ref)
	if err != nil {
		return forge.Repository{}, err
	}
	return p.locate(ctx, op, below)
}

// entry is what lies at a path of a commit.
type entry struct {
	Type       string   `json:"type"`
	Size       int64    `json:"size"`
	Attributes []string `json:"attributes"`
}

// File implements [forge.Port]. Names of branches and tags, which may hold slashes, are resolved to a commit first; then
// Bitbucket is asked what lies there, since a directory is answered with a list and a submodule with a hash, as if that were the
// file's content. What Git LFS keeps is redirected to another host, which is [forge.ErrDestination]. (Bitbucket Cloud REST
// API: Source, Get file or directory contents)
func (p *port) File(ctx context.Context, in forge.RepositoryRef, path, revision string) (forge.File, error) {
	const op = "file"
	below, err := p.below(op, in)
	if err == nil {
		err = p.Fail(op, forge.CheckFilePath(path))
	}
	if err == nil {
		err = p.Fail(op, forge.CheckRevision(revision))
	}
	if err != nil {
		return forge.File{}, err
	}
	commit, err := p.resolve(ctx, op, below, revision)
	if err != nil {
		return forge.File{}, err
	}
	at := below + "/src/" + commit + "/" + forge.EscapePath(path)
	found, err := forge.Get[entry](ctx, p.Caller, op, at+"?format=meta")
	switch {
	case err != nil:
		return forge.File{}, err
	case found.Type != "commit_file", slices.Contains(found.Attributes, "subrepository"):
		return forge.File{}, p.Fail(op, forge.ErrNotFound)
	case found.Size > forge.MaxFile:
		return forge.File{}, p.Fail(op, forge.ErrTooLarge)
	}
	content, _, err := p.Raw(ctx, op, at, "*/*", forge.MaxFile)
	switch {
	case err != nil:
		return forge.File{}, err
	case int64(len(content)) != found.Size:
		return forge.File{}, p.nonsense(op, "is not the file that it has announced")
	}
	return forge.File{Path: path, Revision: revision, Content: content}, nil
}

var (
	fullHash  = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	shortHash = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
)

// ref is a branch or a tag.
type ref struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Target struct {
		Hash string `json:"hash"`
	} `json:"target"`
}

// resolve returns the commit that a revision names; none is the main branch. A branch counts before a tag of the same name.
// (Bitbucket Cloud REST API: Refs, List branches and tags)
func (p *port) resolve(ctx context.Context, op, below, revision string) (string, error) {
	name := revision
	if name == "" {
		_, main, err := p.withMainBranch(ctx, op, below)
		if err != nil {
			return "", err
		}
		if name = main; name == "" {
			return "", p.Fail(op, forge.ErrNotFound)
		}
	}
	if fullHash.MatchString(name) {
		return name, nil
	}
	commit, query := "", url.Values{"q": {"name=" + quoted(name)}, "pagelen": {"100"}}
	for r, err := range forge.BodyPages[ref](ctx, p.Caller, op, below+"/refs?"+query.Encode()) {
		switch {
		case err != nil:
			return "", err
		case r.Name != name || !fullHash.MatchString(r.Target.Hash):
		case commit == "", r.Type == "branch":
			commit = r.Target.Hash
		}
	}
	switch {
	case commit != "":
		return commit, nil
	case shortHash.MatchString(name):
		return name, nil
	}
	return "", p.Fail(op, forge.ErrNotFound)
}

// quoted writes a string for Bitbucket's query language (Bitbucket Cloud REST API: Introduction, Filtering).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
