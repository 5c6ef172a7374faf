package selector

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what is expected")

// What is written is read by the real thing in integration/oracle/egressselector.
func TestRender(t *testing.T) {
	const file, data = "/etc/weft/kube-apiserver/egress-selector.yaml", "/var/lib/weft/server"
	for name, s := range map[string]Selection{
		"socket":       {Front: Socket, Socket: data + "/egress.sock", File: file, Data: data},
		"tcp":          {Front: TCP, URL: "https://127.0.0.1:7443", File: file, Data: data},
		"konnectivity": {Front: Konnectivity, Socket: "/run/weft-server/konnectivity.sock", File: file, Data: data},
		"quoted":       {Front: Socket, Socket: `/srv/a "b"/#c.sock`, File: "/srv/{x}.yaml", Data: data},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.Render()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		s    Selection
		want string
	}{
		{Selection{Front: Socket, File: "/f"}, "the socket has no path"},
		{Selection{Front: Socket, Socket: "/s"}, "the file has no path"},
		{Selection{Front: Socket, Socket: "s", File: "/f"}, `the socket "s" is no absolute path`},
		{Selection{Front: Socket, Socket: "/a:b", File: "/f"}, `the socket "/a:b" holds a colon`},
		{Selection{Front: Socket, Socket: "/s", File: "/f\nx: y"}, "holds a colon or control characters"},
		{Selection{Front: TCP, File: "/f"}, `"" is no URL of the TLS port; give one such as https://127.0.0.1:7443`},
		{Selection{Front: TCP, File: "/f", URL: "http://127.0.0.1:7443"}, "is no URL of the TLS port"},
		{Selection{Front: TCP, File: "/f", URL: "https://s1"}, `"https://s1" has no port`},
		{Selection{Front: TCP, File: "/f", URL: "https://a:b@s1:7443"}, "is no URL of the TLS port"},
		{Selection{Front: "grpc", File: "/f", Socket: "/s"}, "there is no such front end"},
	} {
		if _, err := c.s.Render(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v\ngot  %v\nwant %s", c.s, err, c.want)
		}
	}
}
