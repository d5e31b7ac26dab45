package github

import (
	"cmp"
	"context"

	"github.com/google/go-github/v92/github"

	"github.com/forgeauth/forgeauth/forge"
)

// SetStatus implements [forge.Port] (GitHub Docs: Create a commit status). GitHub keeps up to 1,000 statuses of one commit and
// context and shows the last.
func (p *port) SetStatus(ctx context.Context, in forge.RepositoryRef, commit string, status forge.Status) error {
	const op = "set status"
	if err := cmp.Or(forge.CheckCommit(commit), status.Check()); err != nil {
		return p.Fail(op, err)
	}
	at, err := p.locate(ctx, op, in)
	if err != nil {
		return err
	}
	client, err := p.client(p.WriteClient())
	if err != nil {
		return p.Fail(op, err)
	}
	state, summary := string(status.State), status.Summary() // GitHub calls the states by the same names
	said := github.RepoStatus{State: &state, Context: &status.Context, Description: &summary}
	if status.TargetURL != "" {
		said.TargetURL = &status.TargetURL
	}
	set, _, err := client.Repositories.CreateStatus(ctx, at.owner, at.name, commit, said)
	if err == nil && set.GetState() != state {
		err = errAnswer
	}
	return p.Fail(op, err)
}
