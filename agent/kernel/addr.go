package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

func (k *Kernel) observeAddrs(d *devices, s datapath.State) error {
	addrs, err := dump(func() ([]netlink.Addr, error) { return k.route.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("kernel: list of addresses: %w", err)
	}
	for _, a := range addrs {
		if !d.own[a.LinkIndex] {
			continue
		}
		if p, ok := prefix(a.IPNet); ok {
			o := datapath.Addr{Dev: d.name[a.LinkIndex], Prefix: p}
			o.Peer, _ = prefix(a.Peer)
			s[o.Key()] = o
		}
	}
	return nil
}

func (k *hands) putAddr(o datapath.Addr) error {
	index, err := k.index(o.Dev)
	if err != nil {
		return err
	}
	if o.Peer.IsValid() {
		return done(k.route.AddrAdd(byIndex(index), line(o)))
	}
	err = addAddr(k.route, index, o.Prefix)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("IPv6 is switched off on %s; switch it on (sysctl net.ipv6.conf.%s.disable_ipv6=0) or run an IPv4 fabric: %w", o.Dev, o.Dev, err)
	}
	return err
}

// addAddr sets an address at once usable: no duplicate detection, and no route
// of the kernel's own where the address is a host's.
func addAddr(h *netlink.Handle, index int, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: ipNet(p), LinkIndex: index}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
		if p.IsSingleIP() {
			a.Flags |= unix.IFA_F_NOPREFIXROUTE
		}
	}
	return done(h.AddrAdd(byIndex(index), a))
}

// done takes an address that is there for one that was added.
func done(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// line is an address with a peer.
func line(o datapath.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: ipNet(o.Prefix), Peer: ipNet(o.Peer), Flags: unix.IFA_F_NOPREFIXROUTE}
}

func (k *hands) removeAddr(o datapath.Addr) error {
	index, err := k.index(o.Dev)
	if err != nil {
		return err
	}
	if o.Peer.IsValid() {
		return k.route.AddrDel(byIndex(index), line(o))
	}
	return k.route.AddrDel(byIndex(index), &netlink.Addr{IPNet: ipNet(o.Prefix)})
}

// index finds a device, once for all steps of a call.
func (k *hands) index(dev string) (int, error) {
	if i, ok := k.indexes[dev]; ok {
		return i, nil
	}
	i, err := k.indexOf(dev)
	if err == nil {
		k.indexes[dev] = i
	}
	return i, err
}

// indexOf asks by ioctl (netdevice(7)): rtnetlink would send all that is known of
// the device.
func (k *Kernel) indexOf(dev string) (int, error) {
	r, err := unix.NewIfreq(dev)
	if err == nil {
		err = unix.IoctlIfreq(k.ioctl, unix.SIOCGIFINDEX, r)
	}
	if err != nil {
		return 0, fmt.Errorf("device %s: %w", dev, err)
	}
	return int(r.Uint32()), nil
}

func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if bits == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, ones), ok
}
