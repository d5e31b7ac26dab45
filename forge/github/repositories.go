package github

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/go-github/v92/github"

	"github.com/forgeauth/forgeauth/forge"
)

// errAnswer is turned by [forge.Caller.Fail] into what it says of every answer that makes no sense.
var errAnswer = errors.New("not what GitHub documents")

// pages yields a list page by page, 100 entries to a page. After an error, always a *[forge.Error], it ends.
func pages[T any](p *port, op string, list func(*github.Client, github.ListOptions) ([]T, *github.Response, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		client, err := p.client(p.SDKClient())
		if err != nil {
			yield(none, p.Fail(op, err))
			return
		}
		options := github.ListOptions{Page: 1, PerPage: 100}
		for {
			page, resp, err := list(client, options)
			if err != nil {
				yield(none, p.Fail(op, err))
				return
			}
			for _, entry := range page {
				if !yield(entry, nil) {
					return
				}
			}
			next, err := p.Next(resp.Response)
			switch {
			case err != nil:
				yield(none, p.Fail(op, err))
				return
			case next == "":
				return
			case resp.NextPage <= options.Page || resp.NextPage > forge.MaxPages:
				yield(none, p.Fail(op, forge.ErrEndlessPages))
				return
			}
			options.Page = resp.NextPage
		}
	}
}

// Repositories lists what the account owns, collaborates on or sees through an organization (GitHub Docs: List repositories
// for the authenticated user). GitHub cannot search in that list: the query is applied to what comes.
func (p *port) Repositories(ctx context.Context, query forge.RepositoryQuery) iter.Seq2[forge.Repository, error] {
	const op = "repositories"
	return func(yield func(forge.Repository, error) bool) {
		list := func(client *github.Client, o github.ListOptions) ([]*github.Repository, *github.Response, error) {
			return client.Repositories.ListByAuthenticatedUser(ctx, &github.RepositoryListByAuthenticatedUserOptions{ListOptions: o})
		}
		for r, err := range pages(p, op, list) {
			if err != nil {
				yield(forge.Repository{}, err)
				return
			}
			out, err := p.repository(op, r)
			if err == nil && !query.Admits(out) {
				continue
			}
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

func (p *port) repository(op string, r *github.Repository) (forge.Repository, error) {
	return p.NewRepository(op, forge.Number(r.GetID()), r.GetFullName(), forge.Repository{
		Default: r.GetDefaultBranch(), Private: r.GetPrivate(), Archived: r.GetArchived(),
	})
}

// Repository implements [forge.Port] (GitHub Docs: Get a repository). GitHub redirects from a former path. The endpoint by id is
// the one that it redirects to; it is not among those documented.
func (p *port) Repository(ctx context.Context, in forge.RepositoryRef) (forge.Repository, error) {
	const op = "repository"
	found, err := p.find(ctx, op, in)
	if err != nil {
		return forge.Repository{}, err
	}
	return p.repository(op, found)
}

func (p *port) find(ctx context.Context, op string, in forge.RepositoryRef) (*github.Repository, error) {
	id, owner, name, err := p.read(in)
	if err != nil {
		return nil, p.Fail(op, err)
	}
	client, err := p.client(p.SDKClient())
	if err != nil {
		return nil, p.Fail(op, err)
	}
	var found *github.Repository
	if id != 0 {
		found, _, err = client.Repositories.GetByID(ctx, id)
	} else {
		found, _, err = client.Repositories.Get(ctx, url.PathEscape(owner), url.PathEscape(name))
	}
	switch {
	case err != nil:
		return nil, p.Fail(op, err)
	case id != 0 && found.GetID() != id:
		return nil, p.Fail(op, errAnswer)
	}
	return found, nil
}

// read takes a reference apart into an id, or an owner and a name where it has none.
func (p *port) read(in forge.RepositoryRef) (id int64, owner, name string, err error) {
	if err := in.Check(); err != nil {
		return 0, "", "", err
	}
	if in.ID == "" {
		owner, name, err = in.OwnerAndName()
		return 0, owner, name, err
	}
	id, err = readID(in.ID)
	return id, "", "", err
}

// readID reads an id: at GitHub they all are numbers.
func readID(id string) (int64, error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil || forge.Number(number) != id {
		return 0, forge.ErrInvalid
	}
	return number, nil
}

// place is where a repository is.
type place struct {
	path string
	// owner and name are escaped: the library puts them into addresses as they are.
	owner, name string
}

// locate says where a repository is, and asks GitHub if it is named by its id.
func (p *port) locate(ctx context.Context, op string, in forge.RepositoryRef) (place, error) {
	if in.ID != "" {
		found, err := p.find(ctx, op, in)
		if err != nil {
			return place{}, err
		}
		in = forge.RepositoryRef{Path: found.GetFullName()}
		if in.Check() != nil {
			return place{}, p.Fail(op, errAnswer)
		}
	}
	_, owner, name, err := p.read(in)
	if err != nil {
		return place{}, p.Fail(op, err)
	}
	return place{path: in.Path, owner: url.PathEscape(owner), name: url.PathEscape(name)}, nil
}

// File implements [forge.Port] (GitHub Docs: Get repository content) with the raw media type, which serves files of up to 100 MB
// and what a symbolic link leads to. A directory, a submodule and a link to neither file are JSON all the same.
func (p *port) File(ctx context.Context, in forge.RepositoryRef, path, revision string) (forge.File, error) {
	const op = "file"
	if err := cmp.Or(forge.CheckFilePath(path), forge.CheckRevision(revision)); err != nil {
		return forge.File{}, p.Fail(op, err)
	}
	at, err := p.locate(ctx, op, in)
	if err != nil {
		return forge.File{}, err
	}
	address := "/repos/" + at.owner + "/" + at.name + "/contents/" + forge.EscapePath(path)
	if revision != "" {
		address += "?ref=" + url.QueryEscape(revision)
	}
	content, header, err := p.Raw(ctx, op, address, "application/vnd.github.raw+json", forge.MaxFile)
	if err != nil {
		return forge.File{}, err
	}
	if err := isContent(header, content); err != nil {
		return forge.File{}, p.Fail(op, err)
	}
	return forge.File{Path: path, Revision: revision, Content: content}, nil
}

// isContent tells a file from what GitHub, or a proxy before it, answers in its place.
func isContent(header http.Header, content []byte) error {
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	var entries []struct{}
	var entry struct {
		Type string `json:"type"`
	}
	switch {
	case err == nil && strings.HasPrefix(media, "application/vnd.github.") && strings.Contains(media, "raw"):
		return nil
	case media != "application/json":
	case json.Unmarshal(content, &entries) == nil && entries != nil:
		return forge.ErrNotFound
	case json.Unmarshal(content, &entry) == nil && (entry.Type == "dir" || entry.Type == "submodule" || entry.Type == "symlink"):
		return forge.ErrNotFound
	}
	return errAnswer
}
