package gitlab

import (
	"context"
	"iter"
	"net/url"

	"github.com/forgeauth/forgeauth/forge"
)

type project struct {
	ID                int64  `json:"id"`
	PathWithNamespace string `json:"path_with_namespace"`
	DefaultBranch     string `json:"default_branch"`
	Visibility        string `json:"visibility"`
	Archived          bool   `json:"archived"`
}

// Repositories lists the projects the account is a member of, by ascending id: keyset pagination, which neither skips
// nor repeats a project when others come and go meanwhile, and has no last page that GitLab refuses to count to. (GitLab
// docs: Projects API, list all projects.)
func (p *port) Repositories(ctx context.Context, query forge.RepositoryQuery) iter.Seq2[forge.Repository, error] {
	const op = "repositories"
	const first = "/projects?membership=true&order_by=id&pagination=keyset&per_page=100&sort=asc"
	return func(yield func(forge.Repository, error) bool) {
		for r, err := range forge.Pages[project](ctx, p.Caller, op, first) {
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

// Repository implements [forge.Port]. A path that the project had before still leads to it. (GitLab docs: Projects API,
// retrieve a project.)
func (p *port) Repository(ctx context.Context, in forge.RepositoryRef) (forge.Repository, error) {
	return p.lookUp(ctx, "repository", in)
}

func (p *port) lookUp(ctx context.Context, op string, in forge.RepositoryRef) (forge.Repository, error) {
	found, err := look[project](ctx, p, op, in, "")
	if err != nil {
		return forge.Repository{}, err
	}
	return p.repository(op, found)
}

func (p *port) repository(op string, r project) (forge.Repository, error) {
	return p.NewRepository(op, forge.Number(r.ID), r.PathWithNamespace, forge.Repository{
		Default: r.DefaultBranch, Private: r.Visibility != "public", Archived: r.Archived,
	})
}

// File implements [forge.Port]. Of a file in Git LFS the content is the pointer, as Git has it. Directories are 404 at GitLab;
// so are files of an empty repository, which has no default branch. (GitLab docs: Repository files API, retrieve a raw file.)
func (p *port) File(ctx context.Context, in forge.RepositoryRef, path, revision string) (forge.File, error) {
	const op = "file"
	at, err := p.path(op, in, "/repository/files/"+segment(path)+"/raw", forge.CheckFilePath(path), forge.CheckRevision(revision))
	if err != nil {
		return forge.File{}, err
	}
	if revision != "" {
		at += "?" + url.Values{"ref": {revision}}.Encode()
	}
	content, _, err := p.Raw(ctx, op, at, "*/*", forge.MaxFile)
	if err != nil {
		return forge.File{}, err
	}
	return forge.File{Path: path, Revision: revision, Content: content}, nil
}
