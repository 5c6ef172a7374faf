package mesh

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/proto/intent"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// The pages of explain, as operators read them.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T) (w *world, a, b string)
	}{
		{"relayed", func(t *testing.T) (*world, string, string) {
			w, a, b := two(t, "clash", "hard", "s1")
			a.self.Labels[intent.SiteLabel], b.self.Labels[intent.SiteLabel] = "fra", "home"
			w.tell()
			w.run(time.Minute)
			return w, "a", "b"
		}},
		{"direct", func(t *testing.T) (*world, string, string) {
			w, _, _ := neighbours(t, "s1")
			w.run(time.Minute)
			return w, "a", "b"
		}},
		{"no-shared-link", func(t *testing.T) (*world, string, string) {
			w, a, b := two(t, "public", "public")
			a.self.Labels[intent.SiteLabel], b.self.Labels[intent.SiteLabel] = "dc", "dc"
			w.tell()
			w.run(time.Minute)
			return w, "a", "b"
		}},
		{"gateways", func(t *testing.T) (*world, string, string) {
			w := newWorld(t, 3)
			w.cluster.Topology = intent.TopologyGateways
			w.site("x", "easy")
			w.site("y", "hard")
			w.site("dc", "public")
			w.node("a", "x", "x")
			w.node("b", "y", "y")
			w.node("g1", "dc", "x").self.Labels[intent.RelayLabel] = "true"
			w.node("g2", "dc", "y").self.Labels[intent.RelayLabel] = "true"
			w.tell()
			w.run(time.Minute)
			return w, "a", "b"
		}},
		{"dead", func(t *testing.T) (*world, string, string) {
			w, _, b := two(t, "public", "easy")
			w.run(20 * time.Second)
			b.down = true
			w.run(time.Minute)
			return w, "a", "b"
		}},
		{"begun", func(t *testing.T) (*world, string, string) {
			w, _, b := two(t, "public", "public", "s1")
			b.down = true
			w.run(2 * time.Second)
			return w, "a", "b"
		}},
		{"udp-blocked", func(t *testing.T) (*world, string, string) {
			w, _, _ := two(t, "easy", "blocked", "s1")
			w.run(time.Minute)
			return w, "a", "b"
		}},
		{"black-hole", func(t *testing.T) (*world, string, string) {
			w, _, _ := two(t, "public", "public")
			w.hole[[2]string{"a", "b"}] = 1300
			w.run(time.Minute)
			return w, "a", "b"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, a, b := c.make(t)
			e, ok := w.nodes[a].m.Explain(b, w.now)
			if !ok {
				t.Fatal("not known")
			}
			file := filepath.Join("testdata", "explain", c.name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(e.Text(w.now)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), e.Text(w.now)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExplainOfNobody(t *testing.T) {
	if _, ok := New("a", epoch).Explain("b", epoch); ok {
		t.Error("explains a peer that is not there")
	}
}
