package server

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
)

// A schema is raised only when no other server runs that could not read it.
func TestOlderServersAreWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name, schema string
		servers      map[string]string
		want         string
	}{
		{"an empty store", "", nil, ""},
		{"nobody else", "1", map[string]string{"s1": `{"name":"s1","version":"0.1.0"}`}, ""},
		{"one of this release", "1", map[string]string{"s2": `{"name":"s2","version":"0.2.0","reads":2}`}, ""},
		{"one that went", "1", map[string]string{"known/s2": `{"name":"s2"}`}, ""},
		{
			"one that runs", "1",
			map[string]string{"s2": `{"name":"s2","version":"0.1.0"}`, "s3": `{"name":"s3","version":"0.2.0","reads":1}`},
			"from 1 to 2, which servers that run could not read: s2 (release 0.1.0), s3 (release 0.2.0); stop them",
		},
		{"damaged", "1", map[string]string{"s2": `{`}, "record /weft/v1/servers/s2"},
		{"no number", "x", nil, "no number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := storetest.New()
				put(t, m, keySchema, c.schema)
				for name, record := range c.servers {
					put(t, m, store.Servers+name, record)
				}
				began := time.Now()
				err := noOlder(t.Context(), m, "s1", 2)
				if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
				if waited := time.Since(began) >= signOff; waited != strings.Contains(c.want, "stop them") {
					t.Errorf("it took %v", time.Since(began))
				}
			})
		})
	}
}

func put(t *testing.T, s store.Store, key, value string) {
	t.Helper()
	if value == "" {
		return
	}
	if _, err := s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
}
