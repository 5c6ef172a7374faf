package kernel

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Throwaway runs f in a network namespace of its own that ends with it: what the
// kernel can do is tried there, and nothing of the host is touched. It has one
// device, named uplink, with an address.
func Throwaway(log *slog.Logger, uplink string, addr netip.Prefix, f func(*Kernel) error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		done <- inNew(log, uplink, addr, f)
	}()
	return <-done
}

func inNew(log *slog.Logger, uplink string, addr netip.Prefix, f func(*Kernel) error) error {
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("kernel: make a network namespace; the agent needs CAP_SYS_ADMIN: %w", err)
	}
	defer ns.Close()
	k, err := Open(log, Config{})
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.pretend(uplink, addr); err != nil {
		return fmt.Errorf("kernel: veth pair with %v: %w", addr, err)
	}
	return f(k)
}

// pretend makes a veth pair, both ends up, one with the address.
func (k *Kernel) pretend(uplink string, addr netip.Prefix) error {
	peer := uplink + "-peer"
	attrs := netlink.NewLinkAttrs()
	attrs.Name = uplink
	if err := k.route.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		return err
	}
	for _, name := range []string{uplink, peer} {
		l, err := k.route.LinkByName(name)
		if err == nil {
			err = k.route.LinkSetUp(l)
		}
		if err != nil {
			return err
		}
		if name == peer {
			continue
		}
		ip := net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen())}
		if err := k.route.AddrAdd(l, &netlink.Addr{IPNet: &ip, Flags: unix.IFA_F_NODAD}); err != nil {
			return err
		}
	}
	return nil
}
