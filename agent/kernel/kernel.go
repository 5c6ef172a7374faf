package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// rcvbuf is the receive buffer of a netlink socket, in bytes: events and dumps
// of thousands of routes come in bursts.
const rcvbuf = 8 << 20

// Kernel speaks netlink to one network namespace. It is safe for concurrent use.
type Kernel struct {
	log   *slog.Logger
	ns    netns.NsHandle
	route *netlink.Handle
	table *netlink.Handle          // lists routes: the kernel leaves out what was not asked for
	raw   map[int]*nl.SocketHandle // for what the handle has no call for
	rt    *rtSocket
	fdbs  fdbs
	dests dests
	nft   *nft
	ioctl int // a datagram socket, for ethtool
	wg    wireguard

	mu      sync.Mutex
	sysctls map[string]bool // paths that were ever asked for: Observe cannot list /proc/sys
}

// Config is what a Kernel needs for WireGuard. The zero value does without. A device
// that is there is configured whoever made it.
type Config struct {
	Keyring   Keyring   // nil: there are no keys
	Userspace Userspace // nil: only the kernel makes devices
	WireGuard string    // who makes devices: InKernel, InUserspace, or the kernel where it can if empty
}

// Open binds to the calling thread's current network namespace.
func Open(log *slog.Logger, c Config) (*Kernel, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("kernel: network namespace of this thread: %w", err)
	}
	k := &Kernel{log: log, ns: ns, ioctl: -1, wg: wireguard{keyring: c.Keyring, userspace: c.Userspace, only: c.WireGuard}, sysctls: map[string]bool{}}
	if err := k.open(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Kernel) open() (err error) {
	if k.route, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("kernel: rtnetlink socket: %w", err)
	}
	if err := k.route.SetSocketReceiveBufferSize(rcvbuf, true); err != nil {
		return fmt.Errorf("kernel: rtnetlink receive buffer; the agent needs CAP_NET_ADMIN: %w", err)
	}
	if k.table, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("kernel: rtnetlink socket: %w", err)
	}
	if err := k.table.SetStrictCheck(true); err != nil {
		return fmt.Errorf("kernel: rtnetlink strict checking needs Linux 4.20: %w", err)
	}
	k.raw = map[int]*nl.SocketHandle{}
	for _, protocol := range []int{unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER} {
		sock, err := nl.GetNetlinkSocketAt(k.ns, netns.None(), protocol)
		if err != nil {
			return fmt.Errorf("kernel: netlink socket: %w", err)
		}
		k.raw[protocol] = &nl.SocketHandle{Socket: sock}
	}
	if k.rt, err = openRTSocket(); err != nil {
		return err
	}
	if k.nft, err = openNFT(); err != nil {
		return err
	}
	if k.ioctl, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("kernel: socket for ethtool: %w", err)
	}
	return nil
}

// Close lets the sockets go. What is in the kernel stays.
func (k *Kernel) Close() error {
	if k.route != nil {
		k.route.Close()
	}
	if k.table != nil {
		k.table.Close()
	}
	for _, s := range k.raw {
		s.Close()
	}
	errs := []error{k.wg.close()}
	if k.rt != nil {
		errs = append(errs, k.rt.close())
	}
	if k.nft != nil {
		errs = append(errs, k.nft.close())
	}
	if k.ioctl >= 0 {
		errs = append(errs, unix.Close(k.ioctl))
	}
	return errors.Join(append(errs, k.ns.Close())...)
}

// Observe returns all objects of the given kinds that are ours.
func (k *Kernel) Observe(ctx context.Context, kinds datapath.Kinds) (datapath.State, error) {
	s := datapath.State{}
	if kinds&forwarding != 0 {
		if err := k.observeForwarding(ctx, kinds, s); err != nil {
			return nil, err
		}
	}
	if kinds&firewall != 0 {
		if err := k.nft.observe(ctx, kinds, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// The kinds that rtnetlink and sysctls make, and those of nftables.
var (
	firewall   = datapath.Of(datapath.KindSet, datapath.KindChain, datapath.KindElement, datapath.KindRule)
	forwarding = datapath.AllKinds &^ firewall
)

func (k *Kernel) observeForwarding(ctx context.Context, kinds datapath.Kinds, s datapath.State) error {
	devs, err := k.devices()
	if err != nil {
		return err
	}
	if kinds&datapath.Of(datapath.KindLink, datapath.KindWGPeer) != 0 {
		if err := k.lookWireGuard(ctx, devs); err != nil {
			return err
		}
	}
	for _, look := range []struct {
		kind    datapath.Kind
		observe func(*devices, datapath.State) error
	}{
		{datapath.KindSysctl, k.observeSysctls},
		{datapath.KindLink, k.observeLinks},
		{datapath.KindAddr, k.observeAddrs},
		{datapath.KindNeigh, k.observeNeighs},
		{datapath.KindFDB, k.observeFDB},
		{datapath.KindWGPeer, k.observeWGPeers},
		{datapath.KindRoute, k.observeRoutes},
	} {
		if !kinds.Has(look.kind) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := look.observe(devs, s); err != nil {
			return err
		}
	}
	return nil
}

// Apply takes the steps in their order and returns one error for each, nil where
// it was done or was done already. The steps of nftables are taken together, in
// one transaction, at the place of the first of them.
func (k *Kernel) Apply(ctx context.Context, ops []datapath.Op) []error {
	h := &hands{Kernel: k, indexes: map[string]int{}}
	errs := make([]error, len(ops))
	var rules []int
	for i, op := range ops {
		if firewall.Has(op.Key().Kind) {
			rules = append(rules, i)
		}
	}
	for i := 0; i < len(ops); {
		kind := ops[i].Key().Kind
		switch {
		case many.Has(kind) && ctx.Err() == nil:
			i = h.batch(ctx, ops, i, errs)
			continue
		case kind == datapath.KindWGPeer:
			i = h.peers(ctx, ops, i, errs)
			continue
		case !firewall.Has(kind):
			errs[i] = h.step(ctx, ops[i])
		case i == rules[0]:
			k.transact(ctx, ops, rules, errs)
		}
		i++
	}
	return errs
}

func (k *Kernel) transact(ctx context.Context, ops []datapath.Op, at []int, errs []error) {
	batch := make([]datapath.Op, len(at))
	for i, j := range at {
		batch[i] = ops[j]
	}
	for i, err := range k.nft.apply(ctx, batch) {
		if err != nil {
			errs[at[i]] = fmt.Errorf("kernel: %v: %w", batch[i], err)
		}
	}
}

// hands are what the steps of one call share.
type hands struct {
	*Kernel
	indexes map[string]int // devices by name; a step on a device forgets it

	replaced bool // routes, and what they rested on may go next
}

func (k *hands) step(ctx context.Context, op datapath.Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if op.New == nil {
		err = k.remove(ctx, op.Old)
	} else {
		err = k.put(ctx, op.Old, op.New)
	}
	if err != nil {
		return fmt.Errorf("kernel: %v: %w", op, err)
	}
	return nil
}

// put makes one object be there as it should be, whatever was there before.
func (k *hands) put(ctx context.Context, old, o datapath.Object) error {
	switch o := o.(type) {
	case datapath.Sysctl:
		return k.putSysctl(o)
	case datapath.Link:
		delete(k.indexes, o.Name)
		return k.putLink(ctx, o)
	case datapath.Addr:
		return k.putAddr(o)
	case datapath.Neigh:
		return k.putNeigh(o)
	case datapath.FDB:
		return k.putFDB(o)
	case datapath.Route:
		return k.putRoute(o, old != nil)
	}
	return fmt.Errorf("%T is no object of the forwarding plane", o)
}

// remove makes one object be gone. That it is gone already, or its device, is
// success.
func (k *hands) remove(ctx context.Context, o datapath.Object) error {
	var err error
	switch o := o.(type) {
	case datapath.Sysctl:
		return nil // a foreign setting stays
	case datapath.Link:
		delete(k.indexes, o.Name)
		if err := removeIfb(k.route, o.Name); err != nil {
			return err
		}
		err = k.removeLink(ctx, o)
	case datapath.Addr:
		err = k.removeAddr(o)
	case datapath.Neigh:
		err = k.removeNeigh(o)
	case datapath.FDB:
		err = k.removeFDB(o)
	case datapath.Route:
		err = k.removeRoute(o)
	default:
		err = fmt.Errorf("%T is no object of the forwarding plane", o)
	}
	if isGone(err) {
		return nil
	}
	return err
}

// isGone tells whether a delete failed because there was nothing to delete.
func isGone(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EADDRNOTAVAIL)
}
