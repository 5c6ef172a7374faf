package pod

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/note"
)

// unknown compares the records with the kernel of this boot. They are at one, unless
// the folder is not the one that was there before: an old copy of it, or none. Then the
// kernel is right: what pods have that no record tells of, or that records tell
// otherwise, is answered as of records that are not understood; and a record gives up
// what another device has.
func (k *Keeper) unknown(seen datapath.State) []aside {
	routed := map[string][]netip.Addr{} // by device
	for _, o := range seen {
		if r, ok := o.(datapath.Route); ok && strings.HasPrefix(r.Dev, datapath.PodPrefix) && r.Dst.IsSingleIP() {
			routed[r.Dev] = append(routed[r.Dev], r.Dst.Addr())
		}
	}
	var out []aside
	for dev, addrs := range routed {
		link, there := seen[datapath.Link{Name: dev}.Key()].(datapath.Link)
		if !there {
			continue
		}
		e := k.entries[k.byDev[dev]]
		a := aside{path: k.shelf.path(dev, suffixUnreadable), hostDev: dev}
		switch {
		case e == nil:
			a.cause = "there is none; was the folder lost, or restored from an old copy?"
		case link.MAC != mac(e.HostMAC), slices.ContainsFunc(addrs, func(addr netip.Addr) bool { return !slices.Contains(e.Addrs, addr) }):
			a.cause = "it is of another pod than the kernel has; was the folder restored from an old copy?"
			a.path = k.shelf.setAside(aside{path: k.shelf.path(dev, e.suffix()), hostDev: dev})
			k.forget(e)
		default:
			continue
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b aside) int { return strings.Compare(a.hostDev, b.hostDev) })
	for _, a := range out {
		k.outdated(a.hostDev, routed[a.hostDev])
	}
	return out
}

// outdated lets go of records with an address that a device has which is not theirs:
// they were given back after the copy was made.
func (k *Keeper) outdated(dev string, addrs []netip.Addr) {
	now := k.Now()
	for _, addr := range addrs {
		e := k.entries[k.used[addr]]
		if e == nil || e.HostDev == dev {
			continue
		}
		k.forget(e)
		k.restsSince(e.Record, now)
		err := k.shelf.rest(e.HostDev, e.suffix(), now)
		k.Log.Warn("record of an old copy given back", note.Pod, e.Who(), note.Dev, dev, note.Addr, addr, note.Err, err)
	}
}
