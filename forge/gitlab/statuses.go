package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/forgeauth/forgeauth/forge"
)

// SetStatus implements [forge.Port]. GitLab keeps a status as a job, named by the context, of the newest pipeline of the commit,
// and makes an external one if there is none. It refuses to set pending what is pending; then nothing is changed, the
// description included, and that is a success here. An address of more than 255 characters is [forge.ErrInvalid]. The commit
// must be on a branch of this very project: that of a fork's change is set on the fork. (GitLab docs: Commits API, set
// commit pipeline status.)
func (p *port) SetStatus(ctx context.Context, in forge.RepositoryRef, commit string, status forge.Status) error {
	const op = "set status"
	state := map[forge.StatusState]string{
		forge.StatusPending: "pending", forge.StatusSuccess: "success", forge.StatusFailure: "failed", forge.StatusError: "failed",
	}[status.State]
	set, err := send[struct {
		ID int64 `json:"id"`
	}](ctx, p, op, http.MethodPost, in, "/statuses/"+segment(commit), struct {
		State       string `json:"state"`
		Name        string `json:"name"`
		Description string `json:"description,omitempty"`
		TargetURL   string `json:"target_url,omitempty"`
	}{state, status.Context, status.Summary(), status.TargetURL}, forge.CheckCommit(commit), status.Check())
	switch {
	case errors.Is(err, errPending):
		return nil // only a status that is to be pending is answered so
	case errors.Is(err, forge.ErrConflict):
		// GitLab is at work on a status of the same commit, and says to ask again.
		return p.Fail(op, fmt.Errorf("%w (another status of the commit is being set)", forge.ErrUnavailable))
	case err == nil && set.ID <= 0:
		return p.Fail(op, errAnswer)
	}
	return err
}
