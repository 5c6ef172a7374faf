package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Attachment is one pod's device: a veth pair with one end in the pod's network
// namespace. The host end gets its address, routes and settings through Apply.
type Attachment struct {
	HostDev  string         // wf + 11 hex
	IfName   string         // the device's name in the pod
	NetNS    string         // path of the pod's network namespace
	MAC      datapath.MAC   // of the pod's end; zero: any
	HostMAC  datapath.MAC   // of the host's end; zero: any
	MTU      int            // bytes; 0: the kernel's default
	Addrs    []netip.Prefix // the pod's own, /32 and /128
	Gateways []netip.Addr   // on-link default gateways: the node's IPv4 fabric address, fe80::1
}

// ErrNetNSGone says that a pod's network namespace is not there.
var ErrNetNSGone = fmt.Errorf("kernel: network namespace is gone: %w", fs.ErrNotExist)

// ErrOwnNetNS says that a pod's network namespace is the agent's own.
var ErrOwnNetNS = errors.New("kernel: network namespace is the agent's own")

// ErrTaken says that the pod has a device of that name already.
var ErrTaken = fmt.Errorf("kernel: the pod has such a device already: %w", fs.ErrExist)

// Attached is what Attach made, or CheckAttached found.
type Attached struct {
	MAC     datapath.MAC // of the pod's end
	HostMAC datapath.MAC // of the host's end
	MTU     int          // bytes
}

// Attach makes the pair and configures the pod's end: addresses, one default
// route a family with its gateway's neighbour entry, no router advertisements. It
// may be repeated after it was stopped half way. It refuses the agent's own
// namespace before it touches anything.
func (k *Kernel) Attach(ctx context.Context, p Attachment) (Attached, error) {
	pod, err := k.enter(ctx, p.NetNS)
	if err != nil {
		return Attached{}, err
	}
	defer pod.close()
	// A socket of its own: those of the loop must not wait for the kernel's
	// making and unmaking of devices.
	h, err := netlink.NewHandleAt(k.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return Attached{}, fmt.Errorf("kernel: rtnetlink socket: %w", err)
	}
	defer h.Close()
	host, err := pair(h, pod, p)
	if err != nil {
		return Attached{}, fmt.Errorf("kernel: make %s with its end %s in %s: %w", p.HostDev, p.IfName, p.NetNS, err)
	}
	end, err := pod.configure(p, mac(host.HardwareAddr))
	if err != nil {
		return Attached{}, fmt.Errorf("kernel: configure %s in %s: %w", p.IfName, p.NetNS, err)
	}
	return Attached{MAC: mac(end.HardwareAddr), HostMAC: mac(host.HardwareAddr), MTU: end.MTU}, nil
}

// Detach removes a pair by its host end. That it is gone is success.
func (k *Kernel) Detach(ctx context.Context, hostDev string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(k.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("kernel: rtnetlink socket: %w", err)
	}
	defer h.Close()
	err = removeLink(h, hostDev, datapath.LinkVeth)
	if isGone(err) {
		err = nil
	}
	if err := errors.Join(err, removeIfb(h, hostDev)); err != nil {
		return fmt.Errorf("kernel: remove %s: %w", hostDev, err)
	}
	return nil
}

// CheckAttached compares a pod's device with what Attach would have made, and
// says in one error all that is missing.
func (k *Kernel) CheckAttached(ctx context.Context, p Attachment) (Attached, error) {
	pod, err := k.enter(ctx, p.NetNS)
	if err != nil {
		return Attached{}, err
	}
	defer pod.close()
	var errs []error
	out := Attached{}
	host, err := k.route.LinkByName(p.HostDev)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("host end %s: %w", p.HostDev, err))
	case host.Attrs().RawFlags&unix.IFF_UP == 0:
		errs = append(errs, fmt.Errorf("host end %s is down", p.HostDev))
	default:
		out.HostMAC = mac(host.Attrs().HardwareAddr)
	}
	end, err := pod.check(p)
	out.MAC, out.MTU = mac(end.HardwareAddr), end.MTU
	if err := errors.Join(append(errs, err)...); err != nil {
		return out, fmt.Errorf("kernel: attachment of %s in %s: %w", p.IfName, p.NetNS, err)
	}
	return out, nil
}

func openNetNS(path string) (netns.NsHandle, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return netns.None(), fmt.Errorf("%w: %s", ErrNetNSGone, path)
		}
		return netns.None(), fmt.Errorf("kernel: open network namespace %s: %w", path, err)
	}
	// A file that once was a mount point is there, but is no namespace.
	typ, err := unix.IoctlRetInt(int(ns), unix.NS_GET_NSTYPE)
	if err != nil || typ != unix.CLONE_NEWNET {
		ns.Close()
		return netns.None(), fmt.Errorf("%w: %s is no network namespace", ErrNetNSGone, path)
	}
	return ns, nil
}

// podNS is an open network namespace of a pod.
type podNS struct {
	ns netns.NsHandle
	h  *netlink.Handle
}

func (k *Kernel) enter(ctx context.Context, path string) (*podNS, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ns, err := openNetNS(path)
	if err != nil {
		return nil, err
	}
	if k.ns.Equal(ns) {
		ns.Close()
		return nil, fmt.Errorf("%w: %s; a pod needs one of its own", ErrOwnNetNS, path)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("kernel: rtnetlink socket in %s: %w", path, err)
	}
	return &podNS{ns, h}, nil
}

func (n *podNS) close() {
	n.h.Close()
	n.ns.Close()
}

// pair makes the two ends at once, the pod's end in its namespace under its own
// name: nothing is renamed or moved, so nobody sees it half way.
func pair(h *netlink.Handle, pod *podNS, p Attachment) (*netlink.LinkAttrs, error) {
	if !datapath.IsPodLink(p.HostDev) {
		return nil, fmt.Errorf("host end %q is not wf and 11 hexadecimal digits", p.HostDev)
	}
	l := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: p.IfName, PeerNamespace: netlink.NsFd(pod.ns), PeerTxQLen: -1}
	l.Name, l.MTU = p.HostDev, p.MTU
	if p.HostMAC != (datapath.MAC{}) {
		l.HardwareAddr = net.HardwareAddr(p.HostMAC[:])
	}
	if p.MAC != (datapath.MAC{}) {
		l.PeerHardwareAddr = net.HardwareAddr(p.MAC[:])
	}
	err := h.LinkAdd(l)
	if errors.Is(err, unix.EEXIST) {
		return adopt(h, pod, p, l)
	}
	if err != nil {
		return nil, err
	}
	if err := addrGenNone(h, l); err != nil {
		return nil, err
	}
	host, err := h.LinkByIndex(l.Index)
	if err != nil {
		return nil, err
	}
	return host.Attrs(), nil
}

// adopt takes a pair that an earlier try made. A host end whose other end is
// elsewhere is a leftover and is made anew; a device in the pod that is not the
// other end is somebody else's.
func adopt(h *netlink.Handle, pod *podNS, p Attachment, l *netlink.Veth) (*netlink.LinkAttrs, error) {
	end, podErr := pod.h.LinkByName(p.IfName)
	host, hostErr := h.LinkByName(p.HostDev)
	switch {
	case hostErr != nil:
		return nil, fmt.Errorf("%w: %s, not made by weft", ErrTaken, p.IfName)
	case host.Type() != datapath.LinkVeth:
		return nil, fmt.Errorf("a %s device of somebody else is named %s; remove it: ip link delete %s", host.Type(), p.HostDev, p.HostDev)
	case podErr == nil && end.Attrs().ParentIndex == host.Attrs().Index && host.Attrs().ParentIndex == end.Attrs().Index:
		return host.Attrs(), addrGenNone(h, host)
	case podErr == nil:
		return nil, fmt.Errorf("%w: %s, not the other end of %s", ErrTaken, p.IfName, p.HostDev)
	}
	if err := h.LinkDel(host); err != nil && !isGone(err) {
		return nil, fmt.Errorf("remove a leftover: %w", err)
	}
	if err := h.LinkAdd(l); err != nil {
		return nil, err
	}
	return l.Attrs(), addrGenNone(h, l)
}
