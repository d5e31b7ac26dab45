package bitbucket_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/bitbucket"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/secret"
)

const callback = "http://127.0.0.1:1/callback"

// signIn starts a stand-in and signs alice in.
func signIn(t *testing.T, repositories ...forgetest.Repository) (*forgetest.Forge, forge.Port) {
	t.Helper()
	f := forgetest.Start(t, forgetest.Config{
		Dialect: forgetest.Bitbucket, AutoConsent: true,
		Users:   []forgetest.User{{ID: 7, Login: "alice", Repositories: repositories}, {ID: 8, Login: "bob"}},
		Clients: []forgetest.Client{{ID: "key", Secret: "secret-0451", RedirectURIs: []string{callback}}},
	})
	provider, err := bitbucket.New(forge.Connection{
		Name: "bitbucket", Kind: forge.Bitbucket, BaseURL: f.URL(), ClientID: "key", ClientSecret: secret.New("secret-0451"),
		Scopes: []string{"account"},
	}, forge.Options{})
	if err != nil {
		t.Fatal(err)
	}
	back, err := f.Consent(t.Context(), provider.AuthorizeURL(forge.AuthorizeRequest{State: "s", RedirectURI: callback}), "alice")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(back, "code=")
	code, _, _ = strings.Cut(code, "&")
	token, err := provider.Exchange(t.Context(), forge.ExchangeRequest{Code: code, RedirectURI: callback})
	if err != nil {
		t.Fatal(err)
	}
	return f, provider.Bind(forge.Binding{}, forge.StaticToken(token))
}

func paths(t *testing.T, port forge.Port) (found []string, failed error) {
	t.Helper()
	for r, err := range port.Repositories(t.Context(), forge.RepositoryQuery{}) {
		if err != nil {
			return found, err
		}
		found = append(found, r.Path)
	}
	return found, nil
}

func TestEveryWorkspaceIsListed(t *testing.T) {
	t.Parallel()
	var repositories []forgetest.Repository
	var want []string
	for i := range 130 {
		owner := fmt.Sprintf("team-%03d", i)
		repositories = append(repositories, forgetest.Repository{ID: int64(i + 1), Owner: owner, Name: "one"})
		want = append(want, owner+"/one")
	}
	f, port := signIn(t, repositories...)
	got, err := paths(t, port)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if n := f.Count(forgetest.WorkspacesEndpoint); n != 2 {
		t.Errorf("%d requests for the workspaces", n)
	}
}

func TestWithoutAListOfWorkspacesThereIsNone(t *testing.T) {
	t.Parallel()
	f, port := signIn(t, forgetest.Repositories(1, 3)...)
	for fault, want := range map[string]struct {
		fault forgetest.Fault
		err   error
	}{
		"an error":            {forgetest.Status(502), forge.ErrUnavailable},
		"gone":                {forgetest.Status(410), forge.ErrNotFound},
		"nothing":             {forgetest.EmptyBody(), forge.ErrUnavailable},
		"a page elsewhere":    {forgetest.NextPageElsewhere("https://evil.example/2.0/user/workspaces?page=2"), forge.ErrDestination},
		"a page climbing out": {forgetest.NextPageElsewhere("/2.0/%2e%2e/x"), forge.ErrDestination},
	} {
		f.Next(forgetest.WorkspacesEndpoint, want.fault)
		if _, err := paths(t, port); !errors.Is(err, want.err) {
			t.Errorf("%s: %v, want %v", fault, err, want.err)
		}
	}
	if got, err := paths(t, port); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAStatusHasAnAddressInAnyCase(t *testing.T) {
	t.Parallel()
	f, port := signIn(t, forgetest.Repositories(1, 1)...)
	in, err := port.Repository(t.Context(), forge.RepositoryRef{Path: "alice/repository-0001"})
	if err != nil {
		t.Fatal(err)
	}
	commit := f.Head(1, "main")
	page := in.WebURL + "/commits/" + commit
	for name, test := range map[string]struct {
		in             forge.RepositoryRef
		address, wants string
	}{
		"by path, without": {forge.RepositoryRef{Path: in.Path}, "", page},
		"by id, without":   {in.Ref(), "", page},
		"with its own":     {in.Ref(), "https://ci.example/1", "https://ci.example/1"},
		// Bitbucket would put the repository's name in.
		"with braces": {in.Ref(), "https://ci.example/{repository.full_name}?{commit}", "https://ci.example/%7Brepository.full_name%7D?%7Bcommit%7D"},
	} {
		if err := port.SetStatus(t.Context(), test.in, commit, forge.Status{Context: name, State: forge.StatusSuccess, TargetURL: test.address}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		i := slices.IndexFunc(f.Checks(1, commit), func(c forgetest.Check) bool { return c.Context == name })
		if i < 0 || f.Checks(1, commit)[i].Target != test.wants {
			t.Errorf("%s: %+v", name, f.Checks(1, commit))
		}
	}
}

func TestABranchOfAForkIsAnother(t *testing.T) {
	t.Parallel()
	f, port := signIn(t, forgetest.Repositories(1, 1)...)
	f.Commit(1, "mend", "fix", []byte("fixed"))
	f.DeleteSource(1, f.OpenChange(1, "bob", "From a fork that is gone", "mend", "main"))
	in := forge.RepositoryRef{Path: "alice/repository-0001"}
	proposed := forge.NewChange{Title: "Ours", Source: "mend"}
	opened, err := port.OpenChange(t.Context(), in, proposed)
	if err != nil || opened.Head != f.Head(1, "mend") {
		t.Errorf("%+v, %v", opened, err)
	}
	if _, err := port.OpenChange(t.Context(), in, proposed); !errors.Is(err, forge.ErrConflict) {
		t.Errorf("%v", err)
	}
}

func TestASecretThatBitbucketDoesNotTakeIsInvalid(t *testing.T) {
	t.Parallel()
	f, port := signIn(t, forgetest.Repositories(1, 1)...)
	in := forge.RepositoryRef{Path: "alice/repository-0001"}
	for length, want := range map[int]error{128: nil, 129: forge.ErrInvalid} {
		spec := forge.HookSpec{
			URL: "https://hooks.invalid/", Secret: secret.New(strings.Repeat("s", length)), Events: []forge.HookEvent{forge.HookPush},
		}
		before := f.Count(forgetest.AnyEndpoint)
		if _, err := port.EnsureHook(t.Context(), in, spec); !errors.Is(err, want) {
			t.Errorf("%d characters: %v", length, err)
		}
		if asked := f.Count(forgetest.AnyEndpoint) != before; asked != (want == nil) {
			t.Errorf("%d characters: the forge was contacted: %t", length, asked)
		}
	}
}

func TestAnotherKindIsRefused(t *testing.T) {
	t.Parallel()
	_, err := bitbucket.New(forge.Connection{Name: "x", Kind: forge.GitHub, BaseURL: "https://bitbucket.org"}, forge.Options{})
	if !errors.Is(err, forge.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	_, err = bitbucket.New(forge.Connection{
		Name: "x", Kind: forge.Bitbucket, BaseURL: "https://bitbucket.example", ClientID: "a", ClientSecret: secret.New("b"), Scopes: []string{"account"},
	}, forge.Options{})
	if setting, ok := errors.AsType[*forge.SettingError](err); !ok || setting.Setting != "BASE_URL" {
		t.Errorf("%v", err)
	}
}

func TestTheHeadOfAChangeIsAskedFor(t *testing.T) {
	t.Parallel()
	f, port := signIn(t, forgetest.Repositories(1, 1)...)
	head := f.Commit(1, "mend", "fix", []byte("fixed"))
	in, number := forge.RepositoryRef{Path: "alice/repository-0001"}, f.OpenChange(1, "bob", "Mend it", "mend", "main")
	for name, test := range map[string]struct {
		fault forgetest.Fault
		head  string
		err   error
	}{
		"as usual":    {forgetest.AsUsual(), head, nil},
		"it is gone":  {forgetest.Status(404), "", nil},
		"no answer":   {forgetest.Status(500), "", forge.ErrUnavailable},
		"no commit":   {forgetest.GarbageBody(), "", forge.ErrUnavailable},
		"no page":     {forgetest.HTMLBody(), "", forge.ErrUnavailable},
		"not allowed": {forgetest.Status(403), "", forge.ErrForbidden},
	} {
		f.Next(forgetest.RevisionEndpoint, test.fault)
		if got, err := port.Change(t.Context(), in, number); got.Head != test.head || !errors.Is(err, test.err) || f.Pending() != 0 {
			t.Errorf("%s: %q, %v", name, got.Head, err)
		}
	}
}

// TestWhoPushesWhileAChangeIsOpenedIsSeen pushes after the branch was looked up and before the change is made.
func TestWhoPushesWhileAChangeIsOpenedIsSeen(t *testing.T) {
	t.Parallel()
	f, port := signIn(t, forgetest.Repositories(1, 1)...)
	f.Commit(1, "mend", "fix", []byte("fixed"))
	release := make(chan struct{})
	f.Next(forgetest.ChangeEndpoint, forgetest.Slow(release))
	go func() {
		defer close(release)
		if f.Await(t.Context(), forgetest.ChangeEndpoint, 1) == nil {
			f.Commit(1, "mend", "fix", []byte("fixed again"))
		}
	}()
	opened, err := port.OpenChange(t.Context(), forge.RepositoryRef{Path: "alice/repository-0001"}, forge.NewChange{Title: "Mend it", Source: "mend"})
	if err != nil || opened.Head != f.Head(1, "mend") {
		t.Errorf("%q, want %q: %v", opened.Head, f.Head(1, "mend"), err)
	}
}

// TestWorkspacesAndRepositoriesWithoutAnIDAreNone answers with ids that would lead elsewhere in a path, or are none.
func TestWorkspacesAndRepositoriesWithoutAnIDAreNone(t *testing.T) {
	t.Parallel()
	const good = "{7e905170-0c1d-4e5f-8a9b-0123456789ab}"
	for name, ids := range map[string][2]string{
		"no workspace": {"", good}, "a workspace by its slug": {"team", good}, "a workspace that climbs": {"../../user", good},
		"no repository": {good, ""}, "a repository by its slug": {good, "one"}, "a repository that climbs": {good, "{../../user}"},
	} {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			value := `{"workspace":{"uuid":"` + ids[0] + `"}}`
			if r.URL.Path == "/2.0/repositories/"+ids[0] {
				value = `{"uuid":"` + ids[1] + `","full_name":"team/one"}`
			}
			_, _ = io.WriteString(w, `{"values":[`+value+`]}`)
		}))
		t.Cleanup(server.Close)
		provider, err := bitbucket.New(forge.Connection{
			Name: "bitbucket", Kind: forge.Bitbucket, BaseURL: server.URL, ClientID: "key", ClientSecret: secret.New("secret"), Scopes: []string{"account"},
		}, forge.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := 1
		if ids[0] == good {
			want = 2
		}
		got, err := paths(t, provider.Bind(forge.Binding{}, forge.StaticToken(forge.Token{Access: secret.New("t")})))
		if !errors.Is(err, forge.ErrUnavailable) || len(got) != 0 || requests != want {
			t.Errorf("%s: %v in %d requests, %v", name, got, requests, err)
		}
	}
}

// TestAHookOfARenamedRepositoryIsNotSaidToBeGone answers 404 to a DELETE below a former path, which Bitbucket does not document.
func TestAHookOfARenamedRepositoryIsNotSaidToBeGone(t *testing.T) {
	t.Parallel()
	f, port := signIn(t, forgetest.Repositories(1, 1)...)
	former := forge.RepositoryRef{Path: "alice/repository-0001"}
	made, err := port.EnsureHook(t.Context(), former, forge.HookSpec{
		URL: "https://hooks.invalid/", Secret: secret.New("0123456789abcdef"), Events: []forge.HookEvent{forge.HookPush},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.RenameRepository(1, "renamed")
	f.Next(forgetest.HookEndpoint, forgetest.Status(404))
	if err := port.RemoveHook(t.Context(), former, made.ID); !errors.Is(err, forge.ErrMoved) || f.Pending() != 0 || len(f.Webhooks(1)) != 1 {
		t.Errorf("%d webhooks, %v", len(f.Webhooks(1)), err)
	}
	// Where it cannot be found out, it is not said either.
	f.Next(forgetest.HookEndpoint, forgetest.Status(404))
	f.Next(forgetest.RepositoryEndpoint, forgetest.Status(502))
	if err := port.RemoveHook(t.Context(), former, made.ID); !errors.Is(err, forge.ErrUnavailable) || f.Pending() != 0 {
		t.Errorf("%v", err)
	}
	for range 2 {
		if err := port.RemoveHook(t.Context(), forge.RepositoryRef{Path: "Alice/Renamed"}, made.ID); err != nil || len(f.Webhooks(1)) != 0 {
			t.Errorf("%d webhooks, %v", len(f.Webhooks(1)), err)
		}
	}
}
