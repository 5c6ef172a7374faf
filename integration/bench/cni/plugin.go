package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/vishvananda/netns"
	"github.com/weft-net/weft/integration/lab"
)

// plugin is one way to attach pods to a node.
type plugin struct {
	name  string
	node  *lab.Host
	cni   *libcni.CNIConfig
	list  *libcni.NetworkConfigList
	plain *libcni.NetworkConfigList // without hostPorts
	agent *lab.Process              // that does the work; nil if the plugins do
}

// newWeft starts an agent on a node.
func newWeft(ctx context.Context, f *lab.Fabric, node *lab.Host) (*plugin, error) {
	if err := f.StartAgent(ctx, node); err != nil {
		return nil, err
	}
	if err := f.InStep(ctx, 1); err != nil {
		return nil, err
	}
	p := &plugin{name: "weft", node: node, agent: f.Agents[node.Name]}
	p.cni = libcni.NewCNIConfigWithCacheDir([]string{f.Bin}, filepath.Join(node.Dir(), "cache"), nil)
	shim := map[string]any{"type": "weft-cni", "socket": filepath.Join(node.Dir(), "run", "cni.sock"), "capabilities": map[string]bool{"portMappings": true}}
	var err error
	p.list, err = network("1.1.0", shim)
	p.plain = p.list
	return p, err
}

// newBridge builds the CNI project's plugins as this module pins them.
func newBridge(ctx context.Context, f *lab.Fabric, node *lab.Host) (*plugin, error) {
	bin := filepath.Join(f.Dir, "oracle")
	const base = "github.com/containernetworking/plugins/plugins/"
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin+"/", base+"main/bridge", base+"ipam/host-local", base+"meta/portmap")
	build.Stderr = os.Stderr
	if err := errors.Join(os.MkdirAll(bin, 0o755), build.Run()); err != nil {
		return nil, fmt.Errorf("build bridge, host-local and portmap: %w", err)
	}
	p := &plugin{name: "bridge", node: node}
	p.cni = libcni.NewCNIConfigWithCacheDir([]string{bin}, filepath.Join(node.Dir(), "cache"), nil)
	bridge := map[string]any{
		"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "mtu": 1450,
		"ipam": map[string]any{
			"type": "host-local", "dataDir": filepath.Join(node.Dir(), "ipam"),
			"ranges": [][]map[string]string{{{"subnet": "10.43.1.0/24"}}},
		},
	}
	portmap := map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}}
	var err, errPlain error
	p.list, err = network("1.0.0", bridge, portmap)
	p.plain, errPlain = network("1.0.0", bridge)
	return p, errors.Join(err, errPlain)
}

func network(version string, plugins ...map[string]any) (*libcni.NetworkConfigList, error) {
	b, err := json.Marshal(map[string]any{"cniVersion": version, "name": "bench", "plugins": plugins})
	if err != nil {
		return nil, err
	}
	return libcni.ConfListFromBytes(b)
}

func conf(pod *lab.Host, capabilities map[string]any) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: pod.Name, NetNS: pod.Path(), IfName: "eth0", CapabilityArgs: capabilities}
}

// on runs f on a thread in the node's namespace: plugins work where they are
// started, as the runtime's do. The thread goes home afterwards; would it die
// instead, it would take the lab's processes along (PR_SET_PDEATHSIG).
func (p *plugin) on(f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	away, err := netns.GetFromPath(p.node.Path())
	if err != nil {
		return err
	}
	defer away.Close()
	if err := netns.Set(away); err != nil {
		return err
	}
	err = f()
	if back := netns.Set(home); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}

// cost adds and deletes pods one after the other and returns the CPU time of one
// ADD with its DEL.
func (p *plugin) cost(ctx context.Context, pods []*lab.Host) (cpu, error) {
	before, err := p.cpu()
	if err != nil {
		return cpu{}, err
	}
	err = p.on(func() error {
		for i, pod := range pods {
			rt := conf(pod, map[string]any{"portMappings": []map[string]any{{"hostPort": 8000 + i, "containerPort": 80, "protocol": "tcp"}}})
			if _, err := p.cni.AddNetworkList(ctx, p.list, rt); err != nil {
				return fmt.Errorf("%s: ADD: %w", p.name, err)
			}
			if err := p.cni.DelNetworkList(ctx, p.list, rt); err != nil {
				return fmt.Errorf("%s: DEL: %w", p.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return cpu{}, err
	}
	after, err := p.cpu()
	n := time.Duration(len(pods))
	return cpu{(after.children - before.children) / n, (after.agent - before.agent) / n}, err
}

// burst adds pods at once, returns how long that took, and deletes them.
func (p *plugin) burst(ctx context.Context, pods []*lab.Host) (time.Duration, error) {
	add := func(pod *lab.Host) error {
		_, err := p.cni.AddNetworkList(ctx, p.plain, conf(pod, nil))
		return err
	}
	del := func(pod *lab.Host) error { return p.cni.DelNetworkList(ctx, p.plain, conf(pod, nil)) }
	began := time.Now()
	if err := p.each(pods, add); err != nil {
		return 0, fmt.Errorf("%s: ADD at once: %w", p.name, err)
	}
	took := time.Since(began)
	if err := p.each(pods, del); err != nil {
		return 0, fmt.Errorf("%s: DEL at once: %w", p.name, err)
	}
	return took, nil
}

func (p *plugin) each(pods []*lab.Host, f func(*lab.Host) error) error {
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, pod := range pods {
		wg.Go(func() { errs[i] = p.on(func() error { return f(pod) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
