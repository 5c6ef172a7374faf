package egress

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	rules "github.com/weft-net/weft/proto/egress"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What becomes of a dial: one line a case.
func TestDial(t *testing.T) {
	closed, direct := kind.FallbackClosed, kind.FallbackDirect
	for _, c := range []struct{ mode, fallback, node, target, want string }{
		{kind.EgressPod, closed, "", "192.0.2.11:10250", "n1 dials 192.0.2.11:10250 for ann (admin)"},
		{kind.EgressPod, closed, "", "10.42.1.7:80", "n1 dials 10.42.1.7:80 for ann (admin)"},
		{kind.EgressAgent, closed, "", "10.42.1.7:80", "s1 dials 10.42.1.7:80 for nobody (no role)"},
		{kind.EgressDisabled, closed, "", "192.0.2.11:10250", "s1 dials 192.0.2.11:10250 for nobody (no role)"},
		{kind.EgressDisabled, closed, "n1", "192.0.2.11:10250", "n1 dials 192.0.2.11:10250 for ann (admin)"},
		{kind.EgressAgent, closed, "", "n1:10250", "n1 dials 192.0.2.11:10250 for ann (admin)"},
		{kind.EgressAgent, closed, "n1", "web.shop:80", "n1 dials web.shop:80 for ann (admin)"},
		{kind.EgressPod, closed, "", "web.example.org:80", "n1 dials 10.42.1.7:80 for ann (admin)"},
		{kind.EgressAgent, closed, "", "nowhere.example:80", "Unreachable: resolve nowhere.example: no such host; name the node"},
		{kind.EgressCluster, closed, "", "10.43.0.1:443", "n1 dials 10.43.0.1:443 for ann (admin)"},
		{kind.EgressPod, closed, "", "10.42.2.7:80", "NoTunnel: node n2 has a tunnel to no server that answers; on the node: weft status --local"},
		{kind.EgressPod, direct, "", "10.42.2.7:80", "s1 dials 10.42.2.7:80 for nobody (no role)"},
		{kind.EgressPod, direct, "n2", "10.42.2.7:80", "NoTunnel: node n2 has a tunnel to no server that answers"},
		{kind.EgressPod, direct, "", "n3:10250", "s1 dials 192.168.1.5:10250 for nobody (no role)"},
		{kind.EgressPod, closed, "", "192.168.1.5:10250", "Ambiguous: 192.168.1.5 is an address of node n2 and n3; say which"},
		{kind.EgressPod, closed, "", "192.0.2.11:22", "Forbidden: 192.0.2.11:22 is node n1's own address, and 22 none of its host ports"},
		{kind.EgressDisabled, closed, "", "192.0.2.11:22", "Forbidden: 192.0.2.11:22 is node n1's own address"},
		{kind.EgressPod, closed, "n1", "10.42.2.7:80", "Forbidden: 10.42.2.7:80 is in the cluster's range, but not in node n1's lease"},
		{kind.EgressPod, closed, "", "203.0.113.9:80", "Forbidden: 203.0.113.9:80"},
		{kind.EgressDisabled, closed, "", "127.0.0.1:80", "Forbidden: 127.0.0.1"},
		{kind.EgressDisabled, closed, "", "[::ffff:127.0.0.1]:80", "Forbidden: 127.0.0.1"},
		{kind.EgressPod, direct, "", "169.254.169.254:80", "Forbidden: 169.254.169.254"},
		{kind.EgressPod, direct, "", "[::1]:80", "Forbidden: [::1]:80 is loopback"},
		{kind.EgressPod, direct, "", "0.0.0.0:80", "Forbidden: 0.0.0.0"},
		{kind.EgressPod, closed, "unheard", "10.42.1.7:80", "NoTunnel: there is no node unheard; see which there are: weft get nodes"},
	} {
		s := one(t, c.mode, c.fallback)
		s.has("n1", echo("n1"))
		if got := s.said(ann, c.node, c.target); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s %s, node %q, %s\ngot  %s\nwant %s", c.mode, c.fallback, c.node, c.target, got, c.want)
		}
		if d := s.traces.newest()[0].wire(); d.GetResult() == "Dialling" || d.GetResult() == "Open" {
			t.Errorf("%s: its trace says %s", c.target, d.GetResult())
		}
		s.stop()
	}
}

// A policy opens and closes, from when it is written on.
func TestPolicies(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	s.has("n1", echo("n1"))
	bob := Asker{User: "bob", Role: "viewer", Front: "connect"}
	for _, c := range []struct {
		policy string
		by     Asker
		target string
		want   string
	}{
		{`{"users": ["ann"], "allow": [{"cidr": "192.0.2.11/32", "ports": [22]}]}`, ann, "192.0.2.11:22", "n1 dials 192.0.2.11:22"},
		{"", bob, "192.0.2.11:22", "Forbidden: "},
		{"", bob, "10.42.1.7:80", "n1 dials"},
		{`{"roles": ["viewer"], "deny": [{"cidr": "10.42.0.0/16"}]}`, bob, "10.42.1.7:80", "Forbidden: "},
		{"", ann, "10.42.1.7:80", "n1 dials"},
		{"", ann, "192.0.2.11:22", "Forbidden: "}, // that policy is another now
		{`{"allow": [{"cidr": "203.0.113.0/24"}]}`, ann, "203.0.113.9:443", "s1 dials 203.0.113.9:443"},
	} {
		if c.policy != "" {
			s.write(kind.EgressPolicy, "p", json.RawMessage(c.policy))
			s.until(func() bool { return s.atlas.knows(s.t, c.policy) })
		}
		if got := s.said(c.by, "", c.target); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v dials %s under %s\ngot  %s\nwant %s", c.by, c.target, c.policy, got, c.want)
		}
	}
}

// What the agent says is what the asker hears.
func TestAgentsRefusals(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackDirect)
	for _, c := range []struct {
		code Code
		want string
	}{
		{Forbidden, "Forbidden: node n1: nobody  may"},
		{Unreachable, "Unreachable: node n1: nobody  may"},
		{TimedOut, "TimedOut: node n1: nobody  may"},
		{Overloaded, "Overloaded: node n1: nobody  may"},
	} {
		s.has("n1", refusing(c.code, "nobody\r\nmay"))
		if got := s.said(ann, "", "10.42.1.7:80"); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	if len(s.denials) != 1 || s.denials[0] != "admin ann over connect: 10.42.1.7:80 by n1: node" {
		t.Errorf("told to the audit: %q", s.denials)
	}
}

// A dial whose agent does not answer ends when its asker wants no more.
func TestDialEndsWithItsAsker(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackDirect)
	s.has("n1", nil).deaf = true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Dial(ctx, ann, Request{Host: "10.42.1.7", Port: 80})
	if Refused(err).Code != TimedOut {
		t.Errorf("%v", err)
	}
}

// The newest tunnel of a process is used; what goes through the one before goes on.
func TestNewestOfTheSameInstance(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	old := s.has("n1", echo("old"))
	c, err := s.Dial(t.Context(), ann, Request{Host: "10.42.1.7", Port: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.has("n1", echo("new"))
	if got := s.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "new dials") {
		t.Error(got)
	}
	if !old.drained || old.end != nil {
		t.Errorf("the old tunnel: drained %v, ended %v", old.drained, old.end)
	}
	if _, err := c.Write([]byte("still here")); err != nil {
		t.Error(err)
	}
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "still here") {
		t.Errorf("%q, %v", b, err)
	}
	for range maxOlder + 1 {
		s.has("n1", echo("newer"))
	}
	if old.end == nil {
		t.Error("tunnels that drain are not bounded")
	}
}

// Another process gets a name only when its holder does not answer.
func TestAnotherInstance(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	holder := s.has("n1", echo("holder"))
	w := s.come("n1", "another", newPretended(echo("another")))
	if w.Code != http.StatusConflict || w.Header().Get("Retry-After") != "10" || !strings.Contains(w.Body.String(), "another agent is node n1: it holds the name from") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if got := s.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "holder dials") {
		t.Error(got)
	}
	holder.deaf = true
	if w := s.come("n1", "another", newPretended(echo("another"))); w.Code != http.StatusSwitchingProtocols {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := s.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "another dials") {
		t.Error(got)
	}
	if !errors.Is(holder.end, errSilent) {
		t.Errorf("who did not answer: %v", holder.end)
	}
}

// A tunnel ends with the certificate that it came with, and is not used after.
func TestRevoked(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	l := s.has("n1", echo("n1"))
	s.cuts["n1"](status.Error(codes.PermissionDenied, "node n1: it was revoked"))
	<-l.Done()
	if got := s.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "NoTunnel: ") {
		t.Error(got)
	}
	s.until(func() bool { return len(s.sessions.list()) == 0 })
	s.has("n1", echo("n1"))
	if _, _, back := s.sessions.counted(); back["revoked"] != 1 {
		t.Errorf("reconnections: %v", back)
	}
	if w := s.come("evil", "i", nil); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "it was revoked") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTunnelHeaders(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	for _, c := range []struct{ instance, want string }{
		{"", "Weft-Instance is not 1 to 64 visible characters"},
		{strings.Repeat("x", 65), "Weft-Instance is not"},
		{"a b", "Weft-Instance is not"},
		{"a\x7f", "Weft-Instance is not"},
	} {
		if w := s.come("n1", c.instance, nil); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%q: %d %s", c.instance, w.Code, w.Body)
		}
	}
}

// Over the other server, once; and when that one dies, over where the agent is then.
func TestTwoServers(t *testing.T) {
	f := &fabric{}
	s1, s2 := f.started(t, "s1", kind.EgressPod, kind.FallbackClosed), f.started(t, "s2", kind.EgressPod, kind.FallbackClosed)
	s2.has("n1", echo("n1 at s2"))
	if got := s1.said(ann, "", "10.42.1.7:80"); got != "n1 at s2 dials 10.42.1.7:80 for ann (admin)" {
		t.Fatal(got)
	}
	d := s1.traces.newest()[0].wire()
	if d.GetServer() != "s2" || s2.traces.newest()[0].id != d.GetId() {
		t.Errorf("traces: %v, %v", d, s2.traces.newest()[0].wire())
	}
	if got := s1.said(ann, "", "192.0.2.11:22"); !strings.HasPrefix(got, "Forbidden: ") {
		t.Error(got)
	}
	open, err := s1.Dial(t.Context(), ann, Request{Host: "10.42.1.7", Port: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	f.kill("s2")
	if _, err := io.Copy(io.Discard, open); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("what went over the other server ends with %v", err)
	}
	if got := s1.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "NoTunnel: node n1 has a tunnel to no server that answers (s2: does not answer)") {
		t.Error(got)
	}
	s1.has("n1", echo("n1 at s1"))
	if got := s1.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "n1 at s1 dials") {
		t.Error(got)
	}
}

// A refusal of the node comes over the other server as it is.
func TestRefusalOverTheOtherServer(t *testing.T) {
	f := &fabric{}
	s1, s2 := f.started(t, "s1", kind.EgressPod, kind.FallbackDirect), f.started(t, "s2", kind.EgressPod, kind.FallbackDirect)
	s2.has("n1", refusing(Forbidden, "the file on the node refuses 10.42.1.7:80 \"100 %\""))
	if got := s1.said(ann, "", "10.42.1.7:80"); got != `Forbidden: node n1: the file on the node refuses 10.42.1.7:80 "100 %"` {
		t.Error(got)
	}
	// The agent left s2 for nowhere, which s1 does not know yet.
	s2.has("n1", echo("n1"))
	s1.found.drop("n1")
	if got := s1.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "n1 dials") {
		t.Fatal(got)
	}
	s2.sessions.get("n1").link.End(errors.New("gone"))
	if got := s1.said(ann, "n1", "10.42.1.7:80"); !strings.HasPrefix(got, "NoTunnel: ") {
		t.Error(got)
	}
}

// A tunnel that has ended is not the end while there is a newer one.
func TestGoneIsTriedAgain(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	s.has("n1", func(context.Context, rules.Request) (Conn, error) {
		s.has("n1", echo("next"))
		return nil, errGone
	})
	if got := s.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "next dials") {
		t.Error(got)
	}
}

// Who dials what is nobody's: a default route before others, the idlest of them.
func TestAnyNode(t *testing.T) {
	f := &fabric{}
	s1, s2 := f.started(t, "s1", kind.EgressCluster, kind.FallbackClosed), f.started(t, "s2", kind.EgressCluster, kind.FallbackClosed)
	if got := s1.said(ann, "", "10.43.0.1:443"); !strings.HasPrefix(got, "NoTunnel: 10.43.0.1 is a service's address, in 10.43.0.0/16, and no node has a tunnel") {
		t.Error(got)
	}
	s2.has("n3", echo("n3"))
	if got := s1.said(ann, "", "10.43.0.1:443"); !strings.HasPrefix(got, "n3 dials") {
		t.Error(got)
	}
	s1.has("n1", echo("n1")).figures.Streams = 5
	s1.has("n2", echo("n2"))
	if got := s1.said(ann, "", "10.43.0.1:443"); !strings.HasPrefix(got, "n2 dials") {
		t.Error(got)
	}
	s1.atlas.take([]store.Event{event(t, kind.Node, "n3", map[string]string{LabelDefaultRoute: "true"}, kind.NodeSpec{})})
	if got := s1.said(ann, "", "10.43.0.1:443"); !strings.HasPrefix(got, "n3 dials") {
		t.Error(got)
	}
}

// When a server stops, what is open gets a moment, and nothing is left.
func TestStop(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	l := s.has("n1", echo("n1"))
	c, err := s.Dial(t.Context(), ann, Request{Host: "10.42.1.7", Port: 80})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.stop() }()
	s.until(func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.drained })
	if _, err := c.Write([]byte("last words")); err != nil {
		t.Error(err)
	}
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "last words") {
		t.Errorf("%q, %v", b, err)
	}
	_ = c.Close()
	<-stopped
	if !errors.Is(l.end, errStopping) {
		t.Errorf("the tunnel ended with %v", l.end)
	}
	if got := s.said(ann, "", "10.42.1.7:80"); !strings.HasPrefix(got, "Stopping: ") {
		t.Error(got)
	}
	late := newPretended(nil)
	if s.come("n1", "i", late); s.sessions.get("n1") != nil || !errors.Is(late.end, errStopping) {
		t.Errorf("a tunnel was let in afterwards; it ended with %v", late.end)
	}
}

// Endpoints are known in mode cluster, and only then.
func TestEndpointsFollowTheMode(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	e := endpointOf(t, "n1/c1/eth0", "198.51.100.7")
	if _, err := s.store.Commit(t.Context(), txnOf(e)); err != nil {
		t.Fatal(err)
	}
	is := func(want Kind) func() bool {
		return func() bool { return s.atlas.place(addr("198.51.100.7")).Kind == want }
	}
	set := func(mode string) {
		s.write(kind.ClusterConfig, kind.DefaultName, kind.ClusterConfigSpec{ClusterCIDRs: prefixes("10.42.0.0/16"), EgressSelectorMode: mode})
	}
	set(kind.EgressCluster)
	s.until(is(Attached))
	set(kind.EgressPod)
	s.until(is(Elsewhere))
	set(kind.EgressCluster)
	s.until(is(Attached))
}

var _ weftv1.EgressServer = (*Service)(nil)

// Connections that are open are bounded, for all and for each who asks; who closes one
// makes room.
func TestOpenIsBounded(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	s.has("n1", echo("n1"))
	s.places.most = 4
	dial := func(by Asker) Conn {
		t.Helper()
		c, err := s.Dial(t.Context(), by, Request{Host: "10.42.1.7", Port: 80})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	says := func(by Asker, want string) {
		t.Helper()
		if got := s.said(by, "", "10.42.1.7:80"); !strings.HasPrefix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	bob := Asker{User: "bob", Role: "operator", Front: "connect"}
	anns := []Conn{dial(ann), dial(ann), dial(ann)}
	says(ann, "Overloaded: admin ann over connect has 3 connections open, as many as server s1 bears of one; end some, or ask another server")
	bobs := dial(bob)
	says(bob, "Overloaded: 4 connections are open, as many as server s1 bears; ask another server")
	_ = anns[0].Close()
	says(bob, "n1 dials")
	s.has("n1", refusing(Unreachable, "nobody listens"))
	for range 5 { // what fails takes no place
		says(bob, "Unreachable: ")
	}
	for _, c := range append(anns, bobs) {
		_ = c.Close()
	}
	if s.places.taken != 0 || len(s.places.by) != 0 {
		t.Errorf("places left: %d, %v", s.places.taken, s.places.by)
	}
}

// A node whose tunnel has just ended is waited for: an agent that is started again
// comes back, and who dials meanwhile is not turned away.
func TestNodeThatComesAgain(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	s.has("n1", echo("before")).End(errors.New("the agent stops"))
	said := make(chan string, 1)
	go func() { said <- s.said(ann, "", "10.42.1.7:80") }()
	s.until(func() bool {
		s.sessions.mu.Lock()
		defer s.sessions.mu.Unlock()
		return s.sessions.await["n1"] != nil
	})
	s.has("n1", echo("after"))
	if got := <-said; !strings.HasPrefix(got, "after dials") {
		t.Error(got)
	}
}
