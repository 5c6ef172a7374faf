package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Watch calls kick with the kinds of objects that an event was about, until ctx
// ends; then it returns nil. It first kicks everything, because what happened
// before it listened is not known. When the kernel had to drop events it kicks
// everything again. Our own nftables transactions, routes, neighbours and forwarding
// entries are no events.
//
// A device that goes down takes routes along without an event of their own, so
// an event on a device is about all that may rest on it.
func (k *Kernel) Watch(ctx context.Context, kick func(datapath.Kinds)) error {
	route, err := k.subscribe(unix.NETLINK_ROUTE, k.rt.pid,
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return err
	}
	defer route.Close()
	rules, err := k.subscribe(unix.NETLINK_NETFILTER, k.nft.sock.pid, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return err
	}
	defer rules.Close()

	w := &watch{kick: kick, devs: map[int32]string{}, fdbs: &k.fdbs, dests: &k.dests, others: &k.nft.others, rtPID: k.rt.pid, nftPID: k.nft.sock.pid}
	w.others.watched(true)
	defer w.others.watched(false)
	if d, err := k.devices(); err != nil {
		return err
	} else {
		for i, name := range d.name {
			w.devs[int32(i)] = name
		}
	}
	kick(datapath.AllKinds)
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		_ = route.SetReadDeadline(time.Unix(1, 0))
		_ = rules.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	g.Go(func() error { return w.receive(ctx, route, w.routeEvent) })
	g.Go(func() error { return w.receive(ctx, rules, w.nftEvent) })
	return g.Wait()
}

// subscribe listens to events, but for those that a port of ours caused.
func (k *Kernel) subscribe(protocol int, own uint32, groups ...uint32) (*netlink.Conn, error) {
	c, err := netlink.Dial(protocol, &netlink.Config{NetNS: int(k.ns)})
	if err != nil {
		return nil, fmt.Errorf("kernel: netlink socket for events: %w", err)
	}
	raw, err := c.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvbuf), deaf(int(fd), own))
		})
		err = errors.Join(err, cerr)
	}
	for _, g := range groups {
		err = errors.Join(err, c.JoinGroup(g))
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("kernel: subscribe to netlink events: %w", err)
	}
	return c, nil
}

// deaf has the kernel drop events that a port caused, so that our own changes do
// not even wake us. It looks at the port of the first message; messages that come
// together are of one port.
func deaf(fd int, pid uint32) error {
	const portAt = 12 // in struct nlmsghdr
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: portAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, pid))},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// watch turns events into kinds.
type watch struct {
	kick   func(datapath.Kinds)
	devs   map[int32]string // devices by index, as route events name them
	fdbs   *fdbs
	dests  *dests
	others *others
	rtPID  uint32 // the port that our changes come from
	nftPID uint32 // likewise
}

func (w *watch) receive(ctx context.Context, c *netlink.Conn, event func(netlink.Message) datapath.Kinds) error {
	for {
		msgs, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			w.others.forget()
			w.others.stir()
			w.kick(datapath.AllKinds)
			continue
		case err != nil:
			return fmt.Errorf("kernel: receive netlink events: %w", err)
		}
		var kinds datapath.Kinds
		for _, m := range msgs {
			kinds |= event(m)
		}
		if kinds != 0 {
			w.kick(kinds)
		}
	}
}

// What may rest on a device.
var onDevice = datapath.Of(datapath.KindLink, datapath.KindAddr, datapath.KindNeigh, datapath.KindFDB, datapath.KindWGPeer, datapath.KindRoute, datapath.KindSysctl)

func (w *watch) routeEvent(m netlink.Message) datapath.Kinds {
	if m.Header.PID == w.rtPID { // not the first of its datagram; what goes along unasked has no port
		return 0
	}
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.linkEvent(m)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		// Routes with the address as their source go without an event.
		return datapath.Of(datapath.KindAddr, datapath.KindRoute)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return w.routeKinds(m.Data)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return w.neighKinds(m.Data, m.Header.Type == unix.RTM_DELNEIGH)
	case unix.RTM_NEWNETCONF, unix.RTM_DELNETCONF:
		return datapath.Of(datapath.KindSysctl)
	}
	return 0
}

// linkEvent reads struct ifinfomsg and IFLA_IFNAME.
func (w *watch) linkEvent(m netlink.Message) datapath.Kinds {
	if len(m.Data) < unix.SizeofIfInfomsg || m.Data[0] == unix.AF_BRIDGE {
		return 0
	}
	index := int32(binary.NativeEndian.Uint32(m.Data[4:]))
	if m.Header.Type == unix.RTM_DELLINK {
		delete(w.devs, index)
		return onDevice
	}
	_ = each(m.Data[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
		if typ == unix.IFLA_IFNAME {
			w.devs[index] = text(v)
		}
	})
	return onDevice
}

// routeKinds reads struct rtmsg: routes of ours, those where ours should be, and
// defaults, which decide about the node's address.
func (w *watch) routeKinds(b []byte) datapath.Kinds {
	if len(b) < unix.SizeofRtMsg {
		return 0
	}
	length, protocol, flags := b[1], b[5], binary.NativeEndian.Uint32(b[8:])
	if flags&unix.RTM_F_CLONED != 0 {
		return 0
	}
	if protocol == datapath.RouteProto || length == 0 || w.dests.holds(routeDst(b)) {
		return datapath.Of(datapath.KindRoute)
	}
	return 0
}

// neighKinds reads struct ndmsg. Neighbours that come and go by themselves are
// none of ours, nor are other devices'.
func (w *watch) neighKinds(b []byte, gone bool) datapath.Kinds {
	if len(b) < unix.SizeofNdMsg {
		return 0
	}
	index, state := int32(binary.NativeEndian.Uint32(b[4:])), binary.NativeEndian.Uint16(b[8:])
	name := w.devs[index]
	if !datapath.IsPodLink(name) && !datapath.IsOurs(name, datapath.LinkVXLAN) {
		return 0
	}
	if b[0] == unix.AF_BRIDGE {
		return w.fdbKinds(name, b, gone)
	}
	// On a VXLAN device every neighbour is ours: one that is not permanent any
	// more was.
	if datapath.IsPodLink(name) && state&unix.NUD_PERMANENT == 0 {
		return 0
	}
	return datapath.Of(datapath.KindNeigh)
}

// fdbKinds reads NDA_DST and NDA_LLADDR of a forwarding entry.
func (w *watch) fdbKinds(dev string, b []byte, gone bool) datapath.Kinds {
	var mac datapath.MAC
	var dst netip.Addr
	state := binary.NativeEndian.Uint16(b[8:])
	_ = each(b[unix.SizeofNdMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NDA_LLADDR:
			copy(mac[:], v)
		case unix.NDA_DST:
			dst, _ = netip.AddrFromSlice(v)
		}
	})
	switch {
	case gone:
		dst = netip.Addr{}
	case state&unix.NUD_PERMANENT == 0 || !dst.IsValid():
		return datapath.Of(datapath.KindFDB)
	}
	if w.fdbs.knows(dev, mac, dst) {
		return 0
	}
	return datapath.Of(datapath.KindFDB)
}

// stir tells of a change of others that may let other packets pass. Elements of
// their sets come and go all day, and are not read.
func (w *watch) stir(msg uint16) {
	switch msg {
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
		w.others.stir()
	}
}

// nftEvent takes what is about table inet weft and was not caused by us. The
// kernel names the port that asked. Others' chains are kept no book of by the
// loop, so when one comes or goes that matters, it is only to plan again.
func (w *watch) nftEvent(m netlink.Message) datapath.Kinds {
	typ := uint16(m.Header.Type)
	if typ>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.PID == w.nftPID || len(m.Data) < nfHeader {
		return 0
	}
	if typ&0xff == unix.NFT_MSG_NEWCHAIN || typ&0xff == unix.NFT_MSG_DELCHAIN {
		if w.others.event(m.Data[0], typ&0xff, m.Data[nfHeader:]) {
			w.others.stir()
			w.kick(0)
			return 0
		}
	}
	table := ""
	_ = each(m.Data[nfHeader:], func(typ uint16, v []byte) {
		if typ == unix.NFTA_TABLE_NAME && table == "" {
			table = text(v)
		}
	})
	if m.Data[0] != inetFamily || table != datapath.Table {
		w.stir(typ & 0xff)
		return 0
	}
	switch typ & 0xff {
	case unix.NFT_MSG_NEWTABLE, unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELSET, unix.NFT_MSG_DELCHAIN:
		return firewall
	case unix.NFT_MSG_NEWCHAIN:
		return datapath.Of(datapath.KindChain)
	case unix.NFT_MSG_NEWSET:
		return datapath.Of(datapath.KindSet, datapath.KindElement)
	case unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM:
		return datapath.Of(datapath.KindElement)
	case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
		return datapath.Of(datapath.KindRule)
	}
	return 0
}
