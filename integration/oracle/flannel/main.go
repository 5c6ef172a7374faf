// Command flannel runs Flannel's own packages (v0.28.9: its etcd subnet manager
// and its vxlan and host-gw backends) so that benchmarks have the real thing
// beside weft in the same run. Flannel's own command needs a cloud SDK that does
// not resolve; what is left out is that, masquerading and the health port.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/etcd"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	endpoint := flag.String("etcd", "http://127.0.0.1:2379", "client URL of etcd")
	iface := flag.String("iface", "eth0", "device on the underlay")
	file := flag.String("subnet-file", "", "where to write the lease")
	config := flag.String("config", "", "network configuration to write before anything else, JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := seed(ctx, *endpoint, *config)
	if err == nil {
		err = run(ctx, *endpoint, *iface, *file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flannel:", err)
		os.Exit(1)
	}
}

// seed writes the network's configuration, if there is one.
func seed(ctx context.Context, endpoint, config string) error {
	if config == "" {
		return nil
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Put(ctx, "/coreos.com/network/config", config)
	return err
}

func run(ctx context.Context, endpoint, iface, file string) error {
	conf := &etcd.EtcdConfig{Endpoints: []string{endpoint}, Prefix: "/coreos.com/network"}
	sm, err := etcd.NewLocalManager(ctx, conf, ip.IP4Net{}, ip.IP6Net{}, 60)
	if err != nil {
		return err
	}
	config, err := sm.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	ext, err := external(iface)
	if err != nil {
		return err
	}
	be, err := backend.NewManager(ctx, sm, ext).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	network, err := be.RegisterNetwork(ctx, &wg, config)
	if err != nil {
		return err
	}
	held := network.Lease()
	if err := sm.HandleSubnetFile(file, config, true, held.Subnet, held.IPv6Subnet, network.MTU()); err != nil {
		return err
	}
	if err := rules(ctx, config, held); err != nil {
		return err
	}
	wg.Go(func() { network.Run(ctx) })
	err = sm.CompleteLease(ctx, held, &wg)
	wg.Wait()
	return err
}

// rules sets masquerading and forwarding up, as Flannel's command does by default
// in Kubernetes.
func rules(ctx context.Context, config *subnet.Config, l *lease.Lease) error {
	const resync = 5 // seconds, the command's default
	manager := &nftables.NFTablesManager{}
	if err := manager.Init(ctx); err != nil {
		return err
	}
	err := manager.SetupAndEnsureMasqRules(ctx, config.Network, ip.IP4Net{}, ip.IP4Net{}, config.IPv6Network, ip.IP6Net{}, ip.IP6Net{}, l, resync, false)
	if err != nil {
		return err
	}
	manager.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, resync)
	return nil
}

// external is the device with its first IPv4 address.
func external(name string) (*backend.ExternalInterface, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	addrs, err := dev.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return &backend.ExternalInterface{Iface: dev, IfaceName: name, IfaceAddr: n.IP.To4(), ExtAddr: n.IP.To4()}, nil
		}
	}
	return nil, fmt.Errorf("no IPv4 address on %s", name)
}
