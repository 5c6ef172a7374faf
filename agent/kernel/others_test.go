package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel/kerneltest"
)

// TestOtherChains: what others forward by is seen, ours and what is elsewhere is
// not, and each that comes or goes kicks once somebody watches.
func TestOtherChains(t *testing.T) {
	k := open(t)
	converge(t, k, merge(t, datapath.BaseChains()))
	list := func() []string {
		t.Helper()
		chains, err := k.OtherChains(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, c := range chains {
			out = append(out, fmt.Sprintf("%s %s %s type %s hook %s", c.Family, c.Table, c.Name, c.Type, c.Hook))
		}
		slices.Sort(out)
		return out
	}
	var kicks <-chan datapath.Kinds
	docker, libvirt := "ip docker FORWARD type filter hook forward", "inet virt post type nat hook postrouting"
	for _, c := range []struct {
		what  string
		lines []string
		want  []string
		quiet bool
	}{
		{"none", nil, nil, true},
		{"elsewhere", []string{
			"nft add table inet other", "nft add chain inet other in { type filter hook input priority 0 ; }", "nft add chain inet other forward",
			"nft add table bridge b", "nft add chain bridge b over { type filter hook forward priority 0 ; }",
		}, nil, true},
		{"Docker comes", []string{"nft add table ip docker", "nft add chain ip docker FORWARD { type filter hook forward priority 0 ; }"}, []string{docker}, false},
		{"libvirt comes", []string{"nft add table inet virt", "nft add chain inet virt post { type nat hook postrouting priority 100 ; }"}, []string{libvirt, docker}, false},
		{"a chain goes", []string{"nft delete chain inet virt post"}, []string{docker}, false},
		{"a table goes", []string{"nft delete table ip docker"}, nil, false},
	} {
		for _, line := range c.lines {
			kerneltest.Run(t, line)
		}
		if !c.quiet {
			awaitPlan(t, kicks)
		}
		if d := cmp.Diff(c.want, list()); d != "" {
			t.Errorf("%s (-want +have):\n%s", c.what, d)
		}
		if kicks == nil {
			kicks = watched(t, k)
		}
	}
}

// awaitPlan waits for a kick without kinds: plan again.
func awaitPlan(t *testing.T, kicks <-chan datapath.Kinds) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case kinds := <-kicks:
			if kinds == 0 {
				return
			}
		case <-late:
			t.Fatal("no kick to plan again")
		}
	}
}

// TestDormant: a table that somebody put to sleep is seen so, and woken together
// with other steps on its base chains.
func TestDormant(t *testing.T) {
	k := open(t)
	want := merge(t, datapath.BaseChains())
	converge(t, k, want)
	kicks := watched(t, k)
	kerneltest.Run(t, "nft add table inet weft { flags dormant ; }")
	if kinds := <-kicks; !kinds.Has(datapath.KindChain) {
		t.Errorf("kicked %b", kinds)
	}
	kerneltest.Run(t, "nft delete chain inet weft clamp")
	kerneltest.Run(t, "nft add chain inet weft stray { type filter hook input priority 7 ; }")
	have, err := k.Observe(t.Context(), datapath.Of(datapath.KindChain))
	if err != nil {
		t.Fatal(err)
	}
	if have[datapath.Dormant{}.Key()] == nil {
		t.Error("the table is not seen to sleep")
	}
	converge(t, k, want)
	if out := kerneltest.Run(t, "nft list table inet weft"); strings.Contains(out, "dormant") {
		t.Errorf("still asleep:\n%s", out)
	}
}
