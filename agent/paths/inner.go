package paths

import (
	"errors"
	"net/netip"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/mesh"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/proto/intent"
)

// errNoFabric says that two nodes have no fabric addresses of one family.
var errNoFabric = errors.New("no family of fabric addresses that both have")

// errNoDevice says that a probe was to go through nothing.
var errNoDevice = errors.New("no device of the rung")

// errApart says that package overlay has no direct route to a peer. A probe would go by
// what other route the device has, and might even be answered: where a default route is
// on the link itself, peers answer ARP for their fabric addresses.
var errApart = errors.New("no shared L2: no subnet that both nodes have an address of")

// innerSent is an inner probe that waits for its answer.
type innerSent struct {
	probe mesh.ProbeInner
	to    netip.Addr
	at    time.Time
}

// probeInner sends a probe through the data path.
func (d *driver) probeInner(p mesh.ProbeInner, now time.Time) {
	r, err := d.request(p)
	if err == nil {
		err = d.wire.Inner(r)
	}
	if err != nil {
		d.unsent(p.ID, p.Peer, err, now)
		return
	}
	if len(d.inner) < maxOut {
		d.inner[p.ID] = innerSent{p, r.To, now}
	}
}

// request says from where to where a probe goes, and through which device.
func (d *driver) request(p mesh.ProbeInner) (probe.Request, error) {
	self, _ := d.in.Intent.Peer(d.cfg.Self)
	peer, _ := d.in.Intent.Peer(p.Peer)
	dev := deviceOf(d.in.Intent.Cluster, self, peer, p.Over)
	switch path := d.in.Intent.Cluster.Path(self, peer); {
	case dev == "":
		return probe.Request{}, errNoDevice
	case p.Over.Rung == mesh.Direct && !intent.SameLink(path.Local, path.Remote):
		return probe.Request{}, errApart
	}
	for _, to := range peer.Fabric() {
		if from, ok := self.FabricOf(to.Is4()); ok {
			return probe.Request{ID: p.ID, Dev: dev, From: from, To: to, Size: p.Size}, nil
		}
	}
	return probe.Request{}, errNoFabric
}

// deviceOf is the device that a rung's packets leave by, as package overlay makes them.
func deviceOf(c intent.Cluster, self, peer intent.Peer, o mesh.Over) string {
	local := c.Path(self, peer).Local
	is4 := local.Addr.Addr().Is4()
	switch {
	case o.Rung == mesh.WireGuard:
		return datapath.WGLink(o.Slot)
	case !local.Addr.IsValid():
		return ""
	case o.Rung == mesh.Direct:
		return local.Device
	case o.Rung != mesh.VXLAN:
		return ""
	case is4 && o.Spare:
		return datapath.SpareLink4
	case is4:
		return datapath.VXLANLink4
	case o.Spare:
		return datapath.SpareLink6
	}
	return datapath.VXLANLink6
}

// answered takes an answer of a peer's kernel.
func (d *driver) answered(r probe.Reply, now time.Time) {
	s, ok := d.inner[r.ID]
	if !ok || r.From != s.to {
		d.counts.add(unasked)
		return
	}
	delete(d.inner, r.ID)
	d.machine.Event(mesh.Inner{ID: r.ID, Peer: s.probe.Peer, Over: s.probe.Over, Size: max(r.Size, s.probe.Size), RTT: r.At.Sub(s.at)}, now)
}
