package intent

import "fmt"

// WireGuard's cost in bytes per packet, by the underlay's family: outer IP + UDP 8 +
// header of a data message 16 + tag 16 (wireguard.com/protocol, "Subsequent
// Messages"). Packets are padded to 16 bytes, but never past the device's MTU
// (Linux, drivers/net/wireguard/send.c, calculate_skb_padding).
const (
	wireguardOverhead4 = 20 + 8 + 16 + 16
	wireguardOverhead6 = 40 + 8 + 16 + 16
)

// WireGuardOverhead is WireGuard's cost in bytes over an underlay of a family.
func WireGuardOverhead(is4 bool) int {
	if is4 {
		return wireguardOverhead4
	}
	return wireguardOverhead6
}

// Way is whether a pair may use a transport, and why.
type Way struct {
	OK  bool
	Why string
}

// Ways are the transports of one pair, whether they work or not: which of them does
// is for the two agents to prove.
type Ways struct {
	Direct    Way // in the clear, on a shared L2
	VXLAN     Way // in the clear
	WireGuard Way // to any address of the peer, or over a relay
}

// Ways says what a pair may use with the carrier that the cluster sends by; both
// ends and the server say the same.
func (c Cluster) Ways(a, b Peer) Ways {
	c = c.Toward(a.Name, b.Name)
	switch c.Backend {
	case WireGuard:
		off := Way{Why: "backend wireguard"}
		return Ways{Direct: off, VXLAN: off, WireGuard: wireguard(a, b, "backend wireguard")}
	case Auto:
		return c.ladder(a, b)
	}
	p := c.Path(a, b)
	off := Way{Why: "backend " + string(c.Backend)}
	w := Ways{Direct: off, VXLAN: off, WireGuard: off}
	switch p.Transport {
	case Direct:
		w.Direct = Way{OK: true, Why: p.Why}
	case Overlay:
		w.VXLAN = Way{OK: true, Why: p.Why}
	}
	return w
}

// ladder is backend auto.
func (c Cluster) ladder(a, b Peer) Ways {
	clear := c.trusts(a, b)
	w := Ways{Direct: clear, VXLAN: clear}
	if _, _, ok := pair(a, b); !ok && clear.OK {
		w.VXLAN = Way{Why: "no family of underlay addresses that both have"}
		w.Direct = w.VXLAN
	}
	if c.Encryption == EncryptNever {
		w.WireGuard = Way{Why: "encryption: never"}
		return w
	}
	w.WireGuard = wireguard(a, b, "encryption: "+string(c.Encryption))
	return w
}

// trusts tells whether a pair may go in the clear.
func (c Cluster) trusts(a, b Peer) Way {
	x, y := a.Site(), b.Site()
	switch {
	case c.Encryption == EncryptNever:
		return Way{OK: true, Why: "encryption: never"}
	case c.Encryption == EncryptAlways:
		return Way{Why: "encryption: always"}
	case x == "" || y == "":
		name := a.Name
		if x != "" {
			name = b.Name
		}
		return Way{Why: fmt.Sprintf("encryption: untrusted, and %s has no site (label %s)", name, SiteLabel)}
	case x != y:
		return Way{Why: fmt.Sprintf("sites %s and %s differ, encryption: untrusted", x, y)}
	}
	return Way{OK: true, Why: "both are of site " + x}
}

// wireguard tells whether both ends have a device of one slot.
func wireguard(a, b Peer, why string) Way {
	for slot := range uint8(Slots) {
		_, x := a.SlotOf(slot)
		if _, y := b.SlotOf(slot); x && y {
			return Way{OK: true, Why: why}
		}
	}
	return Way{Why: lacking(a, b)}
}

// lacking says why two nodes have no devices of one slot: first what will not pass by
// itself.
func lacking(a, b Peer) string {
	for _, p := range [...]Peer{a, b} {
		switch {
		case p.NoMesh:
			return "the agent of " + p.Name + " is of a release before pairs chose their way"
		case p.NoDevices:
			return p.Name + " can make no WireGuard device"
		}
	}
	name := a.Name
	if len(a.Slots) > 0 {
		name = b.Name
	}
	return name + " has reported no WireGuard key yet"
}
