package document

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Message is a service's answer as JSON: every field, in the order of the proto
// file, in lowerCamel, 64-bit integers as numbers (protojson makes them text,
// which jq cannot compare).
func Message(m proto.Message) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := message(&b, m.ProtoReflect()); err != nil {
		return nil, fmt.Errorf("document: %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return b.Bytes(), nil
}

func message(b *bytes.Buffer, m protoreflect.Message) error {
	fields := m.Descriptor().Fields()
	b.WriteByte('{')
	first := true
	for i := range fields.Len() {
		f := fields.Get(i)
		if (f.Message() != nil && !f.IsList() && !f.IsMap() || f.ContainingOneof() != nil) && !m.Has(f) {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		fmt.Fprintf(b, "%q:", f.JSONName())
		if err := field(b, f, m.Get(f)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func field(b *bytes.Buffer, f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	switch {
	case f.IsMap():
		m := map[string]json.RawMessage{}
		var failed error
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			var item bytes.Buffer
			failed = single(&item, f.MapValue(), v)
			m[k.String()] = item.Bytes()
			return failed == nil
		})
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(m)) {
			if i > 0 {
				b.WriteByte(',')
			}
			name, err := json.Marshal(k)
			if err != nil {
				return err
			}
			fmt.Fprintf(b, "%s:%s", name, m[k])
		}
		b.WriteByte('}')
		return failed
	case f.IsList():
		b.WriteByte('[')
		for i := range v.List().Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := single(b, f, v.List().Get(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	return single(b, f, v)
}

func single(b *bytes.Buffer, f protoreflect.FieldDescriptor, v protoreflect.Value) error {
	var out any
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return message(b, v.Message())
	case protoreflect.EnumKind:
		out = int32(v.Enum())
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
			out = string(d.Name())
		}
	case protoreflect.BytesKind:
		out = base64.StdEncoding.EncodeToString(v.Bytes())
	default:
		out = v.Interface()
	}
	raw, err := json.Marshal(out)
	b.Write(raw)
	return err
}
