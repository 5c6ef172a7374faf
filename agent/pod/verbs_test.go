package pod

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// conf is the plain configuration with more keys.
func conf(more string) string { return strings.TrimSuffix(plainConfig, "}") + "," + more + "}" }

func TestAdd(t *testing.T) {
	for _, c := range []struct {
		name, config, want string
		change             func(*world, *cniwire.Request)
	}{
		{name: "OK", config: plainConfig, want: "OK 10.42.1.1 fd42:42:0:1::1"},
		{name: "OK keys of runtimes", config: conf(`"capabilities":{"ips":true},"cni.dev/x":1,"ipam":{}`), want: "OK 10.42.1.1 fd42:42:0:1::1"},
		{name: "OK address asked for", config: conf(`"runtimeConfig":{"ips":["10.42.1.5/24"]}`), want: "OK 10.42.1.5 fd42:42:0:1::1"},
		{name: "OK address in args.cni", config: conf(`"args":{"cni":{"ips":["fd42:42:0:1::77"]}}`), want: "OK 10.42.1.1 fd42:42:0:1::77"},
		{
			name: "bad own namespace", config: plainConfig, want: "8 pod: CNI_NETNS /own is the node's own namespace; a pod needs one of its own",
			change: func(_ *world, r *cniwire.Request) { r.NetNS = "/own" },
		},
		{
			name: "bad no namespace", config: plainConfig, want: "8 pod: CNI_NETNS: /ns/none: file does not exist",
			change: func(_ *world, r *cniwire.Request) { r.NetNS = "/ns/none" },
		},
		{
			name: "bad container id", config: plainConfig, want: `4 pod: CNI_CONTAINERID "../x": letters, digits, _ . -, beginning with a letter or a digit`,
			change: func(_ *world, r *cniwire.Request) { r.ContainerID = "../x" },
		},
		{
			name: "bad ifname", config: plainConfig, want: `4 pod: CNI_IFNAME "a/b" is not a name for a device: 1 to 15 bytes without / : and spaces`,
			change: func(_ *world, r *cniwire.Request) { r.IfName = "a/b" },
		},
		{
			name: "bad args", config: plainConfig, want: "4 pod: CNI_ARGS: unknown keys [COLOR]; remove them or add IgnoreUnknown=1",
			change: func(_ *world, r *cniwire.Request) { r.Args = "COLOR=red" },
		},
		{name: "bad JSON", config: `{`, want: "6 pod: CNI configuration: unexpected end of JSON input"},
		{name: "bad version", config: `{"cniVersion":"0.2.0","name":"weft"}`, want: `1 pod: cniVersion "0.2.0"; accepted: 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0`},
		{name: "bad key", config: conf(`"mtu":9000`), want: `2 pod: CNI configuration: unknown key "mtu" with value 9000; weft's own key is "socket", all else is in ClusterConfig`},
		{name: "bad ipam", config: conf(`"ipam":{"type":"host-local"}`), want: `7 pod: ipam type "host-local": addresses come from the node's lease; remove the key ipam`},
		{name: "bad fabric address", config: conf(`"runtimeConfig":{"ips":["10.42.1.0"]}`), want: "7 pod: address 10.42.1.0: ipam: …"},
		{name: "bad foreign address", config: conf(`"runtimeConfig":{"ips":["10.99.0.1"]}`), want: "7 pod: address 10.99.0.1: ipam: …"},
		{name: "bad two of a family", config: conf(`"runtimeConfig":{"ips":["10.42.1.1","10.42.1.2"]}`), want: "7 pod: ips: [10.42.1.1 10.42.1.2]: a pod has one address of a family"},
		{name: "bad mac", config: conf(`"runtimeConfig":{"mac":"01:00:00:00:00:01"}`), want: `7 pod: mac "01:00:00:00:00:01" is not a unicast MAC address of 6 octets`},
		{name: "bad protocol", config: conf(`"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":1,"protocol":"icmp"}]}`), want: `7 pod: portMappings: protocol "icmp"; accepted: tcp, udp, sctp`},
		{name: "bad port of the fabric", config: conf(`"runtimeConfig":{"portMappings":[{"hostPort":8472,"containerPort":53,"protocol":"UDP","hostIP":"192.0.2.1"}]}`), want: "7 pod: host port udp 192.0.2.1:8472 is the fabric's own (VXLAN); give the pod another hostPort, or the cluster another vxlanPort in ClusterConfig"},
		{name: "bad port", config: conf(`"runtimeConfig":{"portMappings":[{"hostPort":70000,"containerPort":1}]}`), want: "7 pod: portMappings: port 70000; accepted: 1 to 65535"},
		{name: "bad prevResult", config: conf(`"prevResult":{"cniVersion":"1.1.0","interfaces":[null]}`), want: "6 pod: prevResult: null in a list"},
		{name: "bad chain", config: conf(`"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/ns/a"}]}`), want: "7 pod: an earlier plugin has made eth0; weft-cni makes the pod's interface: put it first in the chain"},
		{
			name: "bad taken", config: plainConfig, want: "4 pod: attach shop/a (container a): …",
			change: func(w *world, _ *cniwire.Request) { w.attachErr = kernel.ErrTaken },
		},
		{
			name: "bad kernel", config: plainConfig, want: "11 pod: attach shop/a (container a) (wf49075c1f237): broken",
			change: func(w *world, _ *cniwire.Request) { w.attachErr = errors.New("broken") },
		},
		{
			name: "bad loop", config: plainConfig, want: "11 pod: program the host's end of shop/a (container a) (wf49075c1f237): broken",
			change: func(w *world, _ *cniwire.Request) { w.syncErr = errors.New("broken") },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			k := w.open(t, t.TempDir())
			req := request(cniwire.Add, "a", w.netns("/ns/a"), c.config)
			if c.change != nil {
				c.change(w, &req)
			}
			got := say(k, req)
			expect(t, "ADD", got, c.want)
			if !strings.HasPrefix(got, "OK") && len(w.veths)+len(k.Objects())+len(k.Endpoints()) > 0 {
				t.Errorf("something was left behind: %v %v %v", w.veths, k.Objects(), k.Endpoints())
			}
		})
	}
}

func TestLifeOfAPod(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	k := w.open(t, dir)
	add := request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig)
	del := request(cniwire.Del, "a", "/ns/a", plainConfig)
	check := request(cniwire.Check, "a", "/ns/a", plainConfig)
	expect(t, "CHECK before", say(k, check), "3 pod: no record of a/eth0")
	expect(t, "ADD", say(k, add), "OK 10.42.1.1 fd42:42:0:1::1")
	expect(t, "ADD again", say(k, add), "4 pod: shop/a (container a) is attached already, with [10.42.1.1 fd42:42:0:1::1]; DEL it first")
	expect(t, "CHECK", say(k, check), "OK")
	k = w.open(t, dir)
	expect(t, "CHECK after a restart", say(k, check), "OK")
	expect(t, "DEL", say(k, del), "OK")
	expect(t, "DEL again", say(k, del), "OK")
	expect(t, "ADD rests the first address", say(k, add), "OK 10.42.1.2 fd42:42:0:1::2")
	w.kill("/ns/a")
	expect(t, "CHECK without a namespace", say(k, check), "8 pod: CNI_NETNS: /ns/a: file does not exist")
	expect(t, "DEL without a namespace", say(k, del), "OK")
	w.netns("/ns/a")
	expect(t, "ADD", say(k, add), "OK 10.42.1.3 fd42:42:0:1::3")
	w.kill("/ns/a")
	w.netns("/ns/a")
	expect(t, "ADD of a container that came back without DEL", say(k, add), "OK 10.42.1.4 fd42:42:0:1::4")
}

func TestRollBackKeepsTheAddress(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	k := w.open(t, dir)
	add := request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig)
	w.syncErr = context.DeadlineExceeded
	expect(t, "ADD with a stuck loop", say(k, add), "11 pod: program the host's end of shop/a (container a) (wf49075c1f237): context deadline exceeded")
	w.syncErr = nil
	expect(t, "ADD of another", say(k, request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig)), "OK 10.42.1.2 fd42:42:0:1::2")
	k = w.open(t, dir)
	expect(t, "CHECK of the one cut off", say(k, request(cniwire.Check, "a", "/ns/a", plainConfig)), "11 pod: the ADD of shop/a (container a) was cut off; DEL it")
	expect(t, "ADD after a restart", say(k, add), "OK 10.42.1.1 fd42:42:0:1::1")
}

func TestRest(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	k := w.open(t, dir, netip.MustParsePrefix("10.42.1.0/30")) // two for pods
	w.netns("/ns/a")
	add, del := request(cniwire.Add, "a", "/ns/a", plainConfig), request(cniwire.Del, "a", "/ns/a", plainConfig)
	other := request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig)
	expect(t, "first", say(k, add), "OK 10.42.1.1")
	say(k, del)
	w.pass(30 * time.Second)
	expect(t, "the one that never was", say(k, add), "OK 10.42.1.2")
	say(k, del)
	w.pass(10 * time.Second)
	k = w.open(t, dir, netip.MustParsePrefix("10.42.1.0/30"))
	expect(t, "the longest rested rather than fail, also after a restart", say(k, add), "OK 10.42.1.1")
	expect(t, "the other", say(k, other), "OK 10.42.1.2")
	expect(t, "none", say(k, request(cniwire.Add, "c", w.netns("/ns/c"), plainConfig)),
		"11 pod: no address: ipam: …")
	expect(t, "STATUS", say(k, request(cniwire.Status, "", "", plainConfig)),
		"50 pod: no address: ipam: …")
}

func TestReboot(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	k := w.open(t, dir)
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
	w.reboot()
	k = w.open(t, dir)
	if got := k.Endpoints(); len(got) > 0 {
		t.Errorf("endpoints after a reboot: %v", got)
	}
	expect(t, "DEL of an earlier boot", say(k, request(cniwire.Del, "a", "/ns/a", plainConfig)), "OK")
	expect(t, "ADD rests the address", say(k, request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig)), "OK 10.42.1.2 fd42:42:0:1::2")
}

func TestHostPortsAreHeldByOne(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	port := conf(`"runtimeConfig":{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}`)
	expect(t, "ADD", say(k, request(cniwire.Add, "a", w.netns("/ns/a"), port)), "OK 10.42.1.1 fd42:42:0:1::1")
	expect(t, "ADD of another", say(k, request(cniwire.Add, "b", w.netns("/ns/b"), port)), "11 pod: host port tcp 8080 is held by shop/a (container a)")
	var got []string
	for _, h := range k.HostPorts() {
		got = append(got, fmt.Sprintf("%v -> %v", h, netip.AddrPortFrom(h.Pod, h.PodPort)))
	}
	if diff := cmp.Diff([]string{"8080/tcp -> 10.42.1.1:80", "8080/tcp -> [fd42:42:0:1::1]:80"}, got); diff != "" {
		t.Error(diff)
	}
	say(k, request(cniwire.Del, "a", "/ns/a", port))
	expect(t, "ADD after DEL", say(k, request(cniwire.Add, "b", "/ns/b", port)), "OK 10.42.1.2 fd42:42:0:1::2")
}

// TestOldFlows: those of UDP and SCTP are forgotten, TCP's are not even asked for.
func TestOldFlows(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	ports := conf(`"runtimeConfig":{"portMappings":[{"hostPort":53,"containerPort":5353,"protocol":"udp","hostIP":"192.0.2.1"},{"hostPort":80,"containerPort":80},{"hostPort":8472,"containerPort":1,"protocol":"sctp"}]}`)
	expect(t, "ADD", say(k, request(cniwire.Add, "a", w.netns("/ns/a"), ports)), "OK 10.42.1.1 fd42:42:0:1::1")
	expect(t, "DEL", say(k, request(cniwire.Del, "a", "/ns/a", ports)), "OK")
	if diff := cmp.Diff([]string{
		"udp 53 10.42.1.1 live true", "sctp 8472 10.42.1.1 live true", "sctp 8472 fd42:42:0:1::1 live true",
		"udp 53 10.42.1.1 live false", "sctp 8472 10.42.1.1 live false", "sctp 8472 fd42:42:0:1::1 live false",
	}, w.flows); diff != "" {
		t.Error(diff)
	}
}

func TestGC(t *testing.T) {
	for _, c := range []struct {
		name, config string
		left         []string
	}{
		{"no key does nothing", plainConfig, []string{"a", "b"}},
		{"null does nothing", conf(`"cni.dev/valid-attachments":null`), []string{"a", "b"}},
		{"one is valid", conf(`"cni.dev/valid-attachments":[{"containerID":"b","ifname":"eth0"}]`), []string{"b"}},
		{"none is valid", conf(`"cni.dev/valid-attachments":[]`), nil},
		{"another network", `{"cniVersion":"1.1.0","name":"other","cni.dev/valid-attachments":[]}`, []string{"a", "b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			k := w.open(t, t.TempDir())
			say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
			say(k, request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig))
			expect(t, "GC", say(k, request(cniwire.GC, "", "", c.config)), "OK")
			var left []string
			for _, e := range k.Endpoints() {
				left = append(left, e.ContainerID)
			}
			if diff := cmp.Diff(c.left, left); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDeadNamespaces(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	ctx := context.Background()
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
	say(k, request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig))
	w.kill("/ns/a")
	k.Sweep(ctx)
	if len(k.Endpoints()) != 2 {
		t.Error("given back within the grace")
	}
	w.pass(31 * time.Second)
	k.Sweep(ctx)
	if got := k.Endpoints(); len(got) != 1 || got[0].ContainerID != "b" {
		t.Errorf("endpoints: %v", got)
	}
	w.kill("/ns/b")
	k.Sweep(ctx)
	w.netns("/ns/b") // the same path and inode, another namespace
	w.pass(31 * time.Second)
	k.Sweep(ctx)
	if got := k.Endpoints(); len(got) != 0 {
		t.Errorf("endpoints: %v", got)
	}
}

func TestHeal(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
	before := w.veths["wf49075c1f237"]
	delete(w.veths, "wf49075c1f237")
	if err := k.Heal(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.veths["wf49075c1f237"], cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestBadRecords(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	k := w.open(t, dir)
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
	file := filepath.Join(dir, "pods", "wf49075c1f237.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err = os.WriteFile(file, whole[:len(whole)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"first start", "second start"} {
		k = w.open(t, dir)
		if p := k.Problems(); len(p) != 1 || p[0].Subject != strings.TrimSuffix(file, ".json")+".unreadable" {
			t.Errorf("%s: problems: %v", when, p)
		}
	}
	expect(t, "ADD of the same", say(k, request(cniwire.Add, "a", "/ns/a", plainConfig)), "11 pod: the record of a/eth0 is not understood (…")
	expect(t, "ADD of another", say(k, request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig)), "OK 10.42.1.2 fd42:42:0:1::2")
	expect(t, "DEL", say(k, request(cniwire.Del, "a", "/ns/a", plainConfig)), "OK")
	if p := k.Problems(); len(p) != 0 {
		t.Errorf("problems after DEL: %v", p)
	}
	later := strings.Replace(string(whole), `"schema": 1`, `"schema": 9`, 1)
	if err = os.WriteFile(file, []byte(later), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = w.tryOpen(dir)
	expect(t, "a later release's record", fmt.Sprint(err), "pod: record: "+file+" has schema 9, and this release ("+note.Version+") reads up to 1: run the newer release again, or put back the backup of before the upgrade; nothing was changed")
}

func TestNoDisk(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	k := w.open(t, dir)
	pods := filepath.Join(dir, "pods")
	if err := os.Rename(pods, pods+".away"); err != nil {
		t.Fatal(err)
	}
	add := request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig)
	expect(t, "ADD", say(k, add), "5 pod: write the record of shop/a (container a): open "+pods+"/.new-wf49075c1f237: no such file or directory; nothing was changed, see to the disk of "+pods)
	expect(t, "STATUS", say(k, request(cniwire.Status, "", "", plainConfig)),
		"50 pod: records cannot be written: open "+pods+"/.new-probe: no such file or directory; see to the disk of "+pods)
	if len(w.veths) > 0 || len(k.entries) > 0 {
		t.Errorf("left behind: %v %v", w.veths, k.entries)
	}
	if err := os.Rename(pods+".away", pods); err != nil {
		t.Fatal(err)
	}
	expect(t, "STATUS", say(k, request(cniwire.Status, "", "", plainConfig)), "OK")
	expect(t, "ADD", say(k, add), "OK 10.42.1.2 fd42:42:0:1::2")
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name   string
		node   Node
		ok     bool
		worse  string
		config string
		want   string
	}{
		{"OK", Node{Lease: twoFamilies, MTU: 1450}, true, "", plainConfig, "OK"},
		{"bad no lease", Node{}, false, "no intent", plainConfig, "50 pod: this node has no lease yet; look: weft get nodes, journalctl -u weft-agent"},
		{"bad degraded", Node{Lease: twoFamilies, MTU: 1450}, true, "2 peers cannot be reached", plainConfig, "51 pod: pods may have limited connectivity: 2 peers cannot be reached; look: weft status"},
		{"bad key", Node{Lease: twoFamilies, MTU: 1450}, true, "", conf(`"colour":"red"`), `2 pod: CNI configuration: unknown key "colour" with value "red"; weft's own key is "socket", all else is in ClusterConfig`},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newWorld().open(t, t.TempDir())
			k.Node = func() (Node, bool) { return c.node, c.ok }
			k.Degraded = func() string { return c.worse }
			expect(t, "STATUS", say(k, request(cniwire.Status, "", "", c.config)), c.want)
		})
	}
}

func TestObjects(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	k.NewMAC = func() intent.MAC { return intent.MAC{2, 0, 0, 0, 0, 1} }
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
	var got []string
	for _, o := range k.Objects() {
		got = append(got, o.String())
	}
	want := []string{
		"link wf49075c1f237 type veth address 02:00:00:00:00:01 mtu 1450 up",
		"sysctl net/ipv4/conf/wf49075c1f237/rp_filter=2",
		"sysctl net/ipv6/conf/wf49075c1f237/accept_ra=0",
		"addr fe80::1/64 dev wf49075c1f237 nodad",
		"route 10.42.1.1/32 dev wf49075c1f237 proto 87 src 10.42.1.0",
		"route fd42:42:0:1::1/128 dev wf49075c1f237 proto 87 src fd42:42:0:1::",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestResultOfEveryVersion(t *testing.T) {
	for _, version := range cniwire.Versions() {
		w := newWorld()
		k := w.open(t, t.TempDir())
		k.NewMAC = func() intent.MAC { return intent.MAC{2, 0, 0, 0, 0, 1} }
		config := strings.Replace(conf(`"dns":{"nameservers":["10.43.0.10"]},"runtimeConfig":{"mac":"02:aa:00:00:00:01"}`), "1.1.0", version, 1)
		resp := k.Serve(context.Background(), request(cniwire.Add, "a", w.netns("/ns/a"), config))
		if resp.Error != nil {
			t.Fatalf("%s: %v", version, resp.Error)
		}
		file := filepath.Join("testdata", "result-"+version+".json")
		if *update {
			if err := os.WriteFile(file, append(resp.Result, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := errors.Join(json.Unmarshal(resp.Result, &a), json.Unmarshal(want, &b)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("%s (-want +got)\n%s", file, diff)
		}
	}
}

func TestBandwidth(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	limits := conf(`"runtimeConfig":{"bandwidth":{"ingressRate":1000000,"ingressBurst":80000,"egressRate":2000000,"egressBurst":80000}}`)
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), limits))
	say(k, request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig))
	if diff := cmp.Diff([]string{"wf49075c1f237 1000000/2000000"}, w.shaped); diff != "" {
		t.Error(diff)
	}
}

func TestPrevResultIsKept(t *testing.T) {
	w := newWorld()
	k := w.open(t, t.TempDir())
	prev := conf(`"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"net1","sandbox":"/ns/a"}],"ips":[{"interface":0,"address":"192.0.2.7/24"}]}`)
	expect(t, "ADD", say(k, request(cniwire.Add, "a", w.netns("/ns/a"), prev)), "OK 192.0.2.7 10.42.1.1 fd42:42:0:1::1")
	check := conf(`"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/ns/a"}],"ips":[{"interface":0,"address":"10.42.1.9/32"}]}`)
	expect(t, "CHECK", say(k, request(cniwire.Check, "a", "/ns/a", check)),
		"7 pod: prevResult gives eth0 the addresses [10.42.1.9], the record of shop/a (container a) has [10.42.1.1 fd42:42:0:1::1]")
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(plainConfig))
	f.Add([]byte(conf(`"runtimeConfig":{"portMappings":[{"hostPort":1,"containerPort":2}],"ips":["10.42.1.5"],"mac":"02:00:00:00:00:01"}`)))
	f.Add([]byte(conf(`"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0"}],"ips":[{"address":"10.0.0.1/8"}],"routes":[{"dst":"0.0.0.0/0"}]}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePlugin(b)
		if err != nil {
			return
		}
		_ = strict(b)
		_, _ = p.wish("IgnoreUnknown=1")
		prev, err := p.previous()
		if err != nil || p.checkVersion() != nil {
			return
		}
		r := Record{IfName: "eth0", Addrs: []netip.Addr{netip.MustParseAddr("10.42.1.1")}, Gateway4: netip.MustParseAddr("10.42.1.0")}
		_ = agrees(prev, r)
		_, _ = render(result(r, p.DNS, prev), p.CNIVersion)
	})
}

func FuzzRecord(f *testing.F) {
	b, err := Record{
		Schema: 1, ContainerID: "a", IfName: "eth0", HostDev: "wf49075c1f237", MAC: "02:00:00:00:00:01", HostMAC: "02:00:00:00:00:02",
		Addrs: []netip.Addr{netip.MustParseAddr("10.42.1.1")},
	}.encode()
	if err == nil {
		_, err = decode(b, "wf49075c1f237")
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = salvage(b)
		r, err := decode(b, "wf49075c1f237")
		if err != nil {
			return
		}
		if r.ID().HostDev() != "wf49075c1f237" || len(r.Addrs) == 0 {
			t.Fatalf("accepted %+v", r)
		}
		_ = r.attachment()
		_ = r.objects(Node{Lease: twoFamilies})
	})
}

func FuzzArgs(f *testing.F) {
	f.Add("IgnoreUnknown=1;K8S_POD_NAME=a;IP=10.0.0.1")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseArgs(s) })
}

// TestRecordCutShort: what is left of a record tells no address, but the kernel
// does. Its pod keeps what it has, and nobody else is given its address.
func TestRecordCutShort(t *testing.T) {
	for _, size := range []int64{0, 100, 300} {
		w, dir := newWorld(), t.TempDir()
		k := w.open(t, dir)
		expect(t, "ADD", say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig)), "OK 10.42.1.1 fd42:42:0:1::1")
		dev := ID{"a", "eth0"}.HostDev()
		if err := os.Truncate(filepath.Join(dir, "pods", dev+suffixReady), size); err != nil {
			t.Fatal(err)
		}
		k = w.open(t, dir)
		seen, err := w.Observe(t.Context(), datapath.AllKinds)
		if k.Objects(); err != nil {
			t.Fatal(err)
		}
		if k.Screen(seen); len(seen) > 0 {
			t.Errorf("the loop would remove %v", seen)
		}
		expect(t, "ADD of another", say(k, request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig)), "OK 10.42.1.2 fd42:42:0:1::2")
		expect(t, "DEL", say(k, request(cniwire.Del, "a", "/ns/a", plainConfig)), "OK")
		if len(w.broken) > 0 || len(k.Problems()) > 0 {
			t.Errorf("%v %v", w.broken, k.Problems())
		}
	}
}

// TestRecordDamagedKernelMute: neither the record nor the kernel tells what the pod
// has. No address is given until its device is gone.
func TestRecordDamagedKernelMute(t *testing.T) {
	w, dir := newWorld(), t.TempDir()
	k := w.open(t, dir)
	say(k, request(cniwire.Add, "a", w.netns("/ns/a"), plainConfig))
	dev := ID{"a", "eth0"}.HostDev()
	file := filepath.Join(dir, "pods", dev+suffixReady)
	if err := os.Truncate(file, 100); err != nil {
		t.Fatal(err)
	}
	w.mute = true
	k = w.open(t, dir)
	other := request(cniwire.Add, "b", w.netns("/ns/b"), plainConfig)
	expect(t, "ADD of another", say(k, other), "11 pod: no address can be given: the record of device "+dev+" is not understood: unexpected end of JSON input; "+
		"its pod has [] and perhaps more that the kernel does not tell, so that no pod can be added; delete the pod that has it; if there is none: ip link delete "+dev+", rm …")
	w.kill("/ns/a")
	if err := k.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "ADD with the device gone", say(k, other), "OK …")
	expect(t, "problem", k.Problems()[0].Cause, "the record of device "+dev+" is not understood: unexpected end of JSON input; its device is gone, so that no pod has its addresses")
}
