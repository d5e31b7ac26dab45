package forgeauth_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
)

// bitbucketSettings are the fewest settings of Bitbucket.
func bitbucketSettings() []string {
	return []string{"FORGEAUTH_FORGE_BITBUCKET_CLIENT_ID=key", "FORGEAUTH_FORGE_BITBUCKET_CLIENT_SECRET=secret"}
}

// TestBitbucketNeedsNoMoreThanAClient also names an operator by an id with a colon in it: the first one ends the forge's name.
func TestBitbucketNeedsNoMoreThanAClient(t *testing.T) {
	t.Parallel()
	const account = "557058:6b1a2f3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c"
	e, err := forgeauth.ReadEnvironment(with(serving(), append(bitbucketSettings(), "FORGEAUTH_OPERATORS=bitbucket:"+account)...),
		forgeauth.Serving, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]commands.AllowedAccount{{ForgeType: "bitbucket", AccountID: account}}, e.Config.Operators); diff != "" {
		t.Errorf("operators (-want +got):\n%s", diff)
	}
	for _, c := range e.Config.Connections {
		if c.Name != "bitbucket" {
			continue
		}
		if c.Kind != forge.Bitbucket || c.BaseURL != "https://bitbucket.org" || !c.Login || forge.APIBaseURL(c) != "https://api.bitbucket.org/2.0" {
			t.Errorf("%s at %s", c.Kind, c.BaseURL)
		}
		if diff := cmp.Diff([]string{"account", "pullrequest:write", "webhook"}, c.Scopes); diff != "" {
			t.Error(diff)
		}
		return
	}
	t.Error("there is no connection of that name")
}

// TestAnAccountIDIsOneOfItsKind has a connection whose name says nothing of its kind.
func TestAnAccountIDIsOneOfItsKind(t *testing.T) {
	t.Parallel()
	cloud := []string{"FORGEAUTH_FORGE_CLOUD_KIND=bitbucket", "FORGEAUTH_FORGE_CLOUD_CLIENT_ID=key", "FORGEAUTH_FORGE_CLOUD_CLIENT_SECRET=secret"}
	for operator, ok := range map[string]bool{
		"cloud:557058:6b1a2f3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c": true, "cloud:42": false, "github:42": true,
		"github:557058:6b1a2f3c-0d4e-4f5a-8b6c-7d8e9f0a1b2c": false,
	} {
		_, err := forgeauth.ReadEnvironment(with(serving(), append(cloud, "FORGEAUTH_OPERATORS="+operator)...), forgeauth.Serving, false)
		if faults := faultsOf(t, err); (len(faults) == 0) != ok {
			t.Errorf("%s: %v", operator, err)
		}
	}
}
