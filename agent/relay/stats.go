package relay

import "sync/atomic"

// counters count since the start.
type counters struct {
	framesOut, framesIn atomic.Uint64
	bytesOut, bytesIn   atomic.Uint64
	nowhere             atomic.Uint64
	dropped             atomic.Uint64
	queued              atomic.Uint64
	strays              atomic.Uint64
	floods              atomic.Uint64
	carried             atomic.Uint64
	mutes               atomic.Uint64
}

// Stats are counts since the start, and what there is now.
type Stats struct {
	Servers   int    // whose relay answers
	Ports     int    // peers and slots with a port on this machine
	FramesOut uint64 // of packets, each of one pair
	FramesIn  uint64
	BytesOut  uint64 // of packets
	BytesIn   uint64
	Nowhere   uint64 // packets for which there was no relay
	Dropped   uint64 // packets that the device's socket, or the way to a node, did not take
	Queued    uint64 // frames that waited for a server for too long
	Strays    uint64 // frames that break a rule, or are of no node of the fabric
	Floods    uint64 // frames that this node did not carry for a pair that sends too much
	Carried   uint64 // bytes that this node carried for others
	Mutes     uint64 // times that a server's relay did not answer while it was used
}

// Stats returns them.
func (r *Relay) Stats() Stats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := &r.stats
	s := Stats{
		Servers: len(r.order), Ports: len(r.ports), FramesOut: c.framesOut.Load(), FramesIn: c.framesIn.Load(),
		BytesOut: c.bytesOut.Load(), BytesIn: c.bytesIn.Load(), Nowhere: c.nowhere.Load(), Dropped: c.dropped.Load(), Queued: c.queued.Load(),
		Strays: c.strays.Load(), Floods: c.floods.Load(), Carried: c.carried.Load(), Mutes: c.mutes.Load(),
	}
	for _, l := range r.links {
		s.Queued += l.conn.Stats().DatagramsDropped
	}
	return s
}
