package http

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A payload is kept with the bytes it was written with. A line break in one must not begin a field, least of all an id.
func TestALineBreakInADocumentEndsNoField(t *testing.T) {
	t.Parallel()
	for name, document := range map[string]string{
		"none":            `{"a":"\n","b":1}`,
		"what is no JSON": "{\"a\":\"\\n\",\n\nid: 9\n\"b\":1}",
		"line feeds":      "{\n \"a\": \"\\n\",\n \"b\": 1\n}\n",
		"carriage return": "{\"a\":\"\\n\",\r\"b\":1}",
		"both":            "{\r\n\"a\":\"\\n\",\"b\":1\r\n\r\n}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recorder := httptest.NewRecorder()
			out := &eventWriter{w: recorder, conn: http.NewResponseController(recorder), timeout: time.Minute}
			out.event(t.Context(), 3, "ForgeActivated", []byte(document))
			out.flush(t.Context())
			if name == "what is no JSON" { // nothing of it may leave
				if out.err == nil || recorder.Body.Len() > 0 {
					t.Errorf("error %v, and written was %q", out.err, recorder.Body)
				}
				return
			}
			if diff := cmp.Diff("id: 3\nevent: ForgeActivated\ndata: {\"a\":\"\\n\",\"b\":1}\n\n", recorder.Body.String()); diff != "" || out.err != nil {
				t.Errorf("%v (-want +got):\n%s", out.err, diff)
			}
		})
	}
}
