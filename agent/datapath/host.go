package datapath

import "net/netip"

// Host is what package kernel saw of the node's own network: the facts from
// which package underlay chooses node addresses. Slices are sorted by index,
// then by address.
type Host struct {
	Links    []HostLink
	Addrs    []HostAddr
	Defaults []HostDefault // default routes of table main, best metric first
}

// HostLink is any device of the node.
type HostLink struct {
	Index int
	Name  string
	Type  string
	MTU   int // bytes
	MAC   MAC
	Up    bool
}

// HostAddr is any address of the node.
type HostAddr struct {
	Link       string
	Prefix     netip.Prefix // address with its link's length
	Temporary  bool         // IFA_F_TEMPORARY
	Deprecated bool
	Tentative  bool
	Secondary  bool // IPv4 IFA_F_SECONDARY
}

// HostChain is a base chain of somebody else's nftables (those of iptables-nft
// are among them), at a hook that forwarded packets pass.
type HostChain struct {
	Family string // ip, ip6, inet
	Table  string
	Name   string
	Type   string // filter, nat, route
	Hook   string // forward, postrouting
}

// HostDefault is a default route.
type HostDefault struct {
	Link   string
	Via    netip.Addr
	Metric uint32
	Is4    bool
}
