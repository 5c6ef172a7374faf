package kernel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

func (k *Kernel) observeNeighs(d *devices, s datapath.State) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		ns, err := dump(func() ([]netlink.Neigh, error) {
			return k.route.NeighListExecute(netlink.Ndmsg{Family: family})
		})
		if err != nil {
			return fmt.Errorf("kernel: list of neighbours: %w", err)
		}
		for _, n := range ns {
			ip, ok := netip.AddrFromSlice(n.IP)
			if !ok || !d.own[n.LinkIndex] || n.State&unix.NUD_PERMANENT == 0 {
				continue
			}
			o := datapath.Neigh{Dev: d.name[n.LinkIndex], IP: ip, MAC: mac(n.HardwareAddr)}
			s[o.Key()] = o
		}
	}
	return nil
}

// observeFDB asks each VXLAN device for itself: others' bridges can hold much.
func (k *Kernel) observeFDB(d *devices, s datapath.State) error {
	end := k.fdbs.look()
	defer func() { end(s) }()
	for _, l := range d.ours {
		if l.Type() != datapath.LinkVXLAN {
			continue
		}
		ns, err := dump(func() ([]netlink.Neigh, error) {
			return k.route.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(l.Attrs().Index)})
		})
		if err != nil && !isGone(err) {
			return fmt.Errorf("kernel: forwarding entries of %s: %w", l.Attrs().Name, err)
		}
		for _, n := range ns {
			dst, ok := netip.AddrFromSlice(n.IP)
			if !ok || n.State&unix.NUD_PERMANENT == 0 {
				continue
			}
			o := datapath.FDB{Dev: l.Attrs().Name, MAC: mac(n.HardwareAddr), Dst: dst}
			s[o.Key()] = o
		}
	}
	return nil
}

func (k *hands) putNeigh(o datapath.Neigh) error {
	index, err := k.index(o.Dev)
	if err != nil {
		return err
	}
	return k.route.NeighSet(&netlink.Neigh{
		LinkIndex: index, State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST,
		IP: o.IP.AsSlice(), HardwareAddr: net.HardwareAddr(o.MAC[:]),
	})
}

func (k *hands) removeNeigh(o datapath.Neigh) error {
	index, err := k.index(o.Dev)
	if err != nil {
		return err
	}
	return k.route.NeighDel(&netlink.Neigh{LinkIndex: index, IP: o.IP.AsSlice()})
}

// putFDB replaces the destination of a MAC in place (NLM_F_REPLACE,
// vxlan_fdb_update).
func (k *hands) putFDB(o datapath.FDB) error {
	n, err := k.fdb(o)
	if err != nil {
		return err
	}
	k.fdbs.told(o, true)
	return k.route.NeighSet(n)
}

func (k *hands) removeFDB(o datapath.FDB) error {
	n, err := k.fdb(o)
	if err != nil {
		return err
	}
	k.fdbs.told(o, false)
	return k.route.NeighDel(n)
}

func (k *hands) fdb(o datapath.FDB) (*netlink.Neigh, error) {
	index, err := k.index(o.Dev)
	return &netlink.Neigh{
		LinkIndex: index, Family: unix.AF_BRIDGE, State: unix.NUD_PERMANENT | unix.NUD_NOARP, Flags: unix.NTF_SELF,
		IP: o.Dst.AsSlice(), HardwareAddr: net.HardwareAddr(o.MAC[:]),
	}, err
}
