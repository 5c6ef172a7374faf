package egress

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func service(s *server) *Service {
	return &Service{Gate: s.Gate, Asker: func(context.Context) Asker { return Asker{User: "ann", Role: "admin", Front: "grpc"} }}
}

// What an operator is told of a target.
func TestWhoServes(t *testing.T) {
	f := &fabric{}
	s1, s2 := f.started(t, "s1", kind.EgressPod, kind.FallbackClosed), f.started(t, "s2", kind.EgressPod, kind.FallbackClosed)
	s1.has("n1", echo("n1"))
	s2.has("n1", echo("n1"))
	s2.has("n2", echo("n2"))
	for _, c := range []struct{ node, host, want string }{
		{"", "10.42.1.7", "node n1 [s1 s2] lease 10.42.1.0/24: 10.42.1.7 is in 10.42.1.0/24, leased to node n1"},
		{"", "10.42.2.7", "node n2 [s2] lease 10.42.2.0/24: 10.42.2.7 is in 10.42.2.0/24, leased to node n2"},
		{"", "10.42.3.7", "node n3 [] lease 10.42.3.0/24: 10.42.3.7 is in 10.42.3.0/24, leased to node n3"},
		{"", "192.168.1.5", "none  [] node address 192.168.1.5/32: 192.168.1.5 is an address of node n2 and n3; say which: weft dial NODE HOST:PORT, or the header Weft-Node on CONNECT"},
		{"n2", "192.168.1.5", "node n2 [s2] node address 192.168.1.5/32: node n2 was asked for"},
		{"", "10.42.9.9", "any n1 [s1 s2] cluster 10.42.0.0/16: 10.42.9.9 is in 10.42.0.0/16 of the cluster, and leased to nobody"},
		{"", "10.43.0.1", "direct  [] service 10.43.0.0/16: 10.43.0.1 is a service's address, in 10.43.0.0/16; egressSelectorMode pod dials that directly"},
		{"", "n1", "node n1 [s1 s2] node address 192.0.2.11/32: node n1 was asked for"},
		{"n1", "web.shop", "node n1 [s1 s2] name : node n1 was asked for"},
		{"", "nowhere.example", "none  []  : resolve nowhere.example: no such host; name the node whose resolver knows it: weft dial NODE HOST:PORT, or the header Weft-Node on CONNECT"},
	} {
		r, err := service(s1).WhoServes(t.Context(), &weftv1.WhoServesRequest{Host: c.host, Node: c.node})
		if err != nil || len(r.GetWays()) != 1 || r.GetMode() != "pod" || r.GetFallback() != "closed" {
			t.Errorf("%s: %v, %v", c.host, r, err)
			continue
		}
		w := r.GetWays()[0]
		if got := fmt.Sprintf("%s %s %v %s %s: %s", w.GetVia(), w.GetNode(), w.GetServers(), w.GetKind(), w.GetPrefix(), w.GetWhy()); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.host, got, c.want)
		}
	}
	if _, err := service(s1).WhoServes(t.Context(), &weftv1.WhoServesRequest{Host: "a b"}); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}

func TestCheckDial(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	s.has("n1", echo("n1"))
	for _, c := range []struct {
		host string
		port uint32
		want string
	}{
		{"10.42.1.7", 80, "true lease node n1"},
		{"n1", 10250, "true host-port node n1"},
		{"n1", 22, "false default node n1"},
		{"169.254.169.254", 80, "false metadata direct "},
		{"192.168.1.5", 80, "false  none "},
		{"web.example.org", 80, "true lease node n1"},
	} {
		r, err := service(s).CheckDial(t.Context(), &weftv1.CheckDialRequest{Host: c.host, Port: c.port})
		if got := fmt.Sprint(r.GetAllowed(), " ", r.GetRule(), " ", r.GetWay().GetVia(), " ", r.GetWay().GetNode()); err != nil || got != c.want {
			t.Errorf("%s:%d: %s, %v; want %s", c.host, c.port, got, err, c.want)
		}
		if r.GetReason() == "" {
			t.Errorf("%s:%d: no reason", c.host, c.port)
		}
	}
	for _, port := range []uint32{0, 65536} {
		if _, err := service(s).CheckDial(t.Context(), &weftv1.CheckDialRequest{Host: "n1", Port: port}); status.Code(err) != codes.InvalidArgument {
			t.Error(port, err)
		}
	}
	if n := len(s.traces.newest()); n != 0 {
		t.Errorf("%d dials were made to check", n)
	}
}

func TestListTunnelsAndDials(t *testing.T) {
	f := &fabric{}
	s1, s2 := f.started(t, "s1", kind.EgressPod, kind.FallbackClosed), f.started(t, "s2", kind.EgressPod, kind.FallbackClosed)
	s1.has("n1", echo("n1"))
	s1.has("n1", echo("n1")) // the one before drains
	s2.has("n2", echo("n2"))
	s2.has("n1", echo("n1"))
	r, err := service(s1).ListTunnels(t.Context(), &weftv1.ListTunnelsRequest{})
	var got []string
	for _, tunnel := range r.GetTunnels() {
		got = append(got, tunnel.GetNode()+" "+tunnel.GetServer()+" "+tunnel.GetState())
	}
	if want := "n1 s1 Ready, n1 s1 Draining, n1 s2 Ready, n2 s2 Ready"; err != nil || strings.Join(got, ", ") != want {
		t.Errorf("%s, %v; want %s", strings.Join(got, ", "), err, want)
	}
	f.kill("s2")
	if r, err := service(s1).ListTunnels(t.Context(), &weftv1.ListTunnelsRequest{Node: "n1"}); err != nil || len(r.GetTunnels()) != 2 || strings.Join(r.GetSilent(), "") != "s2: does not answer" {
		t.Errorf("%v, %v", r, err)
	}
	s1.said(ann, "", "10.42.1.7:80")
	s1.said(ann, "", "192.0.2.11:22")
	for range 2 * maxTraces {
		s1.said(ann, "", "169.254.169.254:80")
	}
	s1.said(ann, "", "10.42.1.8:80")
	d, err := service(s1).ListDials(t.Context(), &weftv1.ListDialsRequest{Limit: 2})
	if err != nil || len(d.GetDials()) != 2 || d.GetDials()[0].GetTarget() != "10.42.1.8:80" || d.GetDials()[0].GetResult() != "Closed" || d.GetDials()[1].GetRule() != "metadata" {
		t.Errorf("%v, %v", d, err)
	}
	if d, err := service(s1).ListDials(t.Context(), &weftv1.ListDialsRequest{Limit: 10000, Failed: true}); err != nil || len(d.GetDials()) != maxTraces-1 {
		t.Errorf("%d failed dials are remembered, %v", len(d.GetDials()), err)
	}
	if d, err := service(s1).ListDials(t.Context(), &weftv1.ListDialsRequest{Node: "n1"}); err != nil || len(d.GetDials()) != 1 {
		t.Errorf("%v, %v", d, err)
	}
}

// Metrics keep to the conventions, count what happened, and name no address, no node
// and no user.
func TestMetrics(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	l := s.has("n1", echo("n1"))
	l.figures = Figures{RoundTrip: 2e6, Streams: 3, Opened: 9, Sent: 100, Received: 200, Stalls: 4, Buffered: 5}
	s.has("n1", echo("n1"))
	s.said(ann, "", "10.42.1.7:80")
	s.said(ann, "", "192.0.2.11:22")
	s.said(ann, "", "10.42.2.7:80")
	for i := range 200 {
		s.counters.denied(fmt.Sprintf("rule-%d", i))
	}
	s.counters.denied("EgressPolicy/a")
	r := prometheus.NewRegistry()
	r.MustRegister(s.Gate)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body
	problems, err := promlint.New(strings.NewReader(text.String())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for _, want := range []string{
		`weft_server_egress_sessions{state="Ready"} 1`, `weft_server_egress_sessions{state="Draining"} 1`,
		`weft_server_egress_round_trip_seconds{quantile="0.5"} 0.002`, "weft_server_egress_streams 3", "weft_server_egress_streams_total 9",
		`weft_server_egress_bytes_total{direction="sent"} 100`, `weft_server_egress_bytes_total{direction="received"} 200`,
		"weft_server_egress_window_stalls_total 4", "weft_server_egress_buffered_bytes 5", `weft_server_egress_reconnects_total{reason="replaced"} 1`,
		`weft_server_egress_open_seconds_count{result="Open"} 1`, `weft_server_egress_open_seconds_count{result="Forbidden"} 1`, `weft_server_egress_open_seconds_count{result="NoTunnel"} 1`,
		`weft_server_egress_lookups_total{kind="here"} 1`, `weft_server_egress_denials_total{rule="default"} 1`, `weft_server_egress_denials_total{rule="other"} 138`,
	} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("there is no %s in\n%s", want, text.String())
		}
	}
	for _, never := range []string{"10.42", "192.0.2", "n1\"", "ann"} {
		if strings.Contains(text.String(), never) {
			t.Errorf("a label says %s", never)
		}
	}
}

// What another server may send wrong.
func TestBadHops(t *testing.T) {
	s := one(t, kind.EgressPod, kind.FallbackClosed)
	s.has("n1", echo("n1"))
	for _, c := range []struct {
		target, node, id string
		status           int
		want             string
	}{
		{"10.42.1.7:80", "", "d1", 400, "names its node"},
		{"10.42.1.7:80", "n1", "", 400, "has an id"},
		{"10.42.1.7:80", "n1", strings.Repeat("x", 65), 400, "has an id"},
		{"10.42.1.7:80", "N 1", "d1", 400, "the node's name"},
		{"10.42.1.7", "n1", "d1", 400, "is no target"},
		{"10.42.2.7:80", "n2", "d1", 503, "node n2 has no tunnel to server s1"}, // and is not handed on
		{"127.0.0.1:80", "n1", "d1", 403, "loopback"},
	} {
		r := httptest.NewRequest(http.MethodConnect, "/", nil)
		r.Host = c.target
		r.Header = http.Header{HeaderHop: {"1"}, HeaderNode: {c.node}, headerDial: {c.id}, headerUser: {"ann"}, headerRole: {"%zz"}}
		w := httptest.NewRecorder()
		s.ServeHop(w, r, t.Context())
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) || w.Header().Get(headerCode) == "" {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}

// What another server may answer wrong costs that dial alone, with a reason.
func TestBadAnswersToAHop(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{"HTTP/1.1 200 OK\r\n\r\n", ""},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", "it answers 503 Service Unavailable: busy"},
		{"HTTP/1.1 403 Forbidden\r\nWeft-Code: Forbidden\r\nWeft-Rule: EgressPolicy%2Fshop\r\nContent-Length: 2\r\n\r\nno", "no"},
		{"HTTP/1.1 403 Forbidden\r\nWeft-Code: Sesame\r\nContent-Length: 2\r\n\r\nno", "it answers 403 Forbidden: no"},
		{"nonsense\r\n\r\n", "malformed HTTP"},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxAnswer), "unexpected EOF"},
		{"", "EOF"},
	} {
		near, far := pair()
		go func() {
			defer far.Close()
			_, _ = http.ReadRequest(bufio.NewReader(far))
			_, _ = far.Write([]byte(c.answer))
		}()
		_, err := ask(t.Context(), near, (&traces{}).begin("d1", ann, Request{}), aim{Request: Request{Port: 80}, addr: addr("10.42.1.7"), way: Way{Node: "n1"}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.40q: %v, want %s", c.answer, err, c.want)
		}
		_ = near.Close()
	}
}
