package events_test

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/forgeauth/forgeauth/events"
)

var update = flag.Bool("update", false, "write the golden files of payloads that do not have one yet")

// facts is one fact of each type, with strings that escaping could spoil.
func facts() map[string]events.Fact {
	at := time.Date(2026, 11, 23, 12, 34, 56, 789_012_000, time.UTC)
	account := events.Account{
		ForgeType: "gitlab-work", BaseURL: "https://git.example/sub", AccountID: "1001", AccountLogin: "zoë <&> \u2028 o'neill",
	}
	key := uuid.MustParse("0193a7c0-0000-7000-8000-000000000001")
	next := uuid.MustParse("0193a7c0-0000-7000-8000-000000000002")
	attempt := uuid.MustParse("0193a7c0-0000-7000-8000-000000000003")
	github := "github"
	return map[string]events.Fact{
		"OperatorClaimed":           events.OperatorClaimed{Account: account},
		"AccountLinked":             events.AccountLinked{Account: account},
		"AccountRemoved":            events.AccountRemoved{Account: account, Reason: "removed"},
		"OperatorRecovered":         events.OperatorRecovered{CodeExpiresAt: at},
		"TokenIssued":               events.TokenIssued{Account: account, Kind: "gitlab", Grant: "authorization_code", Scopes: []string{"api"}, ExpiresAt: &at, Refreshable: true, DataKey: key},
		"TokenIssued-unknown":       events.TokenIssued{Account: account, Kind: "gitea", Grant: "imported", DataKey: key},
		"TokenRefreshStarted":       events.TokenRefreshStarted{ForgeType: "gitlab-work", DataKey: key, Attempt: attempt, Deadline: at, Recovering: true},
		"TokenRefreshed":            events.TokenRefreshed{Account: account, Kind: "gitlab", Scopes: []string{"api"}, ExpiresAt: &at, Refreshable: true, DataKey: next, Replaces: key, Attempt: attempt},
		"TokenRefreshed-unknown":    events.TokenRefreshed{Account: account, Kind: "gitea", DataKey: next, Replaces: key, Attempt: attempt},
		"TokenRefreshFailed":        events.TokenRefreshFailed{ForgeType: "gitlab-work", DataKey: key, Attempt: attempt, Verdict: "unknown", Code: "unavailable", RetryAt: &at},
		"TokenRefreshFailed-dead":   events.TokenRefreshFailed{ForgeType: "gitlab-work", DataKey: key, Attempt: attempt, Verdict: "rejected", Code: "invalid_grant", NeedsReauth: true},
		"TokenRefreshOvertaken":     events.TokenRefreshOvertaken{Account: account, Kind: "gitlab", ExpiresAt: &at, DataKey: next, Replaces: key, Attempt: attempt},
		"TokenRejected":             events.TokenRejected{ForgeType: "gitlab-work", DataKey: key},
		"ScopesChanged":             events.ScopesChanged{ForgeType: "gitlab-work", DataKey: key, Scopes: []string{"read_api", "sudo"}, Missing: []string{"api"}, Excess: []string{"sudo"}},
		"ScopesChanged-none":        events.ScopesChanged{ForgeType: "gitlab-work", DataKey: key, Scopes: []string{}, Missing: []string{}, Excess: []string{}},
		"AccountRenamed":            events.AccountRenamed{Account: account, PreviousLogin: "zoe"},
		"AccountChanged":            events.AccountChanged{Account: account, DataKey: key, FoundID: "1002", FoundLogin: "mallory"},
		"TokenRevocationRequested":  events.TokenRevocationRequested{Account: account, DataKey: key, IssuedAt: 7, Reason: "disconnected"},
		"TokenRevocationAttempted":  events.TokenRevocationAttempted{ForgeType: "gitlab-work", DataKey: key, Attempt: 3, NextAt: at},
		"TokenRevocationsPostponed": events.TokenRevocationsPostponed{ForgeType: "gitlab-work", Until: at},
		"TokenRevoked":              events.TokenRevoked{ForgeType: "gitlab-work", DataKey: key, Outcome: "unsupported", Page: "https://git.example/sub/user/settings/applications"},
		"TokenRevoked-confirmed":    events.TokenRevoked{ForgeType: "gitlab-work", DataKey: key, Outcome: "confirmed"},
		"ConnectionRebound":         events.ConnectionRebound{ForgeType: "gitlab-work", From: "https://old.example", To: "https://git.example", AccountsKept: true},
		"ForgeActivated":            events.ForgeActivated{ForgeType: "gitlab-work", Previous: &github},
		"ForgeActivated-first":      events.ForgeActivated{ForgeType: "gitlab-work"},
		"ForgeDeactivated":          events.ForgeDeactivated{Previous: "github", Reason: "cleared"},
		"SessionStarted":            events.SessionStarted{Account: account, IdleUntil: at, ExpiresAt: at.Add(time.Hour)},
		"SessionExtended":           events.SessionExtended{IdleUntil: at},
		"SessionEnded":              events.SessionEnded{Reason: "logout"},
		"LoginDenied":               events.LoginDenied{Account: account, Reason: "unknown_account"},
		"LoginsDenied":              events.LoginsDenied{Count: 12, From: at, Until: at.Add(time.Hour)},
		"RelayDisabled":             events.RelayDisabled{Group: "chat", Reason: "unreachable", FailingSince: &at},
		"RelayEnabled":              events.RelayEnabled{Group: "chat"},
		"DeliverySkipped":           events.DeliverySkipped{Group: "chat", Stream: "active-forge", Position: 12},
		"ReplayRequested":           events.ReplayRequested{Group: "chat", Replay: key, After: 3, Through: 12, Types: []string{"ForgeActivated"}},
		"RelayRemoved":              events.RelayRemoved{Group: "chat", Position: 12},
		"TokenLost":                 events.TokenLost{ForgeType: "github", DataKey: key},
		"KeysRotated":               events.KeysRotated{KeyID: "0123456789abcdef", DataKeys: 2},
		"KeysReset":                 events.KeysReset{DataKeys: 2},
		"RepairForced":              events.RepairForced{Findings: 2, Differences: 3},
	}
}

// Payloads are written as the golden files say, and what the golden files say decodes forever. A golden file is never edited:
// a payload that changes its shape is another schema and another file.
func TestPayloadsAreAsTheyWereEverWritten(t *testing.T) {
	t.Parallel()
	types := map[string]bool{}
	for name, fact := range facts() {
		types[events.TypeOf(fact)] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := events.SchemaOf(fact)
			file := filepath.Join("testdata", "payloads", name+"."+string('0'+rune(schema))+".json")
			payload, err := events.Encode(fact)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(file); *update && errors.Is(err, os.ErrNotExist) {
				if err := os.WriteFile(file, payload, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := fs.ReadFile(os.DirFS("."), file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(golden), string(payload)); diff != "" {
				t.Errorf("payload (-golden +now):\n%s", diff)
			}
			decoded, err := events.Record{Type: events.TypeOf(fact), Schema: schema, Payload: golden}.Decode()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fact, decoded.Fact); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
	for _, name := range events.Types() {
		if !types[name] {
			t.Errorf("no golden payload of %s", name)
		}
	}
}

func TestEveryGoldenPayloadStillDecodes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/payloads/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		name, rest, _ := strings.Cut(filepath.Base(file), ".")
		name, _, _ = strings.Cut(name, "-")
		golden, err := fs.ReadFile(os.DirFS("."), file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (events.Record{Type: name, Schema: int16(rest[0] - '0'), Payload: golden}).Decode(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAnUnknownEventIsNotSkipped(t *testing.T) {
	t.Parallel()
	for name, record := range map[string]events.Record{
		"type":   {Type: "ForgeExploded", Schema: 1, Payload: []byte(`{}`)},
		"schema": {Type: "ForgeActivated", Schema: 99, Payload: []byte(`{}`)},
	} {
		if _, err := record.Decode(); !errors.Is(err, events.ErrUnknownEvent) {
			t.Errorf("unknown %s: %v", name, err)
		}
	}
}

func TestSealedTokensComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SliceOfN(rapid.Byte(), 0, 300)
		want := events.SealedTokens{Access: part.Draw(t, "access"), Refresh: part.Draw(t, "refresh"), Fingerprint: part.Draw(t, "fingerprint")}
		got, err := events.ParseSealedTokens(want.Bytes())
		if err != nil || !bytes.Equal(got.Access, want.Access) || !bytes.Equal(got.Refresh, want.Refresh) || !bytes.Equal(got.Fingerprint, want.Fingerprint) {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func FuzzParseSealedTokens(f *testing.F) {
	f.Add(events.SealedTokens{Access: []byte("a"), Refresh: []byte("bc")}.Bytes())
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := events.ParseSealedTokens(b)
		if err == nil && !reflect.DeepEqual(parsed.Access, []byte(nil)) && len(parsed.Access)+len(parsed.Refresh)+len(parsed.Fingerprint) > len(b) {
			t.Fatalf("parsed more than there is: %+v", parsed)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, fact := range facts() {
		payload, err := events.Encode(fact)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(events.TypeOf(fact), payload)
	}
	f.Fuzz(func(_ *testing.T, name string, payload []byte) {
		_, _ = events.Record{Type: name, Schema: 1, Payload: payload}.Decode() // must not panic
	})
}
