package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/integration/lab"
)

// flannelPair is two nodes with Flannel instead of weft, and a pod on each made
// as the bridge plugin makes it: a bridge with the lease's first address and a
// veth a pod.
func flannelPair(ctx context.Context, b *bench, backend string) (*lab.Fabric, [2]*lab.Host, netip.Addr, error) {
	var pods [2]*lab.Host
	f, err := lab.NewFabric(ctx, b.bin, lab.Layout{Nodes: 2, Under: "4"})
	if err != nil {
		return nil, pods, netip.Addr{}, err
	}
	to, err := flannelUp(ctx, b, f, backend, &pods)
	if err != nil {
		_ = f.Close()
	}
	return f, pods, to, err
}

func flannelUp(ctx context.Context, b *bench, f *lab.Fabric, backend string, pods *[2]*lab.Host) (netip.Addr, error) {
	url := "http://" + f.NodeIPs(f.Server)[0] + ":2379"
	if _, err := f.Server.Start("etcd", "etcd", "--data-dir", filepath.Join(f.Server.Dir(), "etcd"), "--listen-client-urls", url, "--advertise-client-urls", url); err != nil {
		return netip.Addr{}, err
	}
	config := fmt.Sprintf(`{"Network":"10.42.0.0/16","EnableNFTables":true,"Backend":{"Type":%q}}`, backend)
	for _, n := range f.Nodes {
		file := filepath.Join(n.Dir(), "subnet.env")
		args := []string{"flannel", "-etcd", url, "-iface", "eth0", "-subnet-file", file}
		if n == f.Nodes[0] {
			args = append(args, "-config", config)
		}
		p, err := n.Start("flannel", args...)
		if err != nil {
			return netip.Addr{}, err
		}
		err = lab.Until(ctx, file, func() (string, error) {
			_, err := os.Stat(file)
			return p.Tail(5), err
		})
		if err != nil {
			return netip.Addr{}, err
		}
	}
	var to netip.Addr
	for i, n := range f.Nodes {
		var err error
		if pods[i], to, err = bridgePod(ctx, f, n); err != nil {
			return netip.Addr{}, err
		}
	}
	_, err := pods[0].Run(ctx, b.self, "probe", "reach", to.String())
	return to, err
}

func bridgePod(ctx context.Context, f *lab.Fabric, n *lab.Host) (*lab.Host, netip.Addr, error) {
	env, err := os.ReadFile(filepath.Join(n.Dir(), "subnet.env"))
	if err != nil {
		return nil, netip.Addr{}, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(env)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[k] = v
	}
	gateway, err := netip.ParsePrefix(values["FLANNEL_SUBNET"])
	if err != nil {
		return nil, netip.Addr{}, err
	}
	addr := gateway.Addr().Next()
	pod, err := f.Namespace(ctx, n.Name+"-flannelpod")
	if err != nil {
		return nil, netip.Addr{}, err
	}
	script := fmt.Sprintf(`set -e
echo 1 >/proc/sys/net/ipv4/ip_forward
ip link add cni0 mtu %[1]s type bridge
ip addr add %[2]v dev cni0
ip link set cni0 up
ip link add vethpod mtu %[1]s type veth peer name eth0 mtu %[1]s netns %[3]s
ip link set vethpod master cni0 up
ip -n %[3]s addr add %[4]v/%[5]d dev eth0
ip -n %[3]s link set eth0 up
ip -n %[3]s link set lo up
ip -n %[3]s route add default via %[6]v`, values["FLANNEL_MTU"], gateway, pod.Namespace(), addr, gateway.Bits(), gateway.Addr())
	_, err = n.Run(ctx, "sh", "-c", script)
	return pod, addr, err
}
