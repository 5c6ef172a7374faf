package tailscale

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// What tailscaled says of itself (tailscale.com/ipn, State.String).
const (
	running      = "Running"
	needsLogin   = "NeedsLogin"
	needsMachine = "NeedsMachineAuth"
	stopped      = "Stopped"
)

// State is what tailscaled is, as far as the fabric asks.
type State struct {
	Backend  string // running, needsLogin, …
	TUN      bool   // it has a device: the kernel's packets go through it
	Addrs    []netip.Addr
	Name     string         // of the node in its tailnet
	Who      []string       // tags of the node, else its user's login name
	Approved []netip.Prefix // what the tailnet lets through to this node
	Carried  []netip.Prefix // what it lets through to others
	Members  []Member       // these others, by name
	Expiry   time.Time      // of the node's key; zero: never
	Prefs    Prefs
}

// Member is another node of the tailnet.
type Member struct {
	Name   string
	Routes []netip.Prefix // that the tailnet lets through to it
	Addr   string         // where tailscaled sends to it directly; empty: it does not now
	Relay  string         // the relay's region, such as "fra"
}

// status is `tailscale status --json` (tailscale.com/ipn/ipnstate, Status).
type status struct {
	BackendState string
	TUN          bool
	TailscaleIPs []netip.Addr
	Self         *peerStatus
	Peer         map[string]*peerStatus
	User         map[string]struct{ LoginName string }
}

type peerStatus struct {
	HostName   string
	UserID     json.Number
	AllowedIPs []netip.Prefix
	Tags       []string
	KeyExpiry  *time.Time
	CurAddr    string
	Relay      string
}

// Prefs are what tailscaled is set to: `tailscale debug prefs` (tailscale.com/ipn,
// Prefs).
type Prefs struct {
	ControlURL             string
	RouteAll               bool
	CorpDNS                bool
	AutoExitNode           string // such as "any"
	ExitNodeIP             string
	ExitNodeID             string // known once the exit has been met; then ExitNodeIP is gone
	ExitNodeAllowLANAccess bool
	RunSSH                 bool
	ShieldsUp              bool
	AdvertiseTags          []string
	Hostname               string
	AdvertiseRoutes        []netip.Prefix
	NoSNAT                 bool
	NoStatefulFiltering    *bool // nil: never said
	NetfilterMode          int   // 0 off, 1 nodivert, 2 on
	OperatorUser           string
	AppConnector           struct{ Advertise bool }
	PostureChecking        bool
	RunWebClient           bool
	AutoUpdate             struct {
		Check bool
		Apply *bool // nil: as the tailnet says
	}
	RelayServerPort            *uint16
	RelayServerStaticEndpoints []netip.AddrPort
}

// maxPeers bounds a tailnet that is read.
const maxPeers = 100_000

// ParseState reads the two documents.
func ParseState(statusJSON, prefsJSON []byte) (State, error) {
	var st status
	if err := json.Unmarshal(statusJSON, &st); err != nil {
		return State{}, fmt.Errorf("tailscale status --json: not what it should be: %w", err)
	}
	s := State{Backend: st.BackendState, TUN: st.TUN}
	if err := json.Unmarshal(prefsJSON, &s.Prefs); err != nil {
		return State{}, fmt.Errorf("tailscale debug prefs: not what it should be: %w", err)
	}
	switch {
	case s.Backend == "":
		return State{}, errors.New("tailscale status --json: no BackendState")
	case len(st.Peer) > maxPeers:
		return State{}, fmt.Errorf("tailscale status --json: %d nodes; at most %d are read", len(st.Peer), maxPeers)
	case slices.ContainsFunc(s.Prefs.AdvertiseRoutes, func(p netip.Prefix) bool { return !p.IsValid() }):
		return State{}, errors.New("tailscale debug prefs: AdvertiseRoutes holds no prefix")
	}
	for _, a := range st.TailscaleIPs {
		if member(a) {
			s.Addrs = append(s.Addrs, a)
		}
	}
	if st.Self != nil {
		s.takeSelf(st)
	}
	for _, p := range st.Peer {
		if p == nil {
			continue
		}
		if routes := prefixesOf(p.AllowedIPs); len(routes) > 0 {
			s.Carried = append(s.Carried, routes...)
			s.Members = append(s.Members, Member{Name: p.HostName, Routes: routes, Addr: p.CurAddr, Relay: p.Relay})
		}
	}
	s.Carried = sorted(s.Carried)
	slices.SortFunc(s.Members, func(a, b Member) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), slices.CompareFunc(a.Routes, b.Routes, netip.Prefix.Compare))
	})
	return s, nil
}

func (s *State) takeSelf(st status) {
	s.Name, s.Who = st.Self.HostName, st.Self.Tags
	if u := st.User[st.Self.UserID.String()]; len(s.Who) == 0 && u.LoginName != "" {
		s.Who = []string{u.LoginName}
	}
	s.Approved = sorted(prefixesOf(st.Self.AllowedIPs))
	if st.Self.KeyExpiry != nil {
		s.Expiry = *st.Self.KeyExpiry
	}
}

// prefixesOf drops addresses of nodes, and what is no prefix.
func prefixesOf(in []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range in {
		if p.IsValid() && !(p.IsSingleIP() && member(p.Addr())) {
			out = append(out, p)
		}
	}
	return out
}
