package events

// Encode is how the writer makes payloads.
func Encode(f Fact) ([]byte, error) { return encode(f) }

// SchemaOf is the schema in which f is written.
func SchemaOf(f Fact) int16 { return f.fact().schema }

// Queued is how many decisions wait for the writer.
func (w *Writer[S]) Queued() int { return len(w.queue) }

// Closing is closed when the writer takes no more decisions.
func (w *Writer[S]) Closing() <-chan struct{} { return w.closing }

// Remembered is of how many streams the writer remembers the version. It must not be appending.
func (w *Writer[S]) Remembered() int { return len(w.session.tail.versions) }

// RememberedStreams is about how many it may.
const RememberedStreams = rememberedStreams

// NewMessage is how the feed makes messages.
var NewMessage = newMessage

// SQL returns the statement of a query.
func (q Query) SQL() (string, []any) { return q.sql() }

// GrantedSQL returns the statement of [Log.GrantedBefore].
func GrantedSQL(forgeType string, positions ...int64) (string, []any) {
	var asked []Grantee
	for _, position := range positions {
		asked = append(asked, Grantee{forgeType, position})
	}
	return grantedSQL(asked)
}

// The statements of look-ups by lists.
var (
	AtPositionsSQL    = severalSQL(atPositions)
	FirstOfStreamsSQL = severalSQL(firstOfStreams)
)
