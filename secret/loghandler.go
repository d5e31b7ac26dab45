package secret

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
)

// NewLogHandler returns a handler that hands every record to next after [Mask] has been over its message, the keys and
// values of its attributes and groups, and whatever next could print of errors, Stringers and other values in them. The
// value of an attribute whose key alone says that it is a credential (access_token, client_secret, authorization,
// cookie, …) is masked whatever its shape. Levels, time, source, order and grouping stay as they are.
//
// A value that renders nothing to mask reaches next unchanged, with its type; another one becomes the masked string.
func NewLogHandler(next slog.Handler) slog.Handler {
	return maskHandler{next: next}
}

type maskHandler struct {
	next slog.Handler
}

// Enabled implements [slog.Handler].
func (h maskHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h maskHandler) Handle(ctx context.Context, record slog.Record) error {
	message := Mask(record.Message)
	unchanged := message == record.Message
	record.Attrs(func(a slog.Attr) bool {
		_, changed := maskAttr(a)
		unchanged = unchanged && !changed
		return unchanged
	})
	if !unchanged {
		masked := slog.NewRecord(record.Time, record.Level, message, record.PC)
		record.Attrs(func(a slog.Attr) bool {
			a, _ = maskAttr(a)
			masked.AddAttrs(a)
			return true
		})
		record = masked
	}
	return h.next.Handle(ctx, record) //nolint:wrapcheck // a middleware adds nothing to the handler's own error
}

// WithAttrs implements [slog.Handler].
func (h maskHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	masked, _ := maskAttrs(attrs)
	return maskHandler{next: h.next.WithAttrs(masked)}
}

// WithGroup implements [slog.Handler].
func (h maskHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return maskHandler{next: h.next.WithGroup(Mask(name))}
}

// maskAttrs returns attrs itself when nothing is to be masked.
func maskAttrs(attrs []slog.Attr) (masked []slog.Attr, changed bool) {
	masked = attrs
	for i, a := range attrs {
		m, differs := maskAttr(a)
		if differs && !changed {
			masked, changed = append([]slog.Attr(nil), attrs...), true
		}
		if differs {
			masked[i] = m
		}
	}
	return masked, changed
}

func maskAttr(a slog.Attr) (masked slog.Attr, changed bool) {
	key := Mask(a.Key)
	value, changed := maskValue(a.Value)
	if isCredentialKey(a.Key) && (value.Kind() == slog.KindString && value.String() != "" || value.Kind() == slog.KindAny && value.Any() != nil) {
		value, changed = slog.StringValue(Redacted), true
	}
	return slog.Attr{Key: key, Value: value}, changed || key != a.Key
}

// isCredentialKey reports whether an attribute's key alone says that its value is a credential, or ends with words that do
// (github_access_token, db_password). "code" does not: errors have codes too.
func isCredentialKey(key string) bool {
	for i := range key {
		for _, n := range namesOf[lower(key[i])] {
			if rest, found := cutPrefixFold(key[i:], n.name); found && rest == "" {
				return n.name != "code" && (n.distinct || i == 0 || key[i-1] == '_')
			}
		}
	}
	return false
}

func maskValue(v slog.Value) (masked slog.Value, changed bool) {
	switch v.Kind() {
	case slog.KindString:
		s := Mask(v.String())
		return slog.StringValue(s), s != v.String()
	case slog.KindGroup:
		attrs, changed := maskAttrs(v.Group())
		return slog.GroupValue(attrs...), changed
	case slog.KindLogValuer:
		// Resolved here and once, so that what was looked at is what is printed.
		masked, _ = maskValue(v.Resolve())
		return masked, true
	case slog.KindAny:
		masked, changed := maskAny(v.Any())
		if !changed {
			return v, false
		}
		return slog.StringValue(masked), true
	default: // numbers, times, booleans
		return v, false
	}
}

// maskAny looks at everything that slog's handlers may print of a value: text out of byte slices, Error, MarshalText,
// fmt's %+v and JSON. When one of them holds a credential, it returns the first, masked.
func maskAny(value any) (masked string, changed bool) {
	if value == nil {
		return "", false
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		s := string(v.Bytes())
		masked = Mask(s)
		return masked, masked != s
	}
	for i, render := range []func() string{
		func() string {
			switch value := value.(type) {
			case error:
				return value.Error()
			case encoding.TextMarshaler:
				text, _ := value.MarshalText()
				return string(text)
			default:
				return fmt.Sprintf("%+v", value)
			}
		},
		func() string { return fmt.Sprintf("%+v", value) },
		func() string {
			encoded, _ := json.Marshal(value)
			return string(encoded)
		},
	} {
		rendered := recovered(render)
		m := Mask(rendered)
		if i == 0 {
			masked = m
		}
		changed = changed || m != rendered
	}
	return masked, changed
}

// recovered returns nothing when rendering panics, as methods of nil pointers do; slog's handlers survive that too.
func recovered(render func() string) (rendered string) {
	defer func() { _ = recover() }()
	return render()
}
