package host

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// Facts is what was seen of a node's own system. The zero value of each part means
// that nothing is the matter with it.
type Facts struct {
	Filters  []datapath.Filter
	Links    []datapath.HostLink
	Settings []Setting // sorted by path
	Daemons  Daemons
	CNI      CNI
	Clock    Clock
	Disks    []Disk
	Guard    Guard
}

// Setting is a sysctl as it is.
type Setting struct {
	Path  string // below /proc/sys, as net/ipv4/ip_forward
	Value string
}

// Daemons are network daemons that take what they did not make.
type Daemons struct {
	Networkd       bool // systemd-networkd runs
	NetworkdKeeps  bool // its drop-in has ManageForeignRoutes=no
	NetworkManager bool // runs
	NetworkManaged bool // no drop-in names our devices as unmanaged
}

// CNI is the container runtime's folder.
type CNI struct {
	Dir    string   // empty: there is none
	Before []string // names that sort before ours and that a runtime would read
}

// Clock of the machine.
type Clock struct {
	Unsynchronized bool          // the kernel says so (adjtimex(2))
	Apart          time.Duration // server's time less ours; 0 while not known
	Node, Server   string        // whose clocks these are; empty: not known
}

// Disk is a file system that weft writes to.
type Disk struct {
	Path       string
	Free       uint64 // bytes that may be used
	FreeInodes uint64
	NoInodes   bool // it counts none
	ReadOnly   bool
}

// Guard counts what was dropped because this host is no router for others.
type Guard struct {
	Drops uint64    // packets since the rule was made
	Last  time.Time // when the count last grew, as seen; zero: never
	Now   time.Time
}

// Node is what the fabric needs of its host.
type Node struct {
	Cluster  intent.Cluster
	Lease    []netip.Prefix
	Underlay []intent.Underlay
	Peers    []netip.Addr // underlay addresses of peers
	Mesh     Mesh

	MarkMask          uint32 // bits of a packet's mark that are weft's
	ManageRPFilter    bool   // --manage-rp-filter
	IntegrateFirewall bool   // --integrate-firewall
}

// Mesh is what pairs that choose their way need; zero where none does.
type Mesh struct {
	Slots []intent.Slot    // the node's WireGuard devices
	Clear bool             // a peer may be sent to in the clear
	Echo  []netip.AddrPort // where servers tell how the node looks from outside
	// Relay says that the node carries packets of others, Relays that others do.
	Relay, Relays bool
}

// Severity orders findings.
type Severity int

// Severities: a Note is only told to who checks the node's configuration.
const (
	Note Severity = iota
	Warning
	Fault
)

// String is one word.
func (s Severity) String() string { return [...]string{"note", "warning", "fault"}[s] }

// Finding is one thing that is the matter.
type Finding struct {
	Severity Severity
	Subject  string // what it is about: a firewall, a setting, a file
	Cause    string
	Remedy   string // a command to type
}

// Problem is the finding as status tells it.
func (f Finding) Problem() intent.Problem {
	return intent.Problem{Subject: f.Subject, Cause: f.Cause, Remedy: f.Remedy}
}

// Findings are what is the matter, worst first, then by kind.
func Findings(n Node, f Facts) []Finding {
	var out []Finding
	for _, find := range []func(Node, Facts) []Finding{firewalls, settings, daemons, runtime, clock, disks, guard, devices, marks} {
		out = append(out, find(n, f)...)
	}
	sortBySeverity(out)
	return out
}

// Problems are the findings that status tells.
func Problems(fs []Finding) []intent.Problem {
	var out []intent.Problem
	for _, f := range fs {
		if f.Severity > Note {
			out = append(out, f.Problem())
		}
	}
	return out
}
