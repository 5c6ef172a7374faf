package pod

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
)

// Node is what a node must be told before it can attach pods.
type Node struct {
	Name  string
	Lease []netip.Prefix // masked
	Shut  []netip.Prefix // of Lease: no pod gets an address of these any more
	MTU   int            // of pods' devices, bytes
	// VXLANPort is the UDP port that the fabric itself needs on the node; 0: none.
	VXLANPort uint16
	// Epoch and Revision are those of the intent.
	Epoch    string
	Revision int64
}

// NodeOf takes from a node's intent what this room needs.
func NodeOf(n intent.Node) (Node, bool) {
	self, ok := n.Self()
	out := Node{Name: n.Name, Lease: self.Lease, Shut: n.Cluster.Shut(self), Revision: n.Revision, Epoch: n.Epoch, MTU: n.Cluster.PodMTU(self)}
	if by := n.Cluster.VXLANs(); len(by) > 0 {
		out.VXLANPort = by[0].Port
	}
	return out, ok && len(self.Lease) > 0
}

// open are the prefixes of which pods get addresses.
func (n Node) open() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(n.Lease), func(p netip.Prefix) bool { return slices.Contains(n.Shut, p) })
}

// gateway is what a pod routes over: the all-zeros address of the prefix that its
// own address is of, which is the node's. The fabric address is that of the first
// prefix, and would go with it.
func (n Node) gateway(a netip.Addr) netip.Addr {
	for _, p := range n.Lease {
		if p.Contains(a) {
			return p.Addr()
		}
	}
	out, _ := n.fabric(a.Is4())
	return out
}

// fabric is the node's fabric address of a family.
func (n Node) fabric(is4 bool) (netip.Addr, bool) { return intent.Peer{Lease: n.Lease}.FabricOf(is4) }

// Config is what a Keeper needs.
type Config struct {
	Dir        string // of records
	Boot       string // boot id of the kernel; empty if it cannot be known
	Node       func() (Node, bool)
	Kernel     Kernel
	Loop       Loop
	Namespaces Namespaces
	Log        *slog.Logger

	// Reserved names who of weft listens on a port of this node, or nobody; may be nil.
	Reserved func(proto string, port uint16) string
	// Elsewhere is the file by which another plugin gives the lease's addresses to
	// pods; empty if it is this room that does.
	Elsewhere string

	// Degraded says why pods may have limited connectivity, or nothing; may be nil.
	Degraded func() string
	OnChange func()           // called when Endpoints changed; may be nil
	Now      func() time.Time // time.Now if nil
	NewMAC   func() intent.MAC
	SyncWait time.Duration // 5 s if zero: how long the loop may take for one endpoint
	Grace    time.Duration // 30 s if zero: how long a namespace must be gone before its record is
}

// phase is where an attachment stands.
type phase uint8

const (
	adding  phase = iota // on disk; the kernel may hold any part of it
	ready                // ADD succeeded
	leaving              // DEL has begun
)

// entry is an attachment in memory.
type entry struct {
	Record
	phase    phase
	attached bool      // the veth is there: the host's end can be programmed
	gone     time.Time // since when its namespace is seen dead; zero if it lives
}

// suffix is that of the entry's file.
func (e *entry) suffix() string {
	if e.phase == adding {
		return suffixAdding
	}
	return suffixReady
}

// Keeper keeps all attachments of one node. It is safe for concurrent use.
type Keeper struct {
	Config
	shelf *shelf
	turns turns
	kicks chan struct{}

	mu       sync.Mutex
	entries  map[ID]*entry
	byDev    map[string]ID
	used     map[netip.Addr]ID        // of entries
	freed    map[netip.Addr]time.Time // rests since
	resting  map[string]time.Time     // devices with a .resting file, and since when
	last     map[bool]netip.Addr      // given last, by family: true is IPv4
	asides   map[string]aside         // by device
	planned  map[string]bool          // devices among the last Objects
	writeErr error                    // of the last record that was to be written
}

// Open reads the records. Those of an earlier boot are given back at once: the
// kernel that held them is gone.
func Open(c Config) (*Keeper, error) {
	c = c.withDefaults()
	s, err := openShelf(c.Dir)
	if err != nil {
		return nil, err
	}
	k := &Keeper{
		Config: c, shelf: s, kicks: make(chan struct{}, 1),
		entries: map[ID]*entry{}, byDev: map[string]ID{}, used: map[netip.Addr]ID{},
		freed: map[netip.Addr]time.Time{}, resting: map[string]time.Time{},
		last: map[bool]netip.Addr{}, asides: map[string]aside{},
	}
	records, asides, err := s.load()
	if err != nil {
		return nil, err
	}
	for _, f := range records {
		k.adopt(f)
	}
	seen, err := k.Kernel.Observe(context.Background(), datapath.Of(datapath.KindLink, datapath.KindRoute))
	if err != nil {
		return nil, fmt.Errorf("pod: which addresses pods have by the kernel: %w", err)
	}
	for _, a := range asides {
		k.quarantine(a, seen)
	}
	for _, a := range k.unknown(seen) {
		k.quarantine(a, seen)
	}
	return k, nil
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewMAC == nil {
		c.NewMAC = randomMAC
	}
	if c.SyncWait == 0 {
		c.SyncWait = 5 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	return c
}

// adopt takes over one record that was found on disk.
func (k *Keeper) adopt(f found) {
	now := k.Now()
	r := f.record
	if f.suffix == suffixResting {
		k.restsSince(r, minTime(f.time, now))
		return
	}
	if k.Boot != "" && r.Boot != "" && r.Boot != k.Boot {
		k.restsSince(r, now)
		if err := k.shelf.rest(r.HostDev, f.suffix, now); err != nil {
			k.Log.Warn("record of an earlier boot not given back", note.Pod, r.Who(), note.Err, err)
		}
		return
	}
	e := &entry{Record: r, phase: adding}
	if f.suffix == suffixReady {
		e.phase, e.attached = ready, true
	}
	k.hold(e)
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// hold enters an attachment. The caller holds mu, or is Open.
func (k *Keeper) hold(e *entry) {
	k.entries[e.ID()] = e
	k.byDev[e.HostDev] = e.ID()
	for _, a := range e.Addrs {
		k.used[a] = e.ID()
		delete(k.freed, a)
	}
}

// forget takes an attachment out. The caller holds mu.
func (k *Keeper) forget(e *entry) {
	delete(k.entries, e.ID())
	delete(k.byDev, e.HostDev)
	for _, a := range e.Addrs {
		if k.used[a] == e.ID() {
			delete(k.used, a)
		}
	}
}

// restsSince notes that a record's addresses rest. The caller holds mu, or is Open.
func (k *Keeper) restsSince(r Record, since time.Time) {
	k.resting[r.HostDev] = since
	for _, a := range r.Addrs {
		if _, held := k.used[a]; !held {
			k.freed[a] = since
		}
	}
}

// entry returns an attachment's state, nil if there is none.
func (k *Keeper) entry(id ID) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.entries[id]
}

// all returns a copy of every attachment, in order.
func (k *Keeper) all() []entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]entry, 0, len(k.entries))
	for _, e := range k.entries {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b entry) int { return order(a.Record, b.Record) })
	return out
}
