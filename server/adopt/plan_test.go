package adopt

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// past is that of a store which was lost before epoch 3, and is lost again.
var past = Past{Epochs: map[string]uint64{"e1": 1, "e2": 2, "e3": 3, "e4": 4}, Losses: []uint64{3}, Began: 5}

// word reads "n1 e1@50 A; n2 B": what an agent says of itself, and of others.
func word(t *testing.T, text string) Word {
	t.Helper()
	letters := strings.NewReplacer("A", "10.42.0.0/24", "B", "10.42.1.0/24", "C", "10.42.2.0/24")
	claims := strings.Split(letters.Replace(text), ";")
	first := strings.Fields(claims[0])
	var w Word
	if _, err := fmt.Sscanf(strings.Replace(first[1], "@", " ", 1), "%s %d", &w.Epoch, &w.Self.Revision); err != nil {
		t.Fatal(err)
	}
	config := kind.ClusterConfigSpec{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}}
	cluster, err := compile.Cluster(config.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	w.Cluster = intent.EncodeCluster(cluster)
	w.Self.Node, w.Self.Prefixes = first[0], prefixes(first[2:])
	for _, c := range claims[1:] {
		f := strings.Fields(c)
		w.Peers = append(w.Peers, kind.Claim{Node: f[0], Prefixes: prefixes(f[1:])})
	}
	return w
}

func prefixes(texts []string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// Each prefix is whose youngest word says so; what a node carries besides is kept for it.
func TestWhoHasWhat(t *testing.T) {
	for _, row := range []struct {
		name  string
		words []string
		want  string // "n1 A, n2 B claims A"
	}{
		{"all are there", []string{"n1 e4@50 A; n2 B", "n2 e4@50 B; n1 A"}, "n1 A, n2 B"},
		{"one has not come", []string{"n1 e4@50 A; n2 B"}, "n1 A, n2 B"},
		{"a younger word of others counts before an older of oneself", []string{"n1 e4@50 A", "n3 e4@90 C; n2 A"}, "n1 claims A, n2 A, n3 C"},
		{"a younger epoch counts before a later revision", []string{"n1 e3@900 A", "n2 e4@50 A"}, "n1 claims A, n2 A"},
		{"each prefix for itself", []string{"n1 e4@50 A B", "n3 e4@90 C; n2 A"}, "n1 B claims A, n2 A, n3 C"},
		{"what peers said before is over", []string{"n3 e4@50 C; n1 A", "n2 e4@90 A"}, "n2 A, n3 C"},
		{"but for what was said before a loss", []string{"n3 e2@50 C; n1 A", "n2 e4@90 A"}, "n1 claims A, n2 A, n3 C"},
		{"an epoch that nobody knows is the youngest", []string{"n1 e4@900 A", "n2 lost@50 A"}, "n1 claims A, n2 A"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var words []Word
			for _, text := range row.words {
				words = append(words, word(t, text))
			}
			p, err := Make(words, past)
			if err != nil {
				t.Fatal(err)
			}
			letters := strings.NewReplacer("10.42.0.0/24", "A", "10.42.1.0/24", "B", "10.42.2.0/24", "C", "[", "", "]", "")
			var got []string
			for _, n := range p.Nodes {
				text := n.Node
				if len(n.Prefixes) > 0 {
					text += " " + fmt.Sprint(n.Prefixes)
				}
				if len(n.Lost) > 0 {
					text += " claims " + fmt.Sprint(n.Lost)
				}
				if len(n.Prefixes)+len(n.Lost) > 0 {
					got = append(got, letters.Replace(text))
				}
			}
			if diff := cmp.Diff(row.want, strings.Join(got, ", ")); diff != "" {
				t.Error(diff)
			}
			objects, err := p.Objects(time.Unix(1_800_000_000, 0))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range p.Nodes {
				leased, known := objects[kind.Key(kind.Lease, "", n.Node)], objects[store.Words+n.Node]
				if disputed := objects[store.Disputes+n.Node]; (leased != nil) != (len(n.Prefixes) > 0) || (known != nil) != (leased != nil) || (disputed != nil) != (len(n.Lost) > 0) {
					t.Errorf("%s: lease %s, known %s, disputed %s", n.Node, leased, known, disputed)
				}
			}
		})
	}
}
