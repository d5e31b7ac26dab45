package gitea

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
)

// errMismatch is what [forge.Caller.Fail] is given for an answer about something else than what was asked.
var errMismatch = errors.New("gitea: the answer is about something else")

type repository struct {
	ID            int64  `json:"id"`
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
	Internal      bool   `json:"internal"`
	Archived      bool   `json:"archived"`
	HasIssues     *bool  `json:"has_issues"`
}

// repository makes a repository of an answer.
func (p *port) repository(op string, r repository) (forge.Repository, error) {
	return p.NewRepository(op, forge.Number(r.ID), r.FullName, forge.Repository{
		Default: r.DefaultBranch, Private: r.Private || r.Internal, Archived: r.Archived,
	})
}

// Repositories lists what the account owns or is a member of, 50 to a page, which is the most that both forges give
// unless configured otherwise (Gitea API: List the repos that the authenticated user owns).
func (p *port) Repositories(ctx context.Context, query forge.RepositoryQuery) iter.Seq2[forge.Repository, error] {
	const op = "repositories"
	return func(yield func(forge.Repository, error) bool) {
		for r, err := range forge.Pages[repository](ctx, p.Caller, op, "/user/repos?limit=50") {
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

// Repository implements [forge.Port] (Gitea API: Get a repository, Get a repository by id). A path from before a repository
// or its owner was renamed leads to it by a redirect, until somebody takes that name.
func (p *port) Repository(ctx context.Context, ref forge.RepositoryRef) (forge.Repository, error) {
	const op = "repository"
	r, err := p.lookUp(ctx, op, ref)
	if err != nil {
		return forge.Repository{}, err
	}
	return p.repository(op, r)
}

// lookUp asks for a repository. Whatever is done below it is addressed by its path.
func (p *port) lookUp(ctx context.Context, op string, ref forge.RepositoryRef) (repository, error) {
	path, err := address(ref)
	if err != nil {
		return repository{}, p.Fail(op, err)
	}
	r, err := forge.Get[repository](ctx, p.Caller, op, path)
	if err == nil && (r.ID <= 0 || ref.ID != "" && forge.Number(r.ID) != ref.ID) {
		err = p.Fail(op, errMismatch)
	}
	return r, err
}

// address is where the API has a repository, checked before anything is sent.
func address(ref forge.RepositoryRef) (string, error) {
	if err := ref.Check(); err != nil {
		return "", err
	}
	if ref.ID != "" {
		id, err := strconv.ParseInt(ref.ID, 10, 64)
		if err != nil || forge.Number(id) != ref.ID {
			return "", fmt.Errorf("%w (a repository's id is a positive number at this kind of forge)", forge.ErrInvalid)
		}
		return "/repositories/" + ref.ID, nil
	}
	return below(ref.Path)
}

// below is the address of a repository's path.
func below(path string) (string, error) {
	owner, name, err := forge.RepositoryRef{Path: path}.OwnerAndName()
	if err != nil {
		return "", err
	}
	return "/repos/" + url.PathEscape(owner) + "/" + url.PathEscape(name), nil
}

// place is where the things of a repository are: at, escaped, below the API base.
type place struct {
	at, path string
	known    *repository // what was asked to find it, nil where the path was given
}

// find returns where a repository's things are. One named by its id costs a request; a path is taken as it is.
func (p *port) find(ctx context.Context, op string, ref forge.RepositoryRef) (place, error) {
	if ref.ID == "" {
		at, err := address(ref)
		return place{at: at, path: ref.Path}, p.Fail(op, err)
	}
	r, err := p.lookUp(ctx, op, ref)
	if err != nil {
		return place{}, err
	}
	at, err := below(r.FullName)
	if err != nil || (forge.RepositoryRef{Path: r.FullName}).Check() != nil {
		return place{}, p.Fail(op, errMismatch)
	}
	return place{at: at, path: r.FullName, known: &r}, nil
}

// repository is what the forge says of the repository, asked for if it was not yet.
func (l *place) repository(ctx context.Context, p *port, op string) (*repository, error) {
	if l.known == nil {
		r, err := p.lookUp(ctx, op, forge.RepositoryRef{Path: l.path})
		if err != nil {
			return nil, err
		}
		l.known = &r
	}
	return l.known, nil
}

type file struct {
	Type     string  `json:"type"`
	Size     int64   `json:"size"`
	Encoding string  `json:"encoding"`
	Content  string  `json:"content"`
	Target   *string `json:"target"`
}

// fileAnswer bounds the answer that holds a file: its content in base64, and what is said about it.
const fileAnswer = (forge.MaxFile+2)/3*4 + 256<<10

// File reads a file by the contents endpoint (Gitea API: Gets the metadata and contents of an entry in a repository). The raw
// endpoint would save a third of the bytes, but it is no way to read a revision: Gitea answers one that it does not find with
// the file of the default branch, and takes the beginning of a path for the rest of a branch's name if there is such a branch.
// A symbolic link's content is its target, as Git has it, and a file in Git LFS is its pointer. An instance that keeps content
// back that is smaller than [forge.MaxFile] (its DEFAULT_MAX_BLOB_SIZE) makes it [forge.ErrTooLarge].
func (p *port) File(ctx context.Context, in forge.RepositoryRef, path, revision string) (forge.File, error) {
	const op = "file"
	if err := cmp.Or(forge.CheckFilePath(path), forge.CheckRevision(revision)); err != nil {
		return forge.File{}, p.Fail(op, err)
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return forge.File{}, err
	}
	at := l.at + "/contents/" + forge.EscapePath(path)
	if revision != "" {
		at += "?ref=" + url.QueryEscape(revision)
	}
	answer, _, err := p.Raw(ctx, op, at, "application/json", fileAnswer)
	if err != nil {
		return forge.File{}, err
	}
	content, err := readFile(answer)
	if err != nil {
		return forge.File{}, p.Fail(op, err)
	}
	return forge.File{Path: path, Revision: revision, Content: content}, nil
}

// readFile returns the content of a file. A directory's answer is a list, and that of anything in an empty repository may be one.
func readFile(answer []byte) ([]byte, error) {
	if strings.HasPrefix(strings.TrimSpace(string(answer[:min(len(answer), 16)])), "[") {
		return nil, forge.ErrNotFound
	}
	var f file
	if json.Unmarshal(answer, &f) != nil {
		return nil, errMismatch
	}
	switch {
	case f.Type == "symlink" && f.Target != nil:
		return []byte(*f.Target), nil
	case f.Type == "dir", f.Type == "submodule":
		return nil, forge.ErrNotFound
	case f.Type != "file", f.Size < 0:
		return nil, errMismatch
	case f.Size > forge.MaxFile:
		return nil, forge.ErrTooLarge
	}
	content, err := base64.StdEncoding.DecodeString(f.Content)
	if err != nil || f.Encoding != "base64" && f.Size > 0 && f.Content != "" {
		return nil, errMismatch
	}
	if int64(len(content)) == f.Size {
		return content, nil
	}
	if len(content) == 0 {
		return nil, forge.ErrTooLarge // kept back
	}
	return nil, errMismatch
}
