package kind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"

	"github.com/weft-net/weft/proto/egress"
	"github.com/weft-net/weft/proto/near"
)

var (
	prefixType = reflect.TypeFor[netip.Prefix]()
	addrType   = reflect.TypeFor[netip.Addr]()
	portsType  = reflect.TypeFor[egress.Ports]()
)

const maxItems = 1024 // of any list in an operator's object

// strict reads JSON into a value of a spec and names each field that is unknown
// or of the wrong type. A null is a field that is not given.
func (f *findings) strict(path string, raw json.RawMessage, into reflect.Value) {
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || string(raw) == "null" {
		return
	}
	switch t := into.Type(); {
	case t == prefixType:
		strictText(f, path, raw, "a range such as 10.42.0.0/16", into, parsePrefix)
	case t == addrType:
		strictText(f, path, raw, "an address such as 10.42.0.1", into, parseAddr)
	case t == portsType:
		f.strictPorts(path, raw, into)
	case t.Kind() == reflect.String:
		strictText(f, path, raw, "a text", into, func(s string) (string, error) { return s, nil })
	case t.Kind() == reflect.Bool:
		f.strictBool(path, raw, into)
	case into.CanInt() || into.CanUint():
		f.strictInt(path, raw, into)
	case t.Kind() == reflect.Slice:
		f.strictList(path, raw, into)
	case t.Kind() == reflect.Struct:
		f.strictStruct(path, raw, into)
	default:
		f.add(path, "cannot be read: %v is no type of a spec", t)
	}
}

func (f *findings) strictStruct(path string, raw json.RawMessage, into reflect.Value) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		f.mismatch(path, raw, "a set of fields")
		return
	}
	var names []string
	for i := range into.NumField() {
		name, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ",")
		names = append(names, name)
		f.strict(path+"."+name, fields[name], into.Field(i))
		delete(fields, name)
	}
	for _, name := range sortedKeys(fields) {
		f.unknown(path, name, names)
	}
}

// unknown reports a field that is not there, with the likeliest that is.
func (f *findings) unknown(path, name string, names []string) {
	field := path + "." + cut(name)
	if path == "" {
		field = cut(name)
	}
	if meant, ok := near.Name(name, names); ok {
		f.add(field, "is not a field; did you mean %s", meant)
		return
	}
	if len(names) == 0 {
		f.add(field, "is not a field: %s has none", path)
		return
	}
	f.add(field, "is not a field; accepted: %s", strings.Join(names, ", "))
}

func (f *findings) strictList(path string, raw json.RawMessage, into reflect.Value) {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		f.mismatch(path, raw, "a list")
		return
	}
	if len(items) > maxItems {
		f.add(path, "has %d items; at most %d are accepted", len(items), maxItems)
		return
	}
	list := reflect.MakeSlice(into.Type(), len(items), len(items))
	for i, item := range items {
		here := fmt.Sprintf("%s[%d]", path, i)
		if string(bytes.TrimSpace(item)) == "null" {
			f.add(here, "is null; leave it out")
			continue
		}
		f.strict(here, item, list.Index(i))
	}
	if len(items) > 0 {
		into.Set(list)
	}
}

func (f *findings) strictBool(path string, raw json.RawMessage, into reflect.Value) {
	var b bool
	if json.Unmarshal(raw, &b) != nil {
		f.mismatch(path, raw, "true or false")
		return
	}
	into.SetBool(b)
}

// strictPorts takes a number or a text.
func (f *findings) strictPorts(path string, raw json.RawMessage, into reflect.Value) {
	var p egress.Ports
	if json.Unmarshal(raw, &p) != nil {
		f.mismatch(path, raw, "a port, 1 to 65535, or a range such as \"8000-8100\"")
		return
	}
	into.Set(reflect.ValueOf(p))
}

// strictInt takes any JSON number without a fraction: a protobuf Struct has no
// integers.
func (f *findings) strictInt(path string, raw json.RawMessage, into reflect.Value) {
	var n float64
	switch err := json.Unmarshal(raw, &n); {
	case err != nil || n != math.Trunc(n):
		f.mismatch(path, raw, "a whole number")
	case math.Abs(n) > 1<<53 || into.CanInt() && into.OverflowInt(int64(n)) || into.CanUint() && (n < 0 || into.OverflowUint(uint64(n))):
		f.add(path, "%s is out of bounds%s", cut(string(raw)), bounds(into))
	case into.CanUint() && n == 0: // it would be taken for what is not given
		f.add(path, "0 is out of bounds%s; leave the field away for its default", bounds(into))
	case into.CanInt():
		into.SetInt(int64(n))
	default:
		into.SetUint(uint64(n))
	}
}

// bounds are those of the unsigned fields of specs: UDP ports, and VNIs.
func bounds(into reflect.Value) string {
	switch into.Kind() {
	case reflect.Uint16:
		return fmt.Sprintf("; accepted: 1 to %d", math.MaxUint16)
	case reflect.Uint32:
		return fmt.Sprintf("; accepted: 1 to %d", maxVNI)
	}
	return ""
}

func strictText[T any](f *findings, path string, raw json.RawMessage, want string, into reflect.Value, parse func(string) (T, error)) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		f.mismatch(path, raw, want)
		return
	}
	v, err := parse(s)
	if err != nil {
		f.add(path, "%v", err)
		return
	}
	into.Set(reflect.ValueOf(v))
}

func (f *findings) mismatch(path string, raw json.RawMessage, want string) {
	f.add(path, "%s is not accepted; accepted: %s", cut(string(raw)), want)
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err == nil {
		return p, nil
	}
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.Prefix{}, fmt.Errorf("%v has no length; write it as %v/%d, or with a shorter length", a, a, a.BitLen())
	}
	return netip.Prefix{}, fmt.Errorf("%s is not a range; write one as 10.42.0.0/16 or fd42:42::/48", quote(s))
}

func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s is not an address; write one as 10.42.0.1 or fd42:42::1", quote(s))
	}
	return a, nil
}

// cut shortens what an operator wrote to what fits a line.
func cut(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
