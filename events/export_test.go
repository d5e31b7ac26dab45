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
