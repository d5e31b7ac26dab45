package forgeauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/forgeauth/forgeauth"
)

func TestRelaysOfTheEnvironment(t *testing.T) {
	t.Parallel()
	other := "whsec_" + strings.Repeat("QUFB", 8)
	urlFile, secretFile := writeFile(t, "url", "kafka://relay:pa%2Fss@k1,k2:9093/forge.events?sasl=scram-sha-512\n", 0o600), writeFile(t, "secret", webhookSecret+" "+other+"\n", 0o600)
	e, err := forgeauth.ReadEnvironment(with(serving(),
		"DATABASE_URL=postgres://pooler/x", "FORGEAUTH_DATABASE_DIRECT_URL=postgres://db/x", "FORGEAUTH_METRICS_LISTEN=:9100",
		"FORGEAUTH_RELAY_TEAM_BUS_URL=nats://n1:4222,n2/acme.forge?replicas=3",
		"FORGEAUTH_RELAY_LAKE_URL_FILE="+urlFile, "FORGEAUTH_RELAY_LAKE_START=beginning", "FORGEAUTH_RELAY_LAKE_ON_FAILURE=pause",
		"FORGEAUTH_RELAY_HOOKS_URL=https://hooks.example.org/forge?key=confidential", "FORGEAUTH_RELAY_HOOKS_SECRET_FILE="+secretFile,
		"FORGEAUTH_RELAY_HOOKS_TYPES=ForgeDeactivated, ForgeActivated,ForgeActivated", "FORGEAUTH_RELAY_HOOKS_START=2026-01-31T00:00:00+01:00",
		"FORGEAUTH_RELAY_UNUSED_URL=",
	), forgeauth.Serving, false)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range e.Config.Relays {
		got = append(got, fmt.Sprintf("%s: %s %s then=%s secrets=%d private=%t", r.Name, r, r.Types, r.Then, len(r.Secrets), r.AllowPrivate))
	}
	if diff := cmp.Diff([]string{
		"hooks: https://hooks.example.org [ForgeActivated ForgeDeactivated] then=park secrets=2 private=false",
		"lake: kafka://k1,k2:9093 [] then=pause secrets=0 private=false",
		"team-bus: nats://n1:4222,n2 [] then=park secrets=0 private=false",
	}, got); diff != "" {
		t.Errorf("relays (-want +got):\n%s", diff)
	}
	if e.MetricsListen != ":9100" || e.Config.DatabaseDirectURL.Reveal() != "postgres://db/x" {
		t.Errorf("metrics on %s, direct URL %v", e.MetricsListen, e.Config.DatabaseDirectURL.IsZero())
	}
	if text := fmt.Sprintf("%v %+v", e.Config.Relays, e.Config.Relays); strings.Contains(text, "confidential") || strings.Contains(text, "pa%2Fss") {
		t.Errorf("printed, the relays show their secrets: %s", text)
	}
}

func TestFaultsOfRelays(t *testing.T) {
	t.Parallel()
	const hooks = "FORGEAUTH_RELAY_HOOKS_"
	good := map[string]string{
		"OAUTH_ENCRYPTION_KEY": goodKey, "HOME": "/home/operator", "FORGEAUTH_FORGE_GITHUB_CLIENT_ID": "Iv1.8a61f9b3a7aba766",
		"FORGEAUTH_FORGE_GITHUB_CLIENT_SECRET": goodSecret, hooks + "URL": "https://hooks.example.org", hooks + "SECRET": webhookSecret,
	}
	for name, test := range map[string]struct {
		change              string
		at, problem, remedy string
	}{
		"a scheme that is not known":       {hooks + "URL=amqp://confidential@h", hooks + "URL", "no scheme", "nats://"},
		"no URL":                           {hooks + "URL=-", hooks + "URL", "is missing", "https://"},
		"no secret":                        {hooks + "SECRET=-", hooks + "SECRET", "is missing", "openssl"},
		"a secret that is none":            {hooks + "SECRET=confidential", hooks + "SECRET", "is not whsec_", "openssl"},
		"http":                             {hooks + "URL=http://h/confidential", hooks + "URL", "is http", hooks + "ALLOW_PRIVATE=true"},
		"a broker with a webhook's secret": {hooks + "URL=nats://h", hooks + "SECRET", "only a webhook", "unset"},
		"a type that is misspelt":          {hooks + "TYPES=ForgeActivate", hooks + "TYPES", `"ForgeActivate"`, "did you mean ForgeActivated?"},
		"a type that there is not":         {hooks + "TYPES=Rain", hooks + "TYPES", `"Rain"`, "ForgeActivated"},
		"a start that is none":             {hooks + "START=yesterday", hooks + "START", `"yesterday"`, "2026-01-31T00:00:00Z"},
		"an end that is none":              {hooks + "ON_FAILURE=drop", hooks + "ON_FAILURE", `"drop"`, "park or pause"},
		"a boolean that is none":           {hooks + "ALLOW_PRIVATE=1", hooks + "ALLOW_PRIVATE", `"1"`, "true or false"},
		"a setting that no relay has":      {hooks + "TOPIC=x", hooks + "TOPIC", "is not a setting of a relay", "_TYPES"},
		"two spellings":                    {"FORGEAUTH_RELAY_hooks_TYPES=ForgeActivated", "FORGEAUTH_RELAY_HOOKS_…", `both the relay "hooks"`, "HOOKS"},
		"a direct URL without a database":  {"FORGEAUTH_DATABASE_DIRECT_URL=postgres://db/x", "FORGEAUTH_DATABASE_DIRECT_URL", "DATABASE_URL is not", "unset"},
		"an address that is none":          {"FORGEAUTH_METRICS_LISTEN=9100", "FORGEAUTH_METRICS_LISTEN", "not an address and a port", "write"},
	} {
		_, err := forgeauth.ReadEnvironment(with(good, test.change), forgeauth.Serving, false)
		faults := faultsOf(t, err)
		if len(faults) != 1 {
			t.Errorf("%s: faults = %q, want one", name, faults)
			continue
		}
		fault := faults[0]
		if fault.Name != test.at || !strings.Contains(fault.Problem, test.problem) || !strings.Contains(fault.Remedy, test.remedy) {
			t.Errorf("%s: fault = %q,\nwant %s … %s … %s", name, fault, test.at, test.problem, test.remedy)
		}
		if strings.Contains(fault.String(), "confidential") {
			t.Errorf("%s: the fault shows a secret: %s", name, fault)
		}
	}
}
