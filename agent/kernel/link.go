package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// devices is what one look at the links saw.
type devices struct {
	name map[int]string // of every device, by index
	ours []netlink.Link
	own  map[int]bool        // indexes of ours
	wg   map[string]wgDevice // of ours, once they were looked at
}

func (k *Kernel) devices() (*devices, error) {
	links, err := dump(k.route.LinkList)
	if err != nil {
		return nil, fmt.Errorf("kernel: list of devices: %w", err)
	}
	d := &devices{name: map[int]string{}, own: map[int]bool{}}
	for _, l := range links {
		a := l.Attrs()
		d.name[a.Index] = a.Name
		if datapath.IsOurs(a.Name, typeOf(l)) {
			d.ours = append(d.ours, l)
			d.own[a.Index] = true
		}
	}
	return d, nil
}

// dump lists, and lists again when the kernel says that the list changed while
// it was read (NLM_F_DUMP_INTR).
func dump[T any](list func() ([]T, error)) ([]T, error) {
	for range 5 {
		if out, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return list()
}

func (k *Kernel) observeLinks(d *devices, s datapath.State) error {
	for _, l := range d.ours {
		a := l.Attrs()
		o := datapath.Link{Name: a.Name, Type: typeOf(l), MTU: a.MTU, MAC: mac(a.HardwareAddr), Down: a.RawFlags&unix.IFF_UP == 0}
		if o.Type == datapath.LinkWG {
			dev, ok := d.wg[a.Name]
			if !ok {
				continue // it does not answer: putLink says so
			}
			o.WG = dev.wg
		}
		if vx, ok := l.(*netlink.Vxlan); ok {
			off, err := k.checksumOff(a.Name)
			if err != nil && !isGone(err) {
				return fmt.Errorf("kernel: checksum offload of %s: %w", a.Name, err)
			}
			local, _ := netip.AddrFromSlice(vx.SrcAddr)
			o.VXLAN = datapath.VXLAN{VNI: uint32(vx.VxlanId), Port: uint16(vx.Port), Local: local.Unmap(), CheckOff: off}
		}
		s[o.Key()] = o
	}
	return nil
}

// putLink makes a device be there, made anew only if it must be, and up.
func (k *hands) putLink(ctx context.Context, o datapath.Link) error {
	if o.Type == datapath.LinkWG {
		return k.putWireGuard(ctx, o)
	}
	have, err := k.route.LinkByName(o.Name)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none):
		return k.makeLink(o)
	case err != nil:
		return err
	case !datapath.IsOurs(o.Name, have.Type()) || have.Type() != o.Type:
		return fmt.Errorf("a %s device of somebody else bears this name; rename it or remove it: ip link delete %s", have.Type(), o.Name)
	}
	if vx, ok := have.(*netlink.Vxlan); ok {
		local, _ := netip.AddrFromSlice(vx.SrcAddr)
		seen := datapath.Link{Name: o.Name, Type: o.Type, VXLAN: datapath.VXLAN{VNI: uint32(vx.VxlanId), Port: uint16(vx.Port), Local: local.Unmap()}}
		if o.MustRemake(seen) {
			if err := k.route.LinkDel(have); err != nil && !isGone(err) {
				return fmt.Errorf("remove the old device: %w", err)
			}
			return k.makeLink(o)
		}
		if seen.VXLAN.Local != o.VXLAN.Local {
			if err := k.setLocal(vx, o.VXLAN.Local); err != nil {
				return fmt.Errorf("change the local address: %w", err)
			}
		}
	}
	return k.configureLink(have, o)
}

func (k *Kernel) makeLink(o datapath.Link) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = o.Name, o.MTU
	if o.MAC != (datapath.MAC{}) {
		attrs.HardwareAddr = o.MAC[:]
	}
	var l netlink.Link
	switch o.Type {
	case datapath.LinkBridge:
		l = &netlink.Bridge{LinkAttrs: attrs}
	case datapath.LinkVXLAN:
		l = &netlink.Vxlan{
			LinkAttrs: attrs, VxlanId: int(o.VXLAN.VNI), Port: int(o.VXLAN.Port),
			SrcAddr: o.VXLAN.Local.AsSlice(), Learning: false, NoAge: true,
		}
	default:
		return fmt.Errorf("no device of this name; a %s is made with its pod: %w", o.Type, unix.ENODEV)
	}
	switch err := k.route.LinkAdd(l); {
	case errors.Is(err, unix.EEXIST) && o.Type == datapath.LinkVXLAN:
		return fmt.Errorf("another VXLAN device has VNI %d on port %d; remove it or choose another vni: ip -d link show type vxlan: %w", o.VXLAN.VNI, o.VXLAN.Port, err)
	case err != nil:
		return err
	}
	return k.configureLink(l, o)
}

// configureLink sets what can be changed on a living device, each only where it
// differs: a change is an event for everybody who watches.
func (k *Kernel) configureLink(l netlink.Link, o datapath.Link) error {
	a := l.Attrs()
	if err := addrGenNone(k.route, l); err != nil {
		return fmt.Errorf("addrgenmode none: %w", err)
	}
	if o.MAC != (datapath.MAC{}) && mac(a.HardwareAddr) != o.MAC {
		if err := k.route.LinkSetHardwareAddr(l, net.HardwareAddr(o.MAC[:])); err != nil {
			return fmt.Errorf("set the MAC address: %w", err)
		}
	}
	if o.MTU != 0 && a.MTU != o.MTU {
		if err := k.route.LinkSetMTU(l, o.MTU); err != nil {
			return fmt.Errorf("set the MTU: %w", err)
		}
	}
	if o.Type == datapath.LinkVXLAN {
		if err := k.setChecksumOff(o.Name, o.VXLAN.CheckOff); err != nil {
			return fmt.Errorf("set transmit checksum offload: %w", err)
		}
	}
	if a.RawFlags&unix.IFF_UP != 0 {
		return nil
	}
	switch err := k.route.LinkSetUp(l); {
	case errors.Is(err, unix.EADDRINUSE) && o.Type == datapath.LinkWG:
		return portTaken(o, err)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("UDP port %d is taken, often by another overlay's VXLAN device (ip -d link show type vxlan; ss -lun); choose another vxlanPort: %w", o.VXLAN.Port, err)
	case err != nil:
		return fmt.Errorf("set it up: %w", err)
	}
	return nil
}

func (k *hands) removeLink(ctx context.Context, o datapath.Link) error {
	if o.Type == datapath.LinkWG {
		return k.removeWireGuard(ctx, o.Name)
	}
	return removeLink(k.route, o.Name, o.Type)
}

func removeLink(h *netlink.Handle, name, typ string) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if l.Type() != typ {
		return fmt.Errorf("it is a %s of somebody else now; it was left alone", l.Type())
	}
	return h.LinkDel(l)
}

// addrGenNone keeps the kernel from inventing an IPv6 link-local address.
func addrGenNone(h *netlink.Handle, l netlink.Link) error {
	const modeNone = 1 // IN6_ADDR_GEN_MODE_NONE, include/uapi/linux/if_link.h
	err := h.LinkSetIP6AddrGenMode(l, modeNone)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil // IPv6 is switched off, and with it what was to be prevented
	}
	return err
}

// setLocal changes the underlay address of a living VXLAN device; nothing that
// rests on it is lost. All other attributes stay (vxlan_changelink).
func (k *Kernel) setLocal(vx *netlink.Vxlan, local netip.Addr) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	req.Sockets = k.raw
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(vx.Index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte(datapath.LinkVXLAN))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(uint32(vx.VxlanId)))
	attr := nl.IFLA_VXLAN_LOCAL
	if local.Is6() {
		attr = nl.IFLA_VXLAN_LOCAL6
	}
	data.AddRtAttr(attr, local.AsSlice())
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// mac takes the first six octets: every device of ours is Ethernet.
func mac(hw net.HardwareAddr) datapath.MAC {
	var m datapath.MAC
	copy(m[:], hw)
	return m
}
