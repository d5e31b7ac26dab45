package http

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/projections"
)

// repositoryPage is the body of GET /forge/repositories.
type repositoryPage struct {
	ForgeType    string             `json:"forge_type"`
	AccountLogin string             `json:"account_login"`
	Repositories []forge.Repository `json:"repositories"`
	// Next is the cursor of the following page, null on the last.
	Next *string `json:"next"`
}

const (
	usualPage = 100
	mostPage  = 1000
	// deepestPage bounds what one request makes us read and skip at the forge.
	deepestPage = 100_000
)

// repositories lists what the active forge's account can see, in the forge's order. A page is complete or an error: nothing
// is sent before the last of it has been read.
func (s *server) repositories(w http.ResponseWriter, r *http.Request, _ projections.View) error {
	limit, cursor, err := parsePage(r)
	if err != nil {
		return err
	}
	port, err := s.config.Commands.OperatorAdapter(r.Context())
	if err != nil {
		return err
	}
	page, err := readPage(r, port, limit, cursor)
	if err != nil {
		return err
	}
	return s.reply(w, r, page)
}

func parsePage(r *http.Request) (limit int, cursor string, err error) {
	query, err := parseQuery(r, codeBadQuery, "limit", "cursor")
	if err != nil {
		return 0, "", err
	}
	limit = usualPage
	if query.Has("limit") {
		limit, err = strconv.Atoi(query.Get("limit"))
		if err != nil || limit < 1 || limit > mostPage {
			return 0, "", refuse(codeBadQuery)
		}
	}
	return limit, query.Get("cursor"), nil
}

// readPage skips to the cursor and reads one repository more than asked for, by which it knows whether there is a next
// page. Forges have no cursor that outlives their paging, so skipping means reading.
func readPage(r *http.Request, port forge.Port, limit int, cursor string) (repositoryPage, error) {
	binding := port.Binding()
	skip, err := parseCursor(binding, cursor)
	if err != nil {
		return repositoryPage{}, err
	}
	page := repositoryPage{
		ForgeType:    binding.Connection,
		AccountLogin: binding.Account.Login,
		Repositories: []forge.Repository{},
	}
	seen := 0
	for repository, err := range port.Repositories(r.Context(), forge.RepositoryQuery{}) {
		if err != nil {
			return repositoryPage{}, err
		}
		if seen == skip+limit {
			next := newCursor(binding, seen)
			page.Next = &next
			break
		}
		if seen++; seen > skip {
			page.Repositories = append(page.Repositories, repository)
		}
	}
	return page, nil
}

// A cursor says how far a reader has come on which account's list, so that it is not taken for another's after a switch.
func newCursor(binding forge.Binding, seen int) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %s %d", binding.Connection, binding.Account.ID, seen))
}

func parseCursor(binding forge.Binding, cursor string) (seen int, err error) {
	if cursor == "" {
		return 0, nil
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return 0, refuse(codeBadCursor)
	}
	count, ok := strings.CutPrefix(string(text), binding.Connection+" "+binding.Account.ID+" ")
	if !ok {
		return 0, refuse(codeBadCursor)
	}
	seen, err = strconv.Atoi(count)
	if err != nil || seen < 1 || seen > deepestPage || newCursor(binding, seen) != cursor {
		return 0, refuse(codeBadCursor)
	}
	return seen, nil
}
