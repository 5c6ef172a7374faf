package note

import (
	"fmt"
	"reflect"
	"strings"
)

// Settings lists the fields of a struct, a line a field: "Name: value". Structs
// inside are taken apart; functions, interfaces and pointers are left out, and a
// Secret says so. A user and password in a URL are hidden too.
func Settings(v any) []string {
	return settings("", reflect.ValueOf(v))
}

func settings(prefix string, v reflect.Value) []string {
	var out []string
	for i := range v.NumField() {
		f, field := v.Field(i), v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name := prefix + field.Name
		_, prints := f.Interface().(fmt.Stringer)
		switch f.Kind() {
		case reflect.Func, reflect.Interface, reflect.Pointer, reflect.Chan:
		case reflect.Struct:
			if prints {
				out = append(out, fmt.Sprintf("%s: %v", name, f.Interface()))
				continue
			}
			out = append(out, settings(name+".", f)...)
		default:
			out = append(out, name+": "+withoutUser(fmt.Sprint(f.Interface())))
		}
	}
	return out
}

// withoutUser hides what stands between the scheme and the @ of a URL.
func withoutUser(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	if at := strings.LastIndex(strings.SplitN(rest, "/", 2)[0], "@"); at >= 0 {
		return scheme + "://" + hidden + rest[at:]
	}
	return s
}
