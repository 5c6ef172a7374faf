package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run", "agent.sock")
	l, err := Listen(path, AgentMode)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != AgentMode {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if _, err := Listen(path, AgentMode); err == nil || !strings.Contains(err.Error(), "--run-dir") {
		t.Errorf("a live socket: %v", err)
	}
	// What a killed agent leaves.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	again, err := Listen(path, AgentMode)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	again.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, AgentMode); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
}

// fabric is a node as other rooms tell it.
type fabric struct{ held bool }

func (fabric) Status() uplink.Status {
	return uplink.Status{Server: "10.0.0.1:7443", Heard: time.Unix(1000, 0), Epoch: "e1", Revision: 7, CertificateEnd: time.Unix(2000, 0)}
}

func (fabric) Objects() []intent.Object {
	return []intent.Object{{Collection: "peers", Key: "Node//n1", Revision: 3, Value: []byte("x")}}
}

func (fabric) Problems() []intent.Problem {
	return []intent.Problem{{Subject: "weft-vx", Cause: "c", Remedy: "r", SinceUnix: 5}}
}

func (fabric) Tunnels() []tunnels.Tunnel {
	return []tunnels.Tunnel{
		{Server: "s1:7443", State: tunnels.Up, Since: time.Unix(900, 0), Proxy: "http://p:3128", RTT: 31 * time.Millisecond, Streams: 2, Draining: 1},
		{Server: "s2:7443", State: tunnels.Down, Since: time.Unix(950, 0), Err: errors.New("no route"), Next: time.Unix(1001, 0)},
	}
}
func (fabric) Applied() int64 { return 6 }
func (fabric) Drift(context.Context) ([]datapath.Op, error) {
	return []datapath.Op{{New: datapath.Sysctl{Path: "net/ipv4/ip_forward", Value: "1"}}}, nil
}

func (f fabric) intent() (intent.Node, bool) {
	if !f.held {
		return intent.Node{Name: "n1"}, false
	}
	at := func(a string) []intent.Underlay {
		return []intent.Underlay{{Addr: netip.MustParsePrefix(a), Device: "eth0", MTU: 1500}}
	}
	return intent.Node{
		Name: "n1", Epoch: "e1", Revision: 7, Cluster: intent.Cluster{Backend: intent.VXLAN, VNI: 4096, VXLANPort: 8472},
		Peers: []intent.Peer{
			{Name: "n1", Lease: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}, Underlay: at("10.0.0.11/24")},
			{Name: "n2", Lease: []netip.Prefix{netip.MustParsePrefix("10.42.2.0/24")}, Underlay: at("10.0.0.12/24")},
		},
	}, true
}

func dial(t *testing.T, f fabric) *grpc.ClientConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.sock")
	l, err := Listen(path, AgentMode)
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{
		Version: "1", Line: f, Loop: f, Intent: f.intent,
		Underlay: func() []intent.Underlay {
			return []intent.Underlay{{Addr: netip.MustParsePrefix("10.0.0.11/24"), Device: "eth0", MTU: 1500}}
		},
		Endpoints: func() []uplink.Endpoint {
			return []uplink.Endpoint{{ContainerID: "c", IfName: "eth0", Pod: "p"}}
		},
		Heals: func() []Heal {
			return []Heal{{At: time.UnixMilli(9), Step: "+ route", Took: 3 * time.Millisecond}}
		},
		Kernel: func(context.Context) (datapath.State, error) {
			return datapath.Merge([]datapath.Object{datapath.Link{Name: "weft0", Type: "bridge"}, datapath.Sysctl{Path: "net/a", Value: "1"}})
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Serve(ctx, l) }()
	cc, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cc.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return cc
}

func TestAgentAnswers(t *testing.T) {
	ctx := context.Background()
	c := weftv1.NewAgentClient(dial(t, fabric{held: true}))
	st, err := c.GetStatus(ctx, &weftv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if st.GetNode() != "n1" || st.GetRevision() != 7 || st.GetAppliedRevision() != 6 || st.GetPeers() != 1 || st.GetEndpoints() != 1 ||
		st.GetPodMtu() != 1450 || st.GetServer() != "10.0.0.1:7443" || len(st.GetProblems()) != 1 || st.GetLease()[0] != "10.42.1.0/24" {
		t.Errorf("status: %v", st)
	}
	var ts []string
	for _, u := range st.GetTunnels() {
		ts = append(ts, fmt.Sprint(u.GetServer(), " ", u.GetState(), " ", u.GetSinceUnix(), " ", u.GetProxy(), " ", u.GetRoundTripMicro(), " ", u.GetStreams(), " ", u.GetDraining(), " ", u.GetError(), " ", u.GetNextUnix()))
	}
	if diff := cmp.Diff([]string{"s1:7443 up 900 http://p:3128 31000 2 1  0", "s2:7443 down 950  0 0 0 no route 1001"}, ts); diff != "" {
		t.Error(diff)
	}
	in, err := c.GetIntent(ctx, &weftv1.GetIntentRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"node n1 epoch e1 revision 7",
		"cluster none services none backend vxlan mtu of each path",
		"vxlan id 4096 dstport 8472 directRouting false",
		"peer n1 lease 10.42.1.0/24 at 10.0.0.11/24 dev eth0 mtu 1500 vtep 00:00:00:00:00:00",
		"peer n2 lease 10.42.2.0/24 at 10.0.0.12/24 dev eth0 mtu 1500 vtep 00:00:00:00:00:00",
	}
	if diff := cmp.Diff(want, in.GetText()); diff != "" {
		t.Error(diff)
	}
	k, err := c.GetKernel(ctx, &weftv1.GetKernelRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sysctl net/a=1", "link weft0 type bridge up"}, k.GetObjects()); diff != "" {
		t.Error(diff)
	}
	d, err := c.GetDrift(ctx, &weftv1.GetDriftRequest{})
	if err != nil || cmp.Diff([]string{"+ sysctl net/ipv4/ip_forward=1"}, d.GetSteps()) != "" {
		t.Errorf("drift: %v, %v", d, err)
	}
	e, err := c.ListEndpoints(ctx, &weftv1.ListEndpointsRequest{})
	if err != nil || e.GetEndpoints()[0].GetKey() != "n1/c/eth0" {
		t.Errorf("endpoints: %v, %v", e, err)
	}
	p, err := c.ListPeers(ctx, &weftv1.ListPeersRequest{})
	if err != nil || len(p.GetPeers()) != 1 || p.GetPeers()[0].GetTransport() != "vxlan" || p.GetPeers()[0].GetRemote() != "10.0.0.12" || p.GetPeers()[0].GetMtu() != 1450 {
		t.Errorf("peers: %v, %v", p, err)
	}
	h, err := c.ListHeals(ctx, &weftv1.ListHealsRequest{})
	if err != nil || h.GetHeals()[0].GetTookMicros() != 3000 {
		t.Errorf("heals: %v, %v", h, err)
	}
}

func TestAgentWithoutIntent(t *testing.T) {
	c := weftv1.NewAgentClient(dial(t, fabric{}))
	if _, err := c.GetIntent(context.Background(), &weftv1.GetIntentRequest{}); status.Code(err) != codes.NotFound {
		t.Errorf("GetIntent: %v", err)
	}
	if st, err := c.GetStatus(context.Background(), &weftv1.GetStatusRequest{}); err != nil || st.GetNode() != "n1" || st.GetPodMtu() != 0 {
		t.Errorf("GetStatus: %v, %v", st, err)
	}
}

func TestAgentIsReflected(t *testing.T) {
	s, err := reflectionv1.NewServerReflectionClient(dial(t, fabric{})).ServerReflectionInfo(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	for _, svc := range r.GetListServicesResponse().GetService() {
		if svc.GetName() == "weft.v1.Agent" {
			return
		}
	}
	t.Error(errors.New("weft.v1.Agent is not listed"))
}
