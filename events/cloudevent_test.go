package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/forgeauth/forgeauth/events"
)

// record is a fact as the log has it, with something sealed.
func record(tb testing.TB, fact events.Fact) events.Record {
	tb.Helper()
	payload, err := events.Encode(fact)
	if err != nil {
		tb.Fatal(err)
	}
	return events.Record{
		Position: 42, ID: uuid.MustParse("0193f0c2-7a3e-7c11-8000-000000000042"), Stream: "token/gitlab-work", StreamVersion: 7,
		Type: events.TypeOf(fact), Schema: events.SchemaOf(fact), OccurredAt: time.Date(2026, 11, 26, 12, 0, 0, 123456000, time.UTC),
		Actor: "session/0193f0c2-0000-7000-8000-000000000001", CorrelationID: uuid.MustParse("0193f0c2-7a3e-7c11-8000-000000000001"),
		Payload: payload, Sealed: []byte("confidential"),
	}
}

var (
	deployment = uuid.MustParse("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d")
	aReplay    = uuid.MustParse("0193f0c2-7a3e-7c11-8000-0000000000aa")
)

// golden compares with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "cloudevents", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := fs.ReadFile(os.DirFS("."), path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-golden +now):\n%s", name, diff)
	}
}

// What others read does not change its shape: the golden files are a contract with every consumer.
func TestEventsLeaveAsCloudEvents(t *testing.T) {
	t.Parallel()
	for name, fact := range facts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := record(t, fact)
			msg := events.NewMessage(events.Source(deployment), r, uuid.Nil)
			metadata, err := json.MarshalIndent(msg.Metadata, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".binary", string(metadata)+"\n\n"+string(msg.Payload)+"\n")
			document, err := events.Structured(msg)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".json", string(document)+"\n")
			if strings.Contains(string(document), "confidential") {
				t.Error("what is sealed has left")
			}
			checkWithSDK(t, r, document)

			parsed, err := events.ParseStructured(document)
			if err != nil {
				t.Fatal(err)
			}
			back, replay, err := events.ParseMessage(parsed)
			want := r
			want.Sealed, want.SealedHash = nil, r.HashOfSealed()
			if diff := cmp.Diff(want, back); diff != "" || err != nil || replay != uuid.Nil {
				t.Errorf("it came back otherwise: %v, replay %s (-want +got):\n%s", err, replay, diff)
			}
		})
	}
}

// checkWithSDK reads a document by the CloudEvents project's own library.
func checkWithSDK(t *testing.T, r events.Record, document []byte) {
	t.Helper()
	var event cloudevents.Event
	if err := event.UnmarshalJSON(document); err != nil {
		t.Fatalf("the CloudEvents SDK cannot read it: %v", err)
	}
	if err := event.Validate(); err != nil {
		t.Errorf("the CloudEvents SDK finds it invalid: %v", err)
	}
	if event.SpecVersion() != "1.0" || event.ID() != r.ID.String() || event.Type() != r.Type || event.Subject() != string(r.Stream) ||
		event.Source() != "urn:uuid:"+deployment.String() || !event.Time().Equal(r.OccurredAt) || event.DataContentType() != "application/json" {
		t.Errorf("the CloudEvents SDK reads %s", event)
	}
	extensions := map[string]any{
		"actor": r.Actor, "correlationid": r.CorrelationID.String(), "partitionkey": string(r.Stream), "position": "42", "schema": string('0' + rune(r.Schema)),
		"sealedsha256": fmt.Sprintf("%x", r.HashOfSealed()),
		"stream":       string(r.Stream), "streamversion": "7",
	}
	if diff := cmp.Diff(extensions, event.Extensions()); diff != "" {
		t.Errorf("extensions (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(r.Payload), string(event.Data())); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestAReplayIsMarked(t *testing.T) {
	t.Parallel()
	r := record(t, events.ForgeActivated{ForgeType: "github"})
	msg := events.NewMessage(events.Source(deployment), r, aReplay)
	document, err := events.Structured(msg)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "replayed.json", string(document)+"\n")
	parsed, err := events.ParseStructured(document)
	if err != nil {
		t.Fatal(err)
	}
	back, replay, err := events.ParseMessage(parsed)
	if err != nil || replay != aReplay || back.ID != r.ID || msg.UUID != r.ID.String()+"/"+aReplay.String() {
		t.Errorf("message %s came back as event %s of replay %s: %v", msg.UUID, back.ID, replay, err)
	}
}

func TestWhatIsNoEventOfOursIsRefused(t *testing.T) {
	t.Parallel()
	document, err := events.Structured(events.NewMessage(events.Source(deployment), record(t, events.ForgeActivated{ForgeType: "github"}), uuid.Nil))
	if err != nil {
		t.Fatal(err)
	}
	good := string(document)
	for name, text := range map[string]string{
		"nothing":                   "",
		"no object":                 `[]`,
		"something behind it":       good + good,
		"another version":           strings.Replace(good, `"specversion":"1.0"`, `"specversion":"0.3"`, 1),
		"no data":                   strings.Replace(good, `"data":{`, `"other":{`, 1),
		"binary data":               strings.Replace(good, `"data":{"forge_type":"github","previous":null}`, `"data_base64":"e30="`, 1),
		"an attribute that is none": strings.Replace(good, `"position":"42"`, `"position":42`, 1),
		"a position that is none":   strings.Replace(good, `"position":"42"`, `"position":"-1"`, 1),
		"a huge position":           strings.Replace(good, `"position":"42"`, `"position":"99999999999999999999"`, 1),
		"a schema that is none":     strings.Replace(good, `"schema":"1"`, `"schema":"99999"`, 1),
		"a time that is none":       strings.Replace(good, `2026-11-26T12`, `2026-11-26 12`, 1),
		"an id that is none":        strings.Replace(good, `"id":"0193f0c2`, `"id":"zzz`, 1),
		"a replay in the id alone":  strings.Replace(good, `000000000042"`, `000000000042/`+aReplay.String()+`"`, 1),
		"no stream":                 strings.Replace(good, `"stream":"token/gitlab-work",`, ``, 1),
	} {
		if text == good {
			t.Fatalf("%s: the case changes nothing", name)
		}
		msg, err := events.ParseStructured([]byte(text))
		if err == nil {
			_, _, err = events.ParseMessage(msg)
		}
		if !errors.Is(err, events.ErrNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseStructured(f *testing.F) {
	for _, fact := range facts() {
		document, err := events.Structured(events.NewMessage(events.Source(deployment), record(f, fact), aReplay))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	f.Add([]byte(`{"specversion":"1.0","data":null}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		msg, err := events.ParseStructured(document)
		if err != nil {
			return
		}
		r, replay, err := events.ParseMessage(msg)
		if err != nil {
			return
		}
		// What is taken for an event can be told on, and is then the same event.
		again, err := events.Structured(events.NewMessage(msg.Metadata.Get(events.MetadataSource), r, replay))
		if err != nil {
			return // a source that is missing
		}
		msg, err = events.ParseStructured(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		back, replayed, err := events.ParseMessage(msg)
		if diff := cmp.Diff(r, back); diff != "" || err != nil || replayed != replay {
			t.Fatalf("it came back otherwise: %v\n%s", err, diff)
		}
	})
}
