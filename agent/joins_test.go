package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/proto/intent"
)

// TestJoins: what is the matter with the path to a peer is said once that has been there
// for a while, without anything else having to happen.
func TestJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j joins
		at := func(rev int64, names ...string) intent.Node {
			n := intent.Node{Name: "n1", Revision: rev, Cluster: intent.Cluster{Backend: intent.WireGuard}}
			for _, name := range names {
				n.Peers = append(n.Peers, intent.Peer{Name: name})
			}
			return n
		}
		problems := []intent.Problem{{Subject: "eth0"}, {Subject: intent.PeerKey("n2")}, {Subject: intent.PeerKey("n3")}}
		expect := func(what string, n intent.Node, want string) {
			t.Helper()
			var got string
			for _, p := range j.told(problems, n, time.Now()) {
				got += p.Subject + " "
			}
			if got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		expect("both are new", at(1, "n1", "n2"), "eth0 Node//n3 ")
		time.Sleep(10 * time.Second)
		expect("another has come", at(2, "n1", "n2", "n3"), "eth0 ")
		began := time.Now()
		<-j.ripe(began)
		if passed := time.Since(began); passed != 5*time.Second {
			t.Errorf("the first is said after %v", passed)
		}
		expect("the first is old", at(2, "n1", "n2", "n3"), "eth0 Node//n2 ")
		expect("it was away", at(3, "n1", "n3"), "eth0 Node//n2 ")
		expect("and is back", at(4, "n1", "n2", "n3"), "eth0 ")
		<-j.ripe(time.Now())
		<-j.ripe(time.Now())
		time.Sleep(joining)
		expect("all are old", at(4, "n1", "n2", "n3"), "eth0 Node//n2 Node//n3 ")
		if j.ripe(time.Now()) != nil {
			t.Error("something is to be said, and nothing was held back")
		}
		plain := at(5, "n1", "n2", "n4")
		plain.Cluster.Backend = intent.HostGW
		expect("pairs that do not choose", plain, "eth0 Node//n2 Node//n3 ")
	})
}
