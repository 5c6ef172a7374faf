package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

var ctx = context.Background()

// code is an error's number, 0 for none.
func code(err error) uint {
	var e *types.Error
	if errors.As(err, &e) {
		return e.Code
	}
	if err != nil {
		return types.ErrInternal
	}
	return 0
}

func wantCode(t *testing.T, what string, err error, want uint) {
	t.Helper()
	if code(err) != want {
		t.Errorf("%s: code %d (%v), want %d", what, code(err), err, want)
	}
}

func (n *node) ping(from string, to fmt.Stringer) {
	n.t.Helper()
	n.in(from, "ping", "-n", "-c", "1", "-W", "2", to.String())
}

func TestPodsReachEachOther(t *testing.T) {
	n := newNode(t)
	a, b := n.add("a", nil), n.add("b", nil)
	if len(a) != 2 || len(b) != 2 {
		t.Fatalf("addresses %v and %v", a, b)
	}
	for i := range lease {
		n.ping("a", lease[i].Addr())
		n.ping("a", b[i])
		n.ping("node", a[i])
	}
	wantCode(t, "CHECK", n.cni.CheckNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil)), 0)
	n.in("a", "ip", "address", "del", a[0].String()+"/32", "dev", "eth0")
	wantCode(t, "CHECK without an address", n.cni.CheckNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil)), types.ErrInternal)
}

func TestVersions(t *testing.T) {
	n := newNode(t)
	for _, version := range []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		name := "p" + strings.ReplaceAll(version, ".", "")
		n.netns(name)
		r, err := n.cni.AddNetworkList(ctx, n.list(version), n.runtimeConf(name, nil))
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		if r.Version() != version || len(addrs(t, r)) != 2 {
			t.Errorf("%s: result %v", version, r)
		}
		wantCode(t, "DEL "+version, n.cni.DelNetworkList(ctx, n.list(version), n.runtimeConf(name, nil)), 0)
	}
}

func TestAddAndDelRepeated(t *testing.T) {
	n := newNode(t)
	first := n.add("a", nil)
	_, err := n.cni.AddNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil))
	wantCode(t, "ADD twice", err, types.ErrInvalidEnvironmentVariables)
	n.ping("a", lease[0].Addr())
	for range 2 {
		wantCode(t, "DEL", n.cni.DelNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil)), 0)
	}
	n.nothingLeft()
	r, err := n.cni.AddNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil))
	if err != nil || addrs(t, r)[0] == first[0] {
		t.Errorf("%v, %v: the address of before has not rested", r, err)
	}
}

// nothingLeft wants no pod's device and no pod's route on the node.
func (n *node) nothingLeft() {
	n.t.Helper()
	for _, args := range [][]string{{"-o", "link"}, {"route"}, {"-6", "route"}} {
		if out := n.in("node", "ip", args...); strings.Contains(out, " wf") {
			n.t.Errorf("left on the node: ip %v:\n%s", args, out)
		}
	}
}

func TestInterfaceIsTaken(t *testing.T) {
	n := newNode(t)
	n.netns("a")
	n.in("a", "ip", "link", "add", "eth0", "type", "bridge")
	_, err := n.cni.AddNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil))
	wantCode(t, "ADD", err, types.ErrInvalidEnvironmentVariables)
	n.nothingLeft()
}

func TestOwnNamespace(t *testing.T) {
	n := newNode(t)
	_, err := n.cni.AddNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("node", nil))
	wantCode(t, "ADD", err, types.ErrInvalidNetNS)
	if out := n.in("node", "ip", "-o", "link"); strings.Contains(out, "eth0") {
		t.Errorf("touched: %s", out)
	}
}

func TestNamespaceGone(t *testing.T) {
	n := newNode(t)
	n.add("a", nil)
	n.run("ip", "netns", "del", n.prefix+"-a")
	wantCode(t, "CHECK", n.cni.CheckNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil)), types.ErrInvalidNetNS)
	if err := os.RemoveAll(n.dir + "/cache"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "DEL without namespace and cache", n.cni.DelNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil)), 0)
	if got := n.pods.Endpoints(); len(got) != 0 {
		t.Errorf("endpoints: %v", got)
	}
}

func TestGarbage(t *testing.T) {
	n := newNode(t)
	n.add("a", nil)
	n.add("b", nil)
	if err := os.RemoveAll(n.dir + "/cache"); err != nil { // else libcni sends a DEL for all that is cached
		t.Fatal(err)
	}
	wantCode(t, "GC(nil)", n.cni.GCNetworkList(ctx, n.list("1.1.0"), nil), 0)
	if got := n.pods.Endpoints(); len(got) != 2 {
		t.Errorf("after GC(nil): %v", got)
	}
	raw := strings.Replace(string(n.list("1.1.0").Plugins[0].Bytes), `{`, `{"name":"weft","cniVersion":"1.1.0","cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"}],`, 1)
	out, err := n.shim("GC", "", raw)
	if err != nil {
		t.Errorf("GC: %v\n%s", err, out)
	}
	if got := n.pods.Endpoints(); len(got) != 1 || got[0].ContainerID != "b" {
		t.Errorf("after GC: %v", got)
	}
}

func TestAgentAway(t *testing.T) {
	n := newNode(t)
	n.add("a", nil)
	wantCode(t, "STATUS", n.cni.GetStatusNetworkList(ctx, n.list("1.1.0")), 0)
	n.stop()
	began := time.Now()
	wantCode(t, "STATUS", n.cni.GetStatusNetworkList(ctx, n.list("1.1.0")), types.ErrPluginNotAvailable)
	t.Logf("STATUS with the agent away took %v", time.Since(began))
	wantCode(t, "DEL", n.cni.DelNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil)), types.ErrTryAgainLater)
	n.ping("a", lease[0].Addr())
	n.start()
	n.ping("a", lease[0].Addr())
	wantCode(t, "DEL", n.cni.DelNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("a", nil)), 0)
}

func TestHostPort(t *testing.T) {
	n := newNode(t)
	ports := map[string]any{"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}}}
	n.add("web", ports)
	n.greet("web", ":80", "hello")
	for _, c := range []struct{ from, to string }{
		{"client", "192.0.2.1:8080"},
		{"client", "[2001:db8::1]:8080"},
		{"node", "192.0.2.1:8080"},
		{"node", "127.0.0.1:8080"},
		{"web", "192.0.2.1:8080"},
	} {
		if got, err := n.read(c.from, c.to); got != "hello" || err != nil {
			t.Errorf("%s -> %s: %q, %v", c.from, c.to, got, err)
		}
	}
	n.netns("other")
	_, err := n.cni.AddNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("other", ports))
	wantCode(t, "ADD with a port that is held", err, types.ErrTryAgainLater)
	wantCode(t, "DEL", n.cni.DelNetworkList(ctx, n.list("1.1.0"), n.runtimeConf("web", ports)), 0)
	if out := n.in("node", "nft", "list", "map", "inet", "weft", "hostport4"); strings.Contains(out, "8080") {
		t.Errorf("left behind: %s", out)
	}
}

// greet listens in a namespace and says a word to whoever comes.
func (n *node) greet(ns, address, word string) {
	n.t.Helper()
	var l net.Listener
	if err := n.inside(ns, func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, word)
			c.Close()
		}
	}()
}

func (n *node) read(ns, address string) (string, error) {
	var b []byte
	err := n.inside(ns, func() error {
		c, err := net.DialTimeout("tcp", address, 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		b, err = io.ReadAll(c)
		return err
	})
	return string(b), err
}

func TestHealsAVethDeletedByHand(t *testing.T) {
	n := newNode(t)
	a := n.add("a", nil)
	dev := n.pods.Endpoints()[0].Device
	n.in("node", "ip", "link", "del", dev)
	if err := n.pods.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	n.ping("node", a[0])
	n.ping("a", lease[1].Addr())
}

func TestManyAtOnce(t *testing.T) {
	n := newNode(t)
	const pods = 32
	var wg sync.WaitGroup
	errs := make(chan error, pods)
	for i := range pods {
		n.netns(fmt.Sprint("p", i))
	}
	began := time.Now()
	for i := range pods {
		wg.Go(func() {
			// One CNIConfig each: libcni sets its executor at the first use, unguarded.
			cni := libcni.NewCNIConfigWithCacheDir([]string{n.dir}, n.dir+"/cache", nil)
			_, err := cni.AddNetworkList(ctx, n.list("1.1.0"), n.runtimeConf(fmt.Sprint("p", i), nil))
			if err != nil {
				errs <- fmt.Errorf("p%d: %w", i, err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d ADDs at once took %v", pods, time.Since(began))
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	for i := range pods {
		n.ping(fmt.Sprint("p", i), lease[0].Addr())
	}
}
