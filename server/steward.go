package server

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/steward"
)

// steward looks after leases that stand.
func (r *rooms) steward() *steward.Steward {
	return steward.New(steward.Config{
		Epoch: r.fabric.epoch, Leases: r.leases, Mirror: r.mirror, Store: r.store, Log: r.Log,
		Note: func(node, reason, message string, bad bool) {
			e := journal.Event{Object: "Lease/" + node, Reason: reason, Message: message}
			if bad {
				e.Kind = journal.Warning
			}
			r.journal.Note(e)
		},
	})
}

// hosts are the addresses of servers, which no range of the cluster may hold.
func (r *rooms) hosts() map[string][]netip.Addr {
	return hostsOf(r.room.Servers(), r.site.own.Name, r.NodeIPs)
}

// hostsOf are the addresses of servers, each once: where they are reached, and all
// of this one's.
func hostsOf(all []members.Status, own string, addrs []netip.Addr) map[string][]netip.Addr {
	out := map[string][]netip.Addr{}
	for _, m := range all {
		if at, err := netip.ParseAddrPort(m.Address); err == nil {
			out[m.Name] = append(out[m.Name], at.Addr())
		}
	}
	for _, a := range addrs {
		if !slices.Contains(out[own], a) {
			out[own] = append(out[own], a)
		}
	}
	return out
}
