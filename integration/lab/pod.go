package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// Pod is a namespace that the real shim attached to a node's agent.
type Pod struct {
	*Host
	Node  *Host
	Addrs []netip.Addr

	conf *libcni.NetworkConfigList
	rt   *libcni.RuntimeConf
	cni  *libcni.CNIConfig
}

// conflist is the CNI configuration with the agent's socket.
func conflist(socket string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"cniVersion": "1.1.0",
		"name":       "weft",
		"plugins": []any{map[string]any{
			"type":         "weft-cni",
			"socket":       socket,
			"capabilities": map[string]bool{"portMappings": true, "bandwidth": true, "ips": true, "mac": true, "dns": true},
		}},
	})
}

// NewPod makes a namespace and adds it to the node's fabric with libcni.
// Capabilities such as "portMappings" are passed as runtimes do.
func (l *Lab) NewPod(ctx context.Context, node *Host, name string, capabilities map[string]any) (*Pod, error) {
	ns, err := l.Namespace(ctx, node.Name+"-"+name)
	if err != nil {
		return nil, err
	}
	raw, err := conflist(filepath.Join(node.Dir(), "run", "cni.sock"))
	if err != nil {
		return nil, err
	}
	p := &Pod{Host: ns, Node: node}
	if p.conf, err = libcni.ConfListFromBytes(raw); err != nil {
		return nil, err
	}
	p.cni = libcni.NewCNIConfigWithCacheDir([]string{l.Bin}, filepath.Join(node.Dir(), "cni"), nil)
	p.rt = &libcni.RuntimeConf{
		ContainerID: ns.Name, NetNS: ns.Path(), IfName: "eth0", CapabilityArgs: capabilities,
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", name}},
	}
	return p, p.Add(ctx)
}

// Add runs CNI ADD, as NewPod does; again after Del.
func (p *Pod) Add(ctx context.Context) error {
	res, err := p.cni.AddNetworkList(ctx, p.conf, p.rt)
	if err != nil {
		return fmt.Errorf("lab: CNI ADD of %s: %w", p.Name, err)
	}
	result, err := types100.NewResultFromResult(res)
	if err != nil {
		return err
	}
	p.Addrs = nil
	for _, ip := range result.IPs {
		addr, _ := netip.AddrFromSlice(ip.Address.IP)
		p.Addrs = append(p.Addrs, addr.Unmap())
	}
	return nil
}

// Check runs CNI CHECK.
func (p *Pod) Check(ctx context.Context) error {
	return p.cni.CheckNetworkList(ctx, p.conf, p.rt)
}

// Del runs CNI DEL.
func (p *Pod) Del(ctx context.Context) error {
	if err := p.cni.DelNetworkList(ctx, p.conf, p.rt); err != nil {
		return fmt.Errorf("lab: CNI DEL of %s: %w", p.Name, err)
	}
	return nil
}

// Remove deletes the pod's namespace, as a runtime does after DEL.
func (p *Pod) Remove(ctx context.Context) error { return ip(ctx, "netns", "del", p.ns) }
