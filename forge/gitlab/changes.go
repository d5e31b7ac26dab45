package gitlab

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

type mergeRequest struct {
	IID             int64      `json:"iid"`
	Title           string     `json:"title"`
	Description     string     `json:"description"`
	State           string     `json:"state"`
	Draft           bool       `json:"draft"`
	SourceBranch    string     `json:"source_branch"`
	SourceProjectID int64      `json:"source_project_id"` // null for a fork that is gone
	TargetBranch    string     `json:"target_branch"`
	SHA             string     `json:"sha"`
	Author          user       `json:"author"`
	References      references `json:"references"`
	CreatedAt       time.Time  `json:"created_at"`
	UpdatedAt       time.Time  `json:"updated_at"`
}

// Change implements [forge.Port]. One that GitLab is merging at the moment (locked) is still open. (GitLab docs: Merge
// requests API, retrieve a merge request.)
func (p *port) Change(ctx context.Context, in forge.RepositoryRef, number int64) (forge.Change, error) {
	const op = "change"
	found, err := look[mergeRequest](ctx, p, op, in, below("merge_requests", number), forge.CheckNumber(number))
	if err != nil {
		return forge.Change{}, err
	}
	if found.IID != number {
		return forge.Change{}, p.Fail(op, errAnswer)
	}
	return p.change(op, in, found)
}

// OpenChange implements [forge.Port]. GitLab needs a target, so that without one there is a request more, for the default
// branch. Quick actions in the body are shown and not carried out. (GitLab docs: Merge requests API, create a merge request.)
func (p *port) OpenChange(ctx context.Context, in forge.RepositoryRef, proposed forge.NewChange) (forge.Change, error) {
	const op = "open change"
	if err := p.check(op, in.Check(), proposed.Check()); err != nil {
		return forge.Change{}, err
	}
	target := proposed.Target
	if target == "" {
		// That of a [forge.Repository] is cleaned, and may not be what GitLab calls it.
		found, err := look[project](ctx, p, op, in, "")
		if err != nil {
			return forge.Change{}, err
		}
		if found.ID <= 0 {
			return forge.Change{}, p.Fail(op, errAnswer)
		}
		if target = found.DefaultBranch; target == "" || target == proposed.Source {
			return forge.Change{}, p.Fail(op, fmt.Errorf("%w (there is no default branch, or that is the branch proposed)", forge.ErrInvalid))
		}
	}
	title := proposed.Title
	if proposed.Draft {
		title = "Draft: " + title
	}
	made, err := send[mergeRequest](ctx, p, op, http.MethodPost, in, "/merge_requests", struct {
		Source      string `json:"source_branch"`
		Target      string `json:"target_branch"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}{proposed.Source, target, title, withoutQuickActions(proposed.Body)})
	if err != nil {
		return forge.Change{}, err
	}
	return p.change(op, in, made)
}

func (p *port) change(op string, in forge.RepositoryRef, found mergeRequest) (forge.Change, error) {
	state, known := map[string]forge.ChangeState{
		"opened": forge.ChangeOpen, "locked": forge.ChangeOpen, "merged": forge.ChangeMerged, "closed": forge.ChangeClosed,
	}[found.State]
	if !known || found.IID <= 0 {
		return forge.Change{}, p.Fail(op, errAnswer)
	}
	head := found.SHA
	if forge.CheckCommit(head) != nil {
		head = "" // null, for a branch that is gone
	}
	return forge.Change{
		Number: found.IID, Title: plainTitle(found), Body: found.Description, State: state, Draft: found.Draft,
		Source: forge.CleanString(found.SourceBranch), SourceID: forge.Number(found.SourceProjectID),
		Target: forge.CleanString(found.TargetBranch), Head: head,
		Author:    p.Author(forge.Number(found.Author.ID), found.Author.Username),
		WebURL:    p.WebURL(found.References.path("!", in.Path), "/-"+below("merge_requests", found.IID)),
		CreatedAt: found.CreatedAt, UpdatedAt: found.UpdatedAt,
	}, nil
}

// draftPrefix is what makes a merge request a draft. (GitLab docs: Draft merge requests.)
var draftPrefix = regexp.MustCompile(`(?i)^((\[draft\]|\(draft\)|draft:)\s*)+`)

// plainTitle is the title without what says that it is a draft, which [forge.Change.Draft] says.
func plainTitle(found mergeRequest) string {
	if !found.Draft {
		return forge.CleanString(found.Title)
	}
	if plain := forge.CleanString(draftPrefix.ReplaceAllString(found.Title, "")); plain != "" {
		return plain
	}
	return forge.CleanString(found.Title)
}
