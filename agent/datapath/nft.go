package datapath

import "fmt"

// Set is a set or map of table inet weft.
type Set struct {
	Name     string
	Type     string // key type as nft writes it: "ipv4_addr", "inet_proto . inet_service", "ifname . ipv4_addr"
	Data     string // for a map: "ipv4_addr . inet_service", "verdict"; empty for a set
	Interval bool   // holds prefixes; updates cost O(n), so hosts go into hash sets
}

// Key implements Object.
func (s Set) Key() Key { return Key{KindSet, s.Name} }

// Element is one element of a set or map, as nft writes it but without quotes:
// Elem "tcp . 8080", Data "10.42.1.5 . 80"; Elem "wf0123456789a . 10.42.1.5";
// Elem "10.42.0.0/16" in an interval set; Data "jump name" in a map of verdicts.
type Element struct {
	Set  string
	Elem string
	Data string
}

// Key implements Object.
func (e Element) Key() Key { return Key{KindElement, e.Set + " { " + e.Elem + " }"} }

// Chain is a chain of table inet weft. Hook is empty for a chain that is only
// jumped to. The base chains are BaseChains; rooms add no others.
type Chain struct {
	Name     string
	Type     string // "filter", "nat"
	Hook     string // "prerouting", "forward", …
	Priority int
}

// Key implements Object.
func (c Chain) Key() Key { return Key{KindChain, c.Name} }

// The base chains of table inet weft, one each; all have policy accept.
const (
	ChainSpoof       = "antispoof"   // prerouting -300: anti-spoofing
	ChainHostPort    = "hostport"    // prerouting -110: hostPort DNAT
	ChainHostPortOut = "hostportout" // output -110: hostPort DNAT of the node's own traffic
	ChainClamp       = "clamp"       // forward -150: MSS clamp
	ChainForward     = "fwdpolicy"   // forward -10: policy
	ChainInput       = "inpolicy"    // input -10: policy
	ChainOutput      = "outpolicy"   // output -10: policy
	ChainMasquerade  = "masquerade_" // postrouting 90: masquerade and hairpin
)

// BaseChains returns the base chains. The set is the same on every node.
func BaseChains() []Object {
	return []Object{
		Chain{ChainSpoof, "filter", "prerouting", -300},
		Chain{ChainHostPort, "nat", "prerouting", -110},
		Chain{ChainHostPortOut, "nat", "output", -110},
		Chain{ChainClamp, "filter", "forward", -150},
		Chain{ChainForward, "filter", "forward", -10},
		Chain{ChainInput, "filter", "input", -10},
		Chain{ChainOutput, "filter", "output", -10},
		Chain{ChainMasquerade, "nat", "postrouting", 90},
	}
}

// Rule is one rule: all matches must hold, then the actions run in order. Unused
// places are zero. Rules of a chain stand in the order of Index; a room uses a
// range of its own in a chain that it shares.
type Rule struct {
	Chain   string
	Index   int
	Match   [6]Match
	Do      [3]Action
	Comment string
}

// Key implements Object.
func (r Rule) Key() Key { return Key{KindRule, fmt.Sprintf("%s %d", r.Chain, r.Index)} }

// ForeignRule is a rule in a chain of ours that we did not write, or that was
// edited since: an edit takes the rule's userdata away, where its identity is.
// It is seen, never wanted.
type ForeignRule struct {
	Chain  string
	Handle uint64
}

// Key implements Object.
func (r ForeignRule) Key() Key {
	return Key{KindRule, fmt.Sprintf("%s handle %d", r.Chain, r.Handle)}
}

// Dormant is what table inet weft is when somebody put it to sleep (nft: flags
// dormant): its chains see no packet. It is seen, never wanted; removing it wakes
// the table.
type Dormant struct{}

// Key implements Object.
func (Dormant) Key() Key { return Key{KindChain, "flags dormant"} }

// Match compares one field of the packet, in nft's words.
type Match struct {
	Field Field
	Not   bool
	Value string // "10.42.0.0/16", "@peers4", "wf*", "established,related", "tcp", "8472"
}

// Field is what a Match looks at, as nft writes it.
type Field string

// The fields that package kernel can program.
const (
	IIfName    Field = "iifname"               // a name, or a prefix ending in *
	OIfName    Field = "oifname"               // likewise
	SAddr4     Field = "ip saddr"              // address, prefix or @set; implies IPv4
	DAddr4     Field = "ip daddr"              //
	SAddr6     Field = "ip6 saddr"             // address, prefix or @set; implies IPv6
	DAddr6     Field = "ip6 daddr"             //
	CTState    Field = "ct state"              // comma-separated: established,related,new,invalid
	CTStatus   Field = "ct status"             // dnat, snat
	L4Proto    Field = "meta l4proto"          // tcp, udp, sctp, icmp, ipv6-icmp
	NFProto    Field = "meta nfproto"          // ipv4, ipv6
	TCPFlags   Field = "tcp flags & (syn|rst)" // syn
	DPort      Field = "th dport"              // port
	UDPDPort   Field = "udp dport"             // port; implies UDP
	VNI        Field = "@th,96,24"             // VXLAN network identifier behind a UDP header (RFC 7348, section 5)
	FibDAddr   Field = "fib daddr type"        // local
	FibSAddrIf Field = "fib saddr . iif oif"   // missing, with Value "missing"
	Mark       Field = "meta mark"             // "0x100/0xf00": value and mask
	CTMark     Field = "ct mark"               // likewise
	CTOrigDst4 Field = "ct original ip daddr"  // address
	CTOrigDst6 Field = "ct original ip6 daddr" // address
	Pair4      Field = "ip saddr . ip daddr"   // @set of type ipv4_addr . ipv4_addr; implies IPv4
	Pair6      Field = "ip6 saddr . ip6 daddr" // @set of type ipv6_addr . ipv6_addr; implies IPv6
)

// Action is what a rule does, in nft's words.
type Action struct {
	Verb Verb
	Arg  string
}

// Verb is the kind of an Action.
type Verb string

// The verbs that package kernel can program.
const (
	Accept     Verb = "accept"
	Drop       Verb = "drop"
	Return     Verb = "return"
	Jump       Verb = "jump"                    // Arg: chain
	Goto       Verb = "goto"                    // Arg: chain
	Counter    Verb = "counter"                 //
	Masquerade Verb = "masquerade fully-random" //
	ClampMSS   Verb = "tcp option maxseg size set rt mtu"
	SetMark    Verb = "meta mark set"                                       // Arg: "0x100/0xf00": value under mask
	SetCTMark  Verb = "ct mark set"                                         // likewise
	DNAT4      Verb = "dnat ip to meta l4proto . th dport map"              // Arg: @map of type inet_proto . inet_service : ipv4_addr . inet_service
	DNAT6      Verb = "dnat ip6 to meta l4proto . th dport map"             // Arg: @map
	DNAT4Addr  Verb = "dnat ip to ip daddr . meta l4proto . th dport map"   // Arg: @map of type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
	DNAT6Addr  Verb = "dnat ip6 to ip6 daddr . meta l4proto . th dport map" // Arg: @map
)
