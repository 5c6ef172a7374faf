package datapath

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
)

// Kind is a kind of kernel object. Their order is the order of creation.
type Kind uint8

// The kinds. A foreign event makes one kind dirty, never all.
const (
	KindSysctl Kind = iota
	KindLink
	KindAddr
	KindNeigh
	KindFDB
	KindWGPeer
	KindRoute
	KindSet
	KindChain
	KindElement
	KindRule
	kindEnd
)

// Key names one kernel object. Two producers with one key and different values
// are an error that names both.
type Key struct {
	Kind Kind
	ID   string
}

// Object is one kernel object as it should be, or as it is. Implementations are
// comparable structs.
type Object interface {
	Key() Key
	String() string
}

// MAC is an Ethernet address. The zero value means none, or any.
type MAC = intent.MAC

// WGKey is a WireGuard public key. The zero value means none.
type WGKey = intent.Key

// Names of our own devices and numbers in the kernel.
const (
	OwnPrefix   = "weft"     // of all that follow
	FabricLink  = "weft0"    // a bridge without ports, holds the fabric addresses
	VXLANLink4  = "weft-vx"  // VXLAN over an IPv4 underlay
	VXLANLink6  = "weft-vx6" // VXLAN over an IPv6 underlay
	SpareLink4  = "weft-vy"  // the same two beside them, of another VNI or port
	SpareLink6  = "weft-vy6"
	WGLink0     = "weft-wg0" // WireGuard, slot 0
	WGLink1     = "weft-wg1" // WireGuard, slot 1
	PodPrefix   = "wf"       // pod veths: wf + 11 hex
	RouteProto  = 87         // rtnetlink protocol of every route of ours
	Table       = "weft"     // nftables table, family inet
	LinkVXLAN   = "vxlan"
	LinkBridge  = "bridge"
	LinkVeth    = "veth"
	LinkWG      = "wireguard"
	RouteNormal = ""
	Blackhole   = "blackhole"
)

// Link is a network device. A veth is made by package pod, because its other
// end lives in the pod; here it is only configured, never created, and removed
// by name.
type Link struct {
	Name  string
	Type  string // LinkVXLAN, LinkBridge, LinkVeth, LinkWG
	MTU   int    // bytes; 0: any
	MAC   MAC    // zero: any
	VXLAN VXLAN  // for LinkVXLAN
	WG    WG     // for LinkWG
	Down  bool   // seen only: somebody set it down; what is wanted is always up
}

// VXLAN is what cannot be changed on a VXLAN device without making it anew,
// but for CheckOff. Learning is always off, the device has no lower device and
// addrgenmode none.
type VXLAN struct {
	VNI      uint32
	Port     uint16
	Local    netip.Addr // underlay address
	CheckOff bool       // transmit checksum offload switched off
}

// WG is what a WireGuard device has of its own. All of it is changed in place. The
// private key is not here: package kernel asks its keyring for the one that belongs to
// Key.
type WG struct {
	Key  intent.Key // public
	Port uint16     // UDP
	Mark uint32     // fwmark of what it sends; 0: none
}

// Key implements Object.
func (l Link) Key() Key { return Key{KindLink, l.Name} }

// Addr is an address on a device. IPv6 addresses are set nodad. With a peer, which
// IPv4 only has, it is that of one end of a line, without a route to the other.
type Addr struct {
	Dev    string
	Prefix netip.Prefix
	Peer   netip.Prefix // zero: none
}

// Key implements Object. The kernel tells an address with a peer from the same
// without.
func (a Addr) Key() Key {
	id := a.Dev + " " + a.Prefix.String()
	if a.Peer.IsValid() {
		id += " peer " + a.Peer.String()
	}
	return Key{KindAddr, id}
}

// Route is a route of protocol 87 in table main.
type Route struct {
	Dst    netip.Prefix
	Type   string     // RouteNormal or Blackhole
	Via    netip.Addr // zero: on-link, scope link for IPv4
	Dev    string
	OnLink bool
	Src    netip.Addr // preferred source; zero: none
	MTU    int        // bytes; 0: the device's
	Metric uint32     // 0: the kernel's own default, for IPv6 1024
}

// Key implements Object. Two routes of ours to one destination differ by metric.
func (r Route) Key() Key { return Key{KindRoute, fmt.Sprintf("%v metric %d", r.Dst, r.Metric)} }

// Neigh is a permanent neighbour entry.
type Neigh struct {
	Dev string
	IP  netip.Addr
	MAC MAC
}

// Key implements Object.
func (n Neigh) Key() Key { return Key{KindNeigh, n.Dev + " " + n.IP.String()} }

// FDB is a permanent forwarding entry of a VXLAN device.
type FDB struct {
	Dev string
	MAC MAC
	Dst netip.Addr // VTEP on the underlay
}

// Key implements Object. One MAC has one VTEP.
func (f FDB) Key() Key { return Key{KindFDB, fmt.Sprintf("%s %v", f.Dev, f.MAC)} }

// WGPeer is a peer of a WireGuard device. Peers are added, changed and removed one by
// one: a device is never filled anew.
type WGPeer struct {
	Dev       string
	Peer      intent.Key     // public
	Endpoint  netip.AddrPort // zero: whatever the kernel has, which follows the peer
	Allowed   string         // prefixes that it sends from and is sent to: as AllowedText makes it
	Keepalive int            // seconds; 0: none
	PSK       [32]byte       // SHA-256 of the pre-shared key, which package kernel asks its keyring for; zero: none
}

// Key implements Object.
func (p WGPeer) Key() Key { return Key{KindWGPeer, p.Dev + " " + p.Peer.String()} }

// AllowedText is a list of prefixes as WGPeer holds it: sorted, with commas.
func AllowedText(prefixes []netip.Prefix) string {
	list := slices.Clone(prefixes)
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
	})
	var b strings.Builder
	for i, p := range slices.Compact(list) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(p.String())
	}
	return b.String()
}

// WGLink is the name of the WireGuard device of a slot.
func WGLink(slot uint8) string {
	if slot == 0 {
		return WGLink0
	}
	return WGLink1
}

// Sysctl is a kernel setting, by its path below /proc/sys with slashes
// (a device's name may hold dots).
type Sysctl struct {
	Path  string // net/ipv4/conf/weft0/rp_filter
	Value string
}

// Dev is the device that the setting is about, or nothing for a global one.
func (s Sysctl) Dev() string {
	words := strings.Split(s.Path, "/") // net/ipv4/conf/weft0/rp_filter
	if len(words) != 5 || words[3] == "all" || words[3] == "default" {
		return ""
	}
	return words[3]
}

// IsOurs tells whether a device of this name and type is ours: made by weft, or
// in the way of it.
func IsOurs(name, typ string) bool {
	switch name {
	case FabricLink:
		return typ == LinkBridge
	case VXLANLink4, VXLANLink6, SpareLink4, SpareLink6:
		return typ == LinkVXLAN
	case WGLink0, WGLink1:
		return typ == LinkWG
	}
	return typ == LinkVeth && IsPodLink(name)
}

// IsPodLink tells whether a name is that of a pod's host end: wf + 11 hex.
func IsPodLink(name string) bool {
	hex, ok := strings.CutPrefix(name, PodPrefix)
	return ok && len(hex) == 11 && strings.Trim(hex, "0123456789abcdef") == ""
}

// Key implements Object.
func (s Sysctl) Key() Key { return Key{KindSysctl, s.Path} }
