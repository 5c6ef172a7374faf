package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/proto/cniwire"
)

// world is a machine: namespaces, veths, a clock and a boot. It refuses what a
// kernel refuses, and an address on two living veths.
type world struct {
	mu     sync.Mutex
	now    time.Time
	boot   int
	ino    uint64
	ns     map[string]NSID
	veths  map[string]kernel.Attachment
	mute   bool           // tells no routes
	lease  []netip.Prefix // of the node, unless another is opened with
	shut   []netip.Prefix // of it
	synced [][]datapath.Key
	shaped []string
	flows  []string // that were to be forgotten
	broken []string // what must never be

	attachErr, detachErr, syncErr error
	crash                         string // the step at which the agent dies
}

type crashed struct{}

func newWorld() *world {
	return &world{lease: twoFamilies, now: time.Unix(1_700_000_000, 0), ino: 100, ns: map[string]NSID{}, veths: map[string]kernel.Attachment{}}
}

func (w *world) at(step string) {
	if w.crash == step {
		w.crash = ""
		panic(crashed{})
	}
}

func (w *world) Own() NSID { return NSID{Dev: 4, Ino: 1} }

func (w *world) Identify(path string) (NSID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if path == "/own" {
		return w.Own(), nil
	}
	id, ok := w.ns[path]
	if !ok {
		return NSID{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return id, nil
}

// netns makes a namespace; a later one at the same path is another.
func (w *world) netns(path string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ino++
	w.ns[path] = NSID{Dev: 4, Ino: 7, Cookie: w.ino}
	return path
}

// kill removes a namespace with the veths in it.
func (w *world) kill(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ns, path)
	for dev, a := range w.veths {
		if a.NetNS == path {
			delete(w.veths, dev)
		}
	}
}

func (w *world) reboot() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.boot++
	clear(w.ns)
	clear(w.veths)
}

func (w *world) Attach(_ context.Context, a kernel.Attachment) (kernel.Attached, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at("before attach")
	if w.attachErr != nil {
		return kernel.Attached{}, w.attachErr
	}
	if _, ok := w.ns[a.NetNS]; !ok {
		return kernel.Attached{}, kernel.ErrNetNSGone
	}
	for dev, b := range w.veths {
		if dev != a.HostDev && b.NetNS == a.NetNS && b.IfName == a.IfName {
			return kernel.Attached{}, kernel.ErrTaken
		}
		for _, p := range b.Addrs {
			for _, q := range a.Addrs {
				if dev != a.HostDev && p == q {
					w.broken = append(w.broken, fmt.Sprintf("%v is on %s and %s", p, dev, a.HostDev))
				}
			}
		}
	}
	w.veths[a.HostDev] = a
	w.at("after attach")
	return kernel.Attached{}, nil
}

func (w *world) Shape(_ context.Context, dev string, b kernel.Bandwidth) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shaped = append(w.shaped, fmt.Sprintf("%s %d/%d", dev, b.IngressRate, b.EgressRate))
	return nil
}

func (w *world) ForgetFlows(_ context.Context, ports []kernel.Forward) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range ports {
		w.flows = append(w.flows, fmt.Sprintf("%s %d %v live %v", p.Proto, p.Port, p.Pod, p.Live))
	}
	return nil
}

func (w *world) Detach(_ context.Context, dev string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at("before detach")
	if w.detachErr != nil {
		return w.detachErr
	}
	delete(w.veths, dev)
	w.at("after detach")
	return nil
}

func (w *world) CheckAttached(_ context.Context, a kernel.Attachment) (kernel.Attached, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.veths[a.HostDev]; !ok {
		return kernel.Attached{}, errors.New("host end is missing")
	}
	return kernel.Attached{}, nil
}

func (w *world) Observe(_ context.Context, kinds datapath.Kinds) (datapath.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := datapath.State{}
	for dev, a := range w.veths {
		l := datapath.Link{Name: dev, Type: datapath.LinkVeth, MAC: a.HostMAC}
		s[l.Key()] = l
		for _, p := range a.Addrs {
			if kinds.Has(datapath.KindRoute) && !w.mute {
				r := datapath.Route{Dst: p, Dev: dev}
				s[r.Key()] = r
			}
		}
	}
	return s, nil
}

func (w *world) Sync(_ context.Context, keys []datapath.Key) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at("sync")
	w.synced = append(w.synced, keys)
	return w.syncErr
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

var twoFamilies = []netip.Prefix{netip.MustParsePrefix("10.42.1.0/29"), netip.MustParsePrefix("fd42:42:0:1::/64")}

func (w *world) open(t fataler, dir string, lease ...netip.Prefix) *Keeper {
	t.Helper()
	k, err := w.tryOpen(dir, lease...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func (w *world) tryOpen(dir string, lease ...netip.Prefix) (*Keeper, error) {
	node := func() (Node, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		n := Node{Name: "n1", Lease: lease, MTU: 1450, VXLANPort: 8472}
		if n.Lease == nil {
			n.Lease, n.Shut = w.lease, w.shut
		}
		return n, true
	}
	return Open(Config{
		Dir: filepath.Join(dir, "pods"), Boot: fmt.Sprint("boot", w.boot),
		Node:   node,
		Kernel: w, Loop: w, Namespaces: w, Log: slog.New(slog.DiscardHandler), Now: w.clock,
	})
}

const plainConfig = `{"cniVersion":"1.1.0","name":"weft","type":"weft-cni"}`

func request(verb cniwire.Verb, container, netns, config string) cniwire.Request {
	return cniwire.Request{
		Version: 1, Verb: verb, ContainerID: container, NetNS: netns, IfName: "eth0",
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=" + container, Config: json.RawMessage(config),
	}
}

// say is the answer of a verb in one line: "OK 10.42.1.1 fd42::1" or "11 text".
func say(k *Keeper, req cniwire.Request) string {
	resp := k.Serve(context.Background(), req)
	if resp.Error != nil {
		return fmt.Sprintf("%d %s", resp.Error.Code, resp.Error.Msg)
	}
	out := "OK"
	if resp.Result != nil {
		for _, a := range addrsOf(resp.Result) {
			out += " " + a.String()
		}
	}
	return out
}

func addrsOf(result []byte) []netip.Addr {
	var r types100.Result
	if err := json.Unmarshal(result, &r); err != nil {
		panic(err)
	}
	var out []netip.Addr
	for _, ip := range r.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		out = append(out, a.Unmap())
	}
	return out
}

// expect compares; a want that ends in … is a beginning.
func expect(t *testing.T, what, got, want string) {
	t.Helper()
	beginning, cut := strings.CutSuffix(want, "…")
	if got != want && !(cut && strings.HasPrefix(got, beginning)) {
		t.Errorf("%s: %s\nwant: %s", what, got, want)
	}
}
