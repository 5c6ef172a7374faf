package kernel

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weft-net/weft/agent/datapath"
)

// putWireGuard makes a WireGuard device be there, with its key and port, and up. What
// it has of these already is not set again: a key that is set ends all sessions.
func (k *hands) putWireGuard(ctx context.Context, o datapath.Link) error {
	have, err := k.route.LinkByName(o.Name)
	if none := (netlink.LinkNotFoundError{}); errors.As(err, &none) {
		if err := k.makeWireGuard(ctx, o); err != nil {
			return err
		}
		have, err = k.route.LinkByName(o.Name)
	}
	switch {
	case err != nil:
		return err
	case typeOf(have) != datapath.LinkWG:
		return fmt.Errorf("a %s device of somebody else bears this name; rename it or remove it: ip link delete %s", have.Type(), o.Name)
	}
	seen, err := k.lookAt(ctx, o.Name, isInKernel(have))
	if errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("a TUN device of somebody else bears this name, and %s is of a process that is gone; rename it or remove it: ip link delete %s", uapiSocket(o.Name), o.Name)
	}
	if err != nil {
		return err
	}
	c, err := k.deviceConfig(o.WG, seen.wg)
	if err != nil {
		return err
	}
	if err := k.configure(ctx, o.Name, isInKernel(have), c); err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return portTaken(o, err)
		}
		return err
	}
	return k.configureLink(have, o)
}

func (k *hands) makeWireGuard(ctx context.Context, o datapath.Link) error {
	kind, err := k.WireGuard(ctx)
	switch {
	case err != nil:
		return err
	case kind == InKernel:
		attrs := netlink.NewLinkAttrs()
		attrs.Name = o.Name
		return done(k.route.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs}))
	case kind == InUserspace:
		return k.wg.userspace.Start(ctx, o.Name)
	}
	return fmt.Errorf("%s: %w", k.Nobody(), unix.EOPNOTSUPP)
}

// Nobody says why nobody makes WireGuard devices here.
func (k *Kernel) Nobody() string {
	const kernel, process = "this kernel has no WireGuard (modprobe wireguard)", tunPath + ", with which a process makes devices, is not there (modprobe tun)"
	switch k.wg.only {
	case InKernel:
		return kernel + ", and nothing else may make devices (--wireguard kernel)"
	case InUserspace:
		return process + ", and the kernel may not make devices (--wireguard userspace)"
	}
	return kernel + ", and " + process
}

// IPv6Off tells whether the kernel makes no IPv6 sockets. WireGuard then listens on
// IPv4 alone (drivers/net/wireguard/socket.c, wg_socket_init).
func IPv6Off() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return errors.Is(err, unix.EAFNOSUPPORT)
}

// removeWireGuard ends a device and, where one made it, the process.
func (k *hands) removeWireGuard(ctx context.Context, dev string) error {
	l, err := k.route.LinkByName(dev)
	switch {
	case err != nil:
		return err
	case typeOf(l) != datapath.LinkWG:
		return fmt.Errorf("it is a %s of somebody else now; it was left alone", l.Type())
	case !isInKernel(l) && k.wg.userspace != nil:
		if err := k.wg.userspace.Stop(ctx, dev); err != nil {
			return err
		}
		if l, err = k.route.LinkByName(dev); err != nil {
			return err // as it should be: it went with its process
		}
	}
	return k.route.LinkDel(l)
}

// deviceConfig is what differs of a device.
func (k *Kernel) deviceConfig(want, have datapath.WG) (c wgtypes.Config, err error) {
	if want.Key != have.Key {
		var private [32]byte
		ok := false
		if k.wg.keyring != nil {
			private, ok = k.wg.keyring.Private(want.Key)
		}
		if !ok {
			return c, fmt.Errorf("the secret half of key %v is not among the node's keys (wireguard.json)", want.Key)
		}
		c.PrivateKey = (*wgtypes.Key)(&private)
	}
	if want.Port != have.Port {
		port := int(want.Port)
		c.ListenPort = &port
	}
	if want.Mark != have.Mark {
		mark := int(want.Mark)
		c.FirewallMark = &mark
	}
	return c, nil
}

// configure changes what c names and nothing else: no configuration of ours ever
// replaces a device's peers.
func (k *Kernel) configure(ctx context.Context, dev string, inKernel bool, c wgtypes.Config) error {
	if c.PrivateKey == nil && c.ListenPort == nil && c.FirewallMark == nil && len(c.Peers) == 0 {
		return nil
	}
	if request := endpointsAlone(c); request != "" && !inKernel && !k.wg.hasKernel() {
		err := k.taken(ctx, dev, inKernel, func(a *asks) error { return a.set(dev, request) })
		if dial := (*noUAPI)(nil); !errors.As(err, &dial) {
			return err
		}
	}
	return wgError(k.ask(ctx, dev, inKernel, func(client *wgctrl.Client) error { return client.ConfigureDevice(dev, c) }))
}

func portTaken(o datapath.Link, err error) error {
	return fmt.Errorf("UDP port %d is taken, maybe by a WireGuard device of the host's own; wg show all listen-port, or ss -lunp 'sport = :%d', tells whose it is: free it, or choose another wireguardPort: %w", o.WG.Port, o.WG.Port, err)
}
