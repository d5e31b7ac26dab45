package gitlab_test

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// The signature of the delivery below, computed with openssl; so are those of one without an id, and without a time.
const (
	deliveredID   = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"
	deliveredAt   = "1795651200"
	deliveredBody = `{"object_kind":"push","ref":"refs/heads/ü"}`
	signature     = "v1,MqgfIWOIgCDXNkpLxeIv5LvCBkrEYGL2G6uIVyNnId4="
)

// delivered is a signed delivery, with the headers that are given in the place of its own; an empty one is left out.
func delivered(changed map[string]string) http.Header {
	headers := map[string]string{
		"X-Gitlab-Event": "Push Hook", "X-Gitlab-Event-UUID": "event", "Idempotency-Key": "key", "X-Gitlab-Webhook-UUID": "webhook",
		"webhook-id": deliveredID, "webhook-timestamp": deliveredAt, "webhook-signature": signature,
	}
	maps.Copy(headers, changed)
	header := http.Header{}
	for name, value := range headers {
		if value != "" {
			header.Set(name, value)
		}
	}
	return header
}

func verify(t *testing.T, header http.Header, body string, secrets ...string) (forge.Delivery, error) {
	t.Helper()
	var texts []secret.Text
	for _, s := range secrets {
		texts = append(texts, secret.New(s))
	}
	got, err := provide(t, "https://gitlab.example", forge.Options{}).HookVerifier().Verify(header, []byte(body), texts...)
	if err != nil && (got != (forge.Delivery{}) || !errors.Is(err, forge.ErrSignature)) {
		t.Errorf("%+v beside %v", got, err)
	}
	return got, err
}

func TestASignatureIsThatOfIDTimeAndBody(t *testing.T) {
	t.Parallel()
	other := "whsec_" + strings.Repeat("A", 43) + "="
	for name, test := range map[string]struct {
		header  http.Header
		body    string
		secrets []string
		good    bool
	}{
		"the signing token":        {delivered(nil), deliveredBody, []string{signing}, true},
		"beside another":           {delivered(nil), deliveredBody, []string{other, signing, token}, true},
		"before another":           {delivered(nil), deliveredBody, []string{signing, other}, true},
		"the second of signatures": {delivered(map[string]string{"webhook-signature": "v1,AAAA v1a,BBBB " + signature}), deliveredBody, []string{signing}, true},
		"the first of signatures":  {delivered(map[string]string{"webhook-signature": signature + " v1,AAAA v1a,BBBB"}), deliveredBody, []string{signing}, true},
		"another signing token":    {delivered(nil), deliveredBody, []string{other}, false},
		"no secret":                {delivered(nil), deliveredBody, nil, false},
		"an empty secret":          {delivered(nil), deliveredBody, []string{""}, false},
		"another body":             {delivered(nil), deliveredBody + " ", []string{signing}, false},
		"another id":               {delivered(map[string]string{"webhook-id": "x"}), deliveredBody, []string{signing}, false},
		"another time":             {delivered(map[string]string{"webhook-timestamp": "1795651201"}), deliveredBody, []string{signing}, false},
		"no id":                    {delivered(map[string]string{"webhook-id": "", "webhook-signature": "v1,eZzJ8GPfJCQGCbkKebwswhVVPGLKiTUp/WJ55/Vo2Sc="}), deliveredBody, []string{signing}, false},
		"no time":                  {delivered(map[string]string{"webhook-timestamp": "", "webhook-signature": "v1,9dso6hO9bzzKLMmjC6gwehVZB7/CVpvdmbXo6E+7bUM="}), deliveredBody, []string{signing}, false},
		"no signature":             {delivered(map[string]string{"webhook-signature": ""}), deliveredBody, []string{signing}, false},
		"another version":          {delivered(map[string]string{"webhook-signature": "v2" + signature[2:]}), deliveredBody, []string{signing}, false},
		"without a version":        {delivered(map[string]string{"webhook-signature": signature[3:]}), deliveredBody, []string{signing}, false},
		"cut short":                {delivered(map[string]string{"webhook-signature": signature[:20]}), deliveredBody, []string{signing}, false},
		"nothing in it":            {delivered(map[string]string{"webhook-signature": "v1,"}), deliveredBody, []string{signing}, false},
		"the key as it is written": {delivered(nil), deliveredBody, []string{strings.TrimPrefix(signing, "whsec_")}, false},
		// Who knows a token that travels can leave the signature out: it must not count for one that does not.
		"the signing token, sent":          {delivered(map[string]string{"X-Gitlab-Token": signing, "webhook-signature": ""}), deliveredBody, []string{signing}, false},
		"the token of another, signed":     {delivered(map[string]string{"X-Gitlab-Token": token}), deliveredBody, []string{other}, false},
		"the token, and a wrong signature": {delivered(map[string]string{"X-Gitlab-Token": token, "webhook-signature": "v1,AAAA"}), deliveredBody, []string{token}, true},
		"what only looks like one":         {delivered(map[string]string{"X-Gitlab-Token": "whsec_c2hvcnQtb25l"}), deliveredBody, []string{"whsec_c2hvcnQtb25l"}, true},
	} {
		if got, err := verify(t, test.header, test.body, test.secrets...); (err == nil) != test.good || test.good && got.Event != forge.HookPush {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	twice := delivered(nil)
	twice["Webhook-Id"] = []string{deliveredID, deliveredID}
	if _, err := verify(t, twice, deliveredBody, signing); err == nil {
		t.Error("two ids are taken")
	}
}

func TestADeliveryIsToldApartByWhatIsKeptWhenItIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		header map[string]string
		with   string
		want   string
	}{
		"signed":              {map[string]string{"Idempotency-Key": "another"}, signing, deliveredID},
		"with a token":        {map[string]string{"X-Gitlab-Token": token}, token, "key"},
		"of an older GitLab":  {map[string]string{"X-Gitlab-Token": token, "Idempotency-Key": ""}, token, "event"},
		"of one that is aged": {map[string]string{"X-Gitlab-Token": token, "Idempotency-Key": "", "X-Gitlab-Event-UUID": ""}, token, ""},
		"with a bad id":       {map[string]string{"X-Gitlab-Token": token, "Idempotency-Key": "a\x1b\u202eb"}, token, "ab"},
	} {
		if got, err := verify(t, delivered(test.header), deliveredBody, test.with); err != nil || got.ID != test.want {
			t.Errorf("%s: %q, want %q, %v", name, got.ID, test.want, err)
		}
	}
}

func TestEventsAreNamedAlike(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want forge.HookEvent
	}{
		"Push Hook":               {`{}`, forge.HookPush},
		"Tag Push Hook":           {`{}`, forge.HookPush},
		"Merge Request Hook":      {`{}`, forge.HookChange},
		"Issue Hook":              {`{}`, forge.HookIssue},
		"Confidential Issue Hook": {`{}`, forge.HookIssue},
		"Note Hook":               {`{"object_attributes":{"noteable_type":"MergeRequest"}}`, forge.HookComment},
		"Confidential Note Hook":  {`{"object_attributes":{"noteable_type":"Issue"}}`, forge.HookComment},
		"Pipeline Hook":           {`{}`, forge.HookOther},
		"push hook":               {`{}`, forge.HookOther},
		"":                        {`{}`, forge.HookOther},
	} {
		got, err := verify(t, delivered(map[string]string{"X-Gitlab-Token": token, "X-Gitlab-Event": name}), test.body, token)
		if err != nil || got.Event != test.want || got.Name != name {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	for body, want := range map[string]forge.HookEvent{
		`{"object_attributes":{"noteable_type":"Commit"}}`:  forge.HookOther,
		`{"object_attributes":{"noteable_type":"Snippet"}}`: forge.HookOther,
		`{"object_attributes":[]}`:                          forge.HookComment,
		`a template of somebody's own`:                      forge.HookComment,
	} {
		got, err := verify(t, delivered(map[string]string{"X-Gitlab-Token": token, "X-Gitlab-Event": "Note Hook"}), body, token)
		if err != nil || got.Event != want {
			t.Errorf("%s: %s, %v", body, got.Event, err)
		}
	}
}
