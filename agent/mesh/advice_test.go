package mesh

import (
	"testing"
	"time"
)

// What would help looks at the routers of both ends.
func TestAdvice(t *testing.T) {
	for _, c := range []struct{ a, b, cut, want string }{
		{"public", "blocked", "", "let UDP out of the network of b: nothing of it reaches the servers"},
		{"blocked", "easy", "", "let UDP out of the network of a: nothing of it reaches the servers"},
		{"blocked", "blocked", "", "let UDP out of the networks of b and of a: nothing of it reaches the servers"},
		{"public", "hard", "udp", "let UDP 51820 in to 203.0.113.1 of a, and out of the network of b: the address is its own, and nothing answers there"},
		{"public", "public", "udp", "let UDP 51820 in to 203.0.113.2 of b, and out of the network of a: the address is its own, and nothing answers there"},
		{"hard", "hard", "", "forward UDP 51820 at the router of b or of a (one is enough), and give that node --node-external-ip"},
		{"easy", "hard", "", "forward UDP 51820 at the router of b or of a (one is enough), and give that node --node-external-ip"},
		{"public", "easy", "", ""},
	} {
		t.Run(c.a+"-"+c.b, func(t *testing.T) {
			w, _, _ := two(t, c.a, c.b, "s1")
			w.sever("a", "b", c.cut)
			w.run(30 * time.Second)
			e, _ := w.nodes["a"].m.Explain("b", w.now)
			if e.Climb != c.want {
				t.Errorf("to climb: %s\nwant:     %s", e.Climb, c.want)
			}
		})
	}
}
