package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Forward is a port of the node that leads to a pod, or did.
type Forward struct {
	Proto  string     // udp, sctp, tcp
	HostIP netip.Addr // an address of the node; zero: every one
	Port   uint16
	Pod    netip.Addr // its family is the flows'
	Live   bool       // the port leads to Pod now: flows that do so stay
}

// ForgetFlows makes the kernel forget where flows to ports of the node lead. The
// kernel decides that with a flow's first packet, and a flow of UDP ends only when
// its sender pauses: one that does not would reach what was there before for ever.
// It reads the flows to each port, not all of the host (Linux 5.8; older kernels
// ignore the filter and list all).
func (k *Kernel) ForgetFlows(ctx context.Context, ports []Forward) error {
	if len(ports) == 0 {
		return nil
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return k.route.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("kernel: list of addresses: %w", err)
	}
	local := map[netip.Addr]bool{}
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok {
			local[p.Addr()] = true
		}
	}
	var errs []error
	for _, p := range ports {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if err := k.forgetFlows(p, local); err != nil {
			errs = append(errs, fmt.Errorf("kernel: flows to port %d/%s of the node: %w", p.Port, p.Proto, err))
		}
	}
	return errors.Join(errs...)
}

func (k *Kernel) forgetFlows(p Forward, local map[netip.Addr]bool) error {
	filter, err := p.filter()
	if err != nil {
		return err
	}
	flows, err := dump(func() ([][]byte, error) {
		return k.conntrack(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, p.family(), filter)
	})
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	var errs []error
	for _, b := range flows {
		if len(b) < nfHeader {
			continue
		}
		f, err := parseFlow(b[nfHeader:])
		if err != nil {
			return err
		}
		if !p.stale(f, local) {
			continue
		}
		_, err = k.conntrack(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, p.family(), b[nfHeader:])
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("from %v: %w", f.orig.src, err))
		}
	}
	return errors.Join(errs...)
}

// conntrack sends one request to connection tracking.
func (k *Kernel) conntrack(msg, flags int, family uint8, body []byte) ([][]byte, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|msg, flags)
	req.Sockets = k.raw
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	req.AddRawData(body)
	return req.Execute(unix.NETLINK_NETFILTER, 0)
}

func (p Forward) family() uint8 {
	if p.Pod.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// stale tells whether a flow is to the port and does not lead where it should.
func (p Forward) stale(f flow, local map[netip.Addr]bool) bool {
	n, err := protocol(p.Proto)
	switch {
	case err != nil || f.orig.proto != n || f.orig.dport != p.Port:
		return false
	case f.reply.src == p.Pod:
		return !p.Live
	case p.HostIP.IsValid() && !p.HostIP.IsUnspecified():
		return f.orig.dst == p.HostIP
	}
	return local[f.orig.dst] || f.orig.dst.IsLoopback()
}

// Attributes and flags of a filter (enum ctattr_type and enum ctattr_filter in
// include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_internals.h).
const (
	ctaFilter          = 25 // CTA_FILTER
	ctaFilterOrigFlags = 1  // CTA_FILTER_ORIG_FLAGS
	filterProto        = 1 << 3
	filterDPort        = 1 << 5
)

// filter asks for the flows to the port alone.
func (p Forward) filter() (attrs, error) {
	n, err := protocol(p.Proto)
	if err != nil {
		return nil, err
	}
	var a attrs
	a.nest(nl.CTA_TUPLE_ORIG, func(a *attrs) {
		a.nest(nl.CTA_TUPLE_PROTO, func(a *attrs) {
			a.bytes(nl.CTA_PROTO_NUM, []byte{n})
			a.bytes(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, p.Port))
		})
	})
	a.nest(ctaFilter, func(a *attrs) {
		a.bytes(ctaFilterOrigFlags, native32(filterProto|filterDPort))
	})
	return a, nil
}

// flow is one entry of connection tracking: as it was sent, and as its answers
// come.
type flow struct{ orig, reply tuple }

type tuple struct {
	src, dst netip.Addr
	proto    uint8
	dport    uint16
}

func parseFlow(b []byte) (f flow, err error) {
	var wrong []error
	err = each(b, func(typ uint16, v []byte) {
		switch typ {
		case nl.CTA_TUPLE_ORIG:
			wrong = append(wrong, f.orig.parse(v))
		case nl.CTA_TUPLE_REPLY:
			wrong = append(wrong, f.reply.parse(v))
		}
	})
	return f, errors.Join(append(wrong, err)...)
}

func (t *tuple) parse(b []byte) error {
	var wrong []error
	err := each(b, func(typ uint16, v []byte) {
		switch typ {
		case nl.CTA_TUPLE_IP:
			wrong = append(wrong, each(v, t.addr))
		case nl.CTA_TUPLE_PROTO:
			wrong = append(wrong, each(v, t.transport))
		}
	})
	return errors.Join(append(wrong, err)...)
}

func (t *tuple) addr(typ uint16, v []byte) {
	a, _ := netip.AddrFromSlice(v)
	switch typ {
	case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
		t.src = a
	case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
		t.dst = a
	}
}

func (t *tuple) transport(typ uint16, v []byte) {
	switch {
	case typ == nl.CTA_PROTO_NUM && len(v) > 0:
		t.proto = v[0]
	case typ == nl.CTA_PROTO_DST_PORT && len(v) > 1:
		t.dport = binary.BigEndian.Uint16(v)
	}
}
