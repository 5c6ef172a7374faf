package uplink

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOrderLearns(t *testing.T) {
	o := newOrder("n1", []string{"a:1", "vip:1"}, nil)
	cases := []struct {
		told string
		want string // all that are tried, sorted; the first must stay first
	}{
		{"a:1 b:1", "a:1 b:1 vip:1"},
		{"b:1 c:1", "a:1 b:1 c:1 vip:1"}, // a is configured: it stays
		{"a:1", "a:1 vip:1"},
	}
	for _, c := range cases {
		first := o.list(time.Now())[0]
		if !o.learn(strings.Fields(c.told)) || o.learn(strings.Fields(c.told)) {
			t.Errorf("%s: news once", c.told)
		}
		got := o.list(time.Now())
		if got[0] != first {
			t.Errorf("%s: the server in use, %s, is no more the first of %v", c.told, first, got)
		}
		slices.Sort(got)
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.told, s, c.want)
		}
	}
}

// TestNodesShareServers: who has learned all servers begins with any of them, and
// one more server moves only its own share.
func TestNodesShareServers(t *testing.T) {
	three, four := []string{"10.0.0.1:7443", "10.0.0.2:7443", "10.0.0.3:7443"}, []string{"10.0.0.1:7443", "10.0.0.2:7443", "10.0.0.3:7443", "10.0.0.4:7443"}
	count, moved := map[string]int{}, 0
	const nodes = 3000
	for i := range nodes {
		node := fmt.Sprintf("n%d", i)
		before, after := newOrder(node, three[:1], three).list(time.Now())[0], newOrder(node, three[:1], four).list(time.Now())[0]
		count[before]++
		if before != after {
			moved++
			if after != four[3] {
				t.Fatalf("%s moved from %s to %s", node, before, after)
			}
		}
	}
	for _, s := range three {
		if count[s] < nodes/3-nodes/20 || count[s] > nodes/3+nodes/20 {
			t.Errorf("%s has %d of %d nodes", s, count[s], nodes)
		}
	}
	if moved < nodes/4-nodes/20 || moved > nodes/4+nodes/20 {
		t.Errorf("%d of %d nodes moved", moved, nodes)
	}
}

func TestDecodeServers(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"schema":1,"servers":["10.0.0.1:7443","[fd00::1]:7443"]}`, "10.0.0.1:7443 [fd00::1]:7443"},
		{`{"schema":1,"servers":["10.0.0.1:7443","10.0.0.1:7443","no host here"]}`, "10.0.0.1:7443"},
		{`{"schema":9,"servers":["10.0.0.1:7443"]}`, ""},
		{`{"schema":1,"serv`, ""},
	} {
		if got := strings.Join(decodeServers([]byte(c.text)), " "); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.text, got, c.want)
		}
	}
}

func FuzzDecodeServers(f *testing.F) {
	f.Add([]byte(`{"schema":1,"servers":["10.0.0.1:7443"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range decodeServers(b) {
			if again, err := ParseServer(s); err != nil || again != s {
				t.Errorf("%q is taken, and read again it is %q, %v", s, again, err)
			}
		}
	})
}
