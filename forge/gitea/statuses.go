package gitea

import (
	"cmp"
	"context"
	"net/http"

	"github.com/forgeauth/forgeauth/forge"
)

type newStatus struct {
	State       string `json:"state"`
	TargetURL   string `json:"target_url"`
	Description string `json:"description"`
	Context     string `json:"context"`
}

type createdStatus struct {
	ID     int64  `json:"id"`
	Status string `json:"status"`
}

// SetStatus implements [forge.Port] (Gitea API: Create a commit status). Both forges answer for a commit that is not there as if
// they had broken down, so that is asked for then.
func (p *port) SetStatus(ctx context.Context, in forge.RepositoryRef, commit string, s forge.Status) error {
	const op = "set status"
	if err := cmp.Or(forge.CheckCommit(commit), s.Check()); err != nil {
		return p.Fail(op, err)
	}
	l, err := p.find(ctx, op, in)
	if err != nil {
		return err
	}
	set, err := forge.Send[createdStatus](ctx, p.Caller, op, http.MethodPost, l.at+"/statuses/"+commit, newStatus{
		State: string(s.State), TargetURL: s.TargetURL, Description: s.Summary(), Context: s.Context,
	})
	if err == nil && (set.ID <= 0 || set.Status != string(s.State)) {
		err = p.Fail(op, errMismatch)
	}
	return p.orMissing(ctx, op, err, l.at+"/git/commits/"+commit+"?stat=false&verification=false&files=false")
}
