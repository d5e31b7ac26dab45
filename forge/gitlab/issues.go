package gitlab

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/forge"
)

type issue struct {
	IID         int64      `json:"iid"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	State       string     `json:"state"`
	Author      user       `json:"author"`
	References  references `json:"references"`
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
}

// Issue implements [forge.Port]. GitLab counts merge requests apart, so that a number can be that of both. A project whose
// issues are switched off answers as for an issue that does not exist. (GitLab docs: Issues API, retrieve a project issue.)
func (p *port) Issue(ctx context.Context, in forge.RepositoryRef, number int64) (forge.Issue, error) {
	const op = "issue"
	found, err := look[issue](ctx, p, op, in, below("issues", number), forge.CheckNumber(number))
	if err != nil {
		return forge.Issue{}, err
	}
	if found.IID != number || found.State != "opened" && found.State != "closed" {
		return forge.Issue{}, p.Fail(op, errAnswer)
	}
	return forge.Issue{
		Number: number, Title: forge.CleanString(found.Title), Body: found.Description, Open: found.State == "opened",
		Author:    p.Author(forge.Number(found.Author.ID), found.Author.Username),
		WebURL:    p.WebURL(found.References.path("#", in.Path), "/-"+below("issues", number)),
		CreatedAt: found.CreatedAt, UpdatedAt: found.UpdatedAt,
	}, nil
}

type note struct {
	ID        int64     `json:"id"`
	Body      string    `json:"body"`
	Author    user      `json:"author"`
	CreatedAt time.Time `json:"created_at"`
}

// Comment implements [forge.Port]. Quick actions in the body are shown and not carried out. For a repository named by its id
// there is one request more, before the one that writes: a note does not say where it can be seen. (GitLab docs: Notes API,
// create an issue note, create a merge request note.)
func (p *port) Comment(ctx context.Context, in forge.RepositoryRef, on forge.Subject, body string) (forge.Comment, error) {
	const op = "comment"
	at := below("issues", on.Number)
	if on.OnChange {
		at = below("merge_requests", on.Number)
	}
	if err := p.check(op, in.Check(), forge.CheckNumber(on.Number), forge.CheckText(body)); err != nil {
		return forge.Comment{}, err
	}
	path := in.Path
	if in.ID != "" {
		found, err := p.lookUp(ctx, op, in)
		if err != nil {
			return forge.Comment{}, err
		}
		path = found.Path
	}
	made, err := send[note](ctx, p, op, http.MethodPost, in, at+"/notes", struct {
		Body string `json:"body"`
	}{withoutQuickActions(body)})
	if err != nil {
		return forge.Comment{}, err
	}
	id := forge.Number(made.ID)
	if id == "" {
		return forge.Comment{}, p.Fail(op, errAnswer)
	}
	return forge.Comment{
		ID: id, Body: made.Body, Author: p.Author(forge.Number(made.Author.ID), made.Author.Username),
		WebURL: p.WebURL(path, "/-"+at+"#note_"+id), CreatedAt: made.CreatedAt,
	}, nil
}

// quickAction is a line that GitLab may take for a command: a slash, a name, and nothing or a space after it. The names it knows
// grow with each release, so that any name will do; today it takes none that is indented.
var quickAction = regexp.MustCompile(`(?m)^([ \t]*)(/[\pL\pN_-]+)(\s|$)`)

// withoutQuickActions makes commands text. What a program comments may hold words of strangers, and a line /close or /merge
// in them would be done in the operator's name. The backslash before the slash is one that Markdown does not show, except in
// code. (GitLab docs: GitLab quick actions. CommonMark §2.4.)
func withoutQuickActions(text string) string {
	// GitLab takes carriage returns out before it looks for commands; to Markdown they are ends of lines.
	lines := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	return quickAction.ReplaceAllString(lines, `${1}\${2}${3}`)
}
