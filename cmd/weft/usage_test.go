package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"stats", 1, `error: unknown command "stats" for "weft"; did you mean status?`},
		{"xyzzyx", 1, `error: unknown command "xyzzyx" for "weft"; see: weft --help`},
		{"who-owns", 1, "error: write: weft who-owns "},
		{"reserve n7", 1, "error: write: weft reserve NODE PREFIX... "},
		{"status --bogus", 2, "error: unknown flag: --bogus; see: weft status --help"},
		{"token create --uses -1", 1, `error: --uses "-1": write a whole number, 0 or more; see: weft token create --help`},
		{"token create --ttl soon", 1, `error: --ttl "soon": write a time as 90s, 5m or 12h; see: `},
		{"token create --replace=perhaps", 1, `error: --replace "perhaps": write true or false; see: `},
		{"status --timeout x", 2, `error: --timeout "x": write a time as 90s, 5m or 12h; see: weft status --help`},
		{"status now", 2, "error: write: weft status "},
	} {
		var out, errs strings.Builder
		cli := &cli{in: strings.NewReader(""), out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now}
		if code := cli.run(context.Background(), strings.Fields(c.line)); code != c.code || !strings.HasPrefix(errs.String(), c.want) {
			t.Errorf("weft %s: %d, %s", c.line, code, errs.String())
		}
	}
}
