package events_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/forgeauth/forgeauth/events"
)

const (
	asyncAPI       = "../docs/asyncapi.yaml"
	asyncAPIMarker = "  schemas:\n"
)

// schema is the JSON Schema of a Go type as its payload has it, in one line of YAML.
func schema(t *testing.T, of reflect.Type) string {
	t.Helper()
	switch {
	case of == reflect.TypeFor[time.Time]():
		return "{type: string, format: date-time}"
	case of == reflect.TypeFor[uuid.UUID]():
		return "{type: string, format: uuid}"
	}
	switch of.Kind() {
	case reflect.String:
		return "{type: string}"
	case reflect.Bool:
		return "{type: boolean}"
	case reflect.Int, reflect.Int16, reflect.Int64:
		return "{type: integer}"
	case reflect.Pointer:
		inner := schema(t, of.Elem())
		kind, rest, _ := strings.Cut(strings.TrimPrefix(inner, "{type: "), ",")
		if rest == "" {
			return "{type: [" + strings.TrimSuffix(kind, "}") + ", 'null']}"
		}
		return "{type: [" + kind + ", 'null']," + rest
	case reflect.Slice:
		return "{type: [array, 'null'], items: " + schema(t, of.Elem()) + "}"
	default:
		t.Fatalf("no schema for %s", of)
		return ""
	}
}

// properties are those of a fact's payload, in its order; embedded structs are flat, as in the payload.
func properties(t *testing.T, of reflect.Type) (names, lines []string) {
	t.Helper()
	for field := range of.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			inner, innerLines := properties(t, field.Type)
			names, lines = append(names, inner...), append(lines, innerLines...)
			continue
		}
		names = append(names, name)
		lines = append(lines, fmt.Sprintf("            %s: %s", name, schema(t, field.Type)))
	}
	return names, lines
}

// attributes are those of the CloudEvents, with what is known of their values.
var attributes = []struct {
	name, schema string
	optional     bool
}{
	{"specversion", "{const: '1.0'}", false},
	{"id", "{type: string, description: 'The event’s id; on replays with / and the replay’s. What was handled under an id is handled.'}", false},
	{"source", "{type: string, format: uri, description: 'urn:uuid: and the deployment’s id.'}", false},
	{"type", "{type: string}", false},
	{"subject", "{type: string, description: The stream.}", false},
	{"time", "{type: string, format: date-time}", false},
	{"datacontenttype", "{const: application/json}", false},
	{"actor", "{type: string, description: 'Who did it: session/<uuid>, cli, or what a program calls itself.'}", false},
	{"correlationid", "{type: string, format: uuid, description: The command that caused it.}", false},
	{"partitionkey", "{type: string, description: 'The stream, within which there is an order.'}", false},
	{"position", "{type: string, pattern: '^[1-9][0-9]*$', description: 'The place in the log, without gaps.'}", false},
	{"replayid", "{type: string, format: uuid, description: 'Only on what is sent once more because somebody asked for it.'}", true},
	{"schema", "{type: string, pattern: '^[1-9][0-9]*$', description: 'The version of the shape of data.'}", false},
	{"sealedsha256", "{type: string, pattern: '^[0-9a-f]{64}$', description: 'The SHA-256 of what stays sealed at home, only where something is: with it the leaf of the log’s tree can be computed.'}", true},
	{"stream", "{type: string}", false},
	{"streamversion", "{type: string, pattern: '^[1-9][0-9]*$', description: 'The place in the stream, without gaps.'}", false},
}

// generated is the part of the document that follows from the code.
func generated(t *testing.T) string {
	t.Helper()
	types := map[string]reflect.Type{}
	schemas := map[string]int16{}
	for _, fact := range facts() {
		types[events.TypeOf(fact)], schemas[events.TypeOf(fact)] = reflect.TypeOf(fact), events.SchemaOf(fact)
	}
	var b strings.Builder
	b.WriteString("    Event:\n      oneOf:\n")
	for _, name := range slices.Sorted(maps.Keys(types)) {
		fmt.Fprintf(&b, "        - $ref: '#/components/schemas/%s'\n", name)
	}
	b.WriteString("    CloudEvent:\n      type: object\n")
	var required []string
	for _, a := range attributes {
		if !a.optional {
			required = append(required, a.name)
		}
	}
	fmt.Fprintf(&b, "      required: [%s, data]\n      properties:\n", strings.Join(required, ", "))
	for _, a := range attributes {
		fmt.Fprintf(&b, "        %s: %s\n", a.name, a.schema)
	}
	b.WriteString("        data: {type: object}\n")
	for _, name := range slices.Sorted(maps.Keys(types)) {
		names, lines := properties(t, types[name])
		fmt.Fprintf(&b, "    %s:\n      allOf: [{$ref: '#/components/schemas/CloudEvent'}]\n      properties:\n", name)
		fmt.Fprintf(&b, "        type: {const: %s}\n        schema: {const: '%d'}\n        data:\n          type: object\n", name, schemas[name])
		fmt.Fprintf(&b, "          required: [%s]\n          properties:\n%s\n", strings.Join(names, ", "), strings.Join(lines, "\n"))
	}
	return b.String()
}

// The document is made from the code where it can be, so that it cannot say anything else.
func TestTheAsyncAPIDocumentIsWhatTheCodeSays(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(asyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	written, made, ok := strings.Cut(string(content), asyncAPIMarker)
	if !ok {
		t.Fatal("the marker is gone")
	}
	want := generated(t)
	if *update {
		made = want
		if err := os.WriteFile(asyncAPI, []byte(written+asyncAPIMarker+want), 0o600); err != nil { //nolint:gosec // that very file
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("%s (-code +document); -update writes it:\n%s", asyncAPI, diff)
	}
}

// And what leaves is what the document says: every golden CloudEvent is valid by it, and by no other type's schema.
func TestWhatLeavesIsAsTheAsyncAPIDocumentSays(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(asyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := yaml.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("asyncapi.json", parsed); err != nil {
		t.Fatal(err)
	}
	event, err := compiler.Compile("asyncapi.json#/components/schemas/Event")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/cloudevents/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		golden, err := os.ReadFile(file) //nolint:gosec // of this package
		if err != nil {
			t.Fatal(err)
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(golden))
		if err != nil {
			t.Fatal(err)
		}
		if err := event.Validate(instance); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		members := instance.(map[string]any) //nolint:forcetypeassert // it is an object
		members["data"] = map[string]any{}
		if err := event.Validate(instance); err == nil && !strings.Contains(file, "Empty") {
			t.Errorf("%s: without its data it is valid too", file)
		}
		for name := range members {
			known := slices.ContainsFunc(attributes, func(a struct {
				name, schema string
				optional     bool
			},
			) bool {
				return a.name == name
			})
			if !known && name != "data" {
				t.Errorf("%s: the document does not know the attribute %s", file, name)
			}
		}
	}
}
