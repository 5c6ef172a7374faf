package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// Ways by which a node sends to a peer, as its kernel has it: what weft says of
// itself is not asked.
const (
	wayDirect = "direct"  // over the link that both are on
	wayVXLAN  = "vxlan"   //
	wayUDP    = "udp"     // WireGuard, straight to an address of the peer's or of its router's
	wayRelay  = "relay"   // WireGuard, by the agent's own socket
	wayNone   = "nothing" // packets are refused
)

// rung A B WAY waits until both send to each other by a way; `rung A B WAY WAY` by
// one of two. In a file, `rungs FILE` is the whole matrix, a node a line.
func (s *scenario) rung(ctx context.Context, args []string) (string, error) {
	if len(args) < 3 {
		return "", errors.New("rung: A B WAY")
	}
	var all strings.Builder
	for _, pair := range [][2]string{{args[0], args[1]}, {args[1], args[0]}} {
		var way string
		err := lab.Until(ctx, strings.Join(args, " "), func() (string, error) {
			fabric, err := s.fabricAddrs(ctx, s.Nodes)
			if err != nil {
				return "", err
			}
			from, err := s.host(pair[0])
			if err != nil {
				return "", err
			}
			ways, err := s.ways(ctx, from, fabric)
			if err != nil {
				return "", err
			}
			if way = ways[pair[1]]; !slices.Contains(args[2:], way) {
				return fmt.Sprintf("%s sends to %s by %s", pair[0], pair[1], way), lab.ErrNotYet
			}
			return "", nil
		})
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "%s sends to %s by %s\n", pair[0], pair[1], way)
	}
	return all.String(), nil
}

// rungs FILE: a line a node, and a way a peer, in the order of nodes.
func (s *scenario) rungs(ctx context.Context, args []string) (string, error) {
	b, err := os.ReadFile(args[0])
	if err != nil {
		return "", err
	}
	want := strings.TrimSpace(string(b))
	var have string
	err = lab.Until(ctx, "every pair as it should be:\n"+want+"\n", func() (string, error) {
		fabric, err := s.fabricAddrs(ctx, s.Nodes)
		if err != nil {
			return "", err
		}
		var lines []string
		for _, from := range s.Nodes {
			ways, err := s.ways(ctx, from, fabric)
			if err != nil {
				return "", err
			}
			line := []string{from.Name}
			for _, to := range s.Nodes {
				if to == from {
					line = append(line, "-")
				} else {
					line = append(line, ways[to.Name])
				}
			}
			lines = append(lines, strings.Join(line, " "))
		}
		if have = strings.Join(lines, "\n"); !sameWords(have, want) {
			return have, lab.ErrNotYet
		}
		return "", nil
	})
	return have + "\n", err
}

// sameWords tells whether two tables differ in nothing but blanks.
func sameWords(a, b string) bool {
	return slices.EqualFunc(strings.Split(a, "\n"), strings.Split(b, "\n"), func(x, y string) bool {
		return slices.Equal(strings.Fields(x), strings.Fields(y))
	})
}

// meet waits until every node reaches the fabric addresses of every other, and says
// how many packets went unanswered until then; `meet at once` wants none of them.
func (s *scenario) meet(ctx context.Context, args []string) (string, error) {
	fabric, err := s.fabricAddrs(ctx, s.Nodes)
	if err != nil {
		return "", err
	}
	began := time.Now()
	var all sync.WaitGroup
	var lost atomic.Int64
	errs := make([]error, len(s.Nodes))
	for i, from := range s.Nodes {
		all.Go(func() {
			for _, to := range s.Nodes {
				if to != from && errs[i] == nil {
					errs[i] = s.reached(ctx, from, fabric[to.Name], &lost)
				}
			}
		})
	}
	all.Wait()
	if lost.Load() > 0 && len(args) > 0 {
		errs = append(errs, fmt.Errorf("%d packets were not answered", lost.Load()))
	}
	return fmt.Sprintf("%d nodes reach each other after %v; %d packets were not answered\n", len(s.Nodes), time.Since(began).Round(time.Millisecond), lost.Load()), errors.Join(errs...)
}

// reached sends to each address until it answers.
func (s *scenario) reached(ctx context.Context, from *lab.Host, to []netip.Addr, lost *atomic.Int64) error {
	for _, a := range to {
		err := lab.Until(ctx, fmt.Sprintf("%s reaches %v", from.Name, a), func() (string, error) {
			out, err := from.Run(ctx, "ping", "-c", "1", "-W", "1", a.String())
			if err != nil {
				lost.Add(1)
			}
			return out, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fabricAddrs are the addresses on weft0 of each node.
func (s *scenario) fabricAddrs(ctx context.Context, nodes []*lab.Host) (map[string][]netip.Addr, error) {
	out := map[string][]netip.Addr{}
	for _, h := range nodes {
		var links []struct {
			Addrs []struct{ Local netip.Addr } `json:"addr_info"`
		}
		if err := runJSON(ctx, h, &links, "ip", "-j", "addr", "show", "dev", "weft0", "scope", "global"); err != nil {
			return nil, err
		}
		for _, l := range links {
			for _, a := range l.Addrs {
				out[h.Name] = append(out[h.Name], a.Local)
			}
		}
	}
	return out, nil
}

// ways tells how a node sends to each fabric address. Both families of a peer go the
// same way, or it is told.
func (s *scenario) ways(ctx context.Context, h *lab.Host, fabric map[string][]netip.Addr) (map[string]string, error) {
	var routes []route
	for _, family := range []string{"-4", "-6"} {
		var list []route
		if err := runJSON(ctx, h, &list, "ip", "-j", family, "route", "show"); err != nil {
			return nil, err
		}
		routes = append(routes, list...)
	}
	peers, err := wgPeers(ctx, h)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, addrs := range fabric {
		for _, a := range addrs {
			way := wayOf(routes, peers, a)
			if before, ok := out[name]; ok && before != way {
				way = before + "/" + way
			}
			out[name] = way
		}
	}
	return out, nil
}

// route is one of `ip -j route show`.
type route struct {
	Dst    string
	Dev    string
	Type   string
	Metric int
}

// wayOf finds the way to an address among a node's routes and WireGuard peers.
func wayOf(routes []route, peers map[string]wgPeer, to netip.Addr) string {
	best, bits := route{}, -1
	for _, r := range routes {
		p, err := netip.ParsePrefix(r.Dst)
		if err != nil {
			continue
		}
		if p.Contains(to) && (p.Bits() > bits || p.Bits() == bits && r.Metric < best.Metric) {
			best, bits = r, p.Bits()
		}
	}
	switch {
	case bits < 0 || best.Type != "":
		return wayNone
	case strings.HasPrefix(best.Dev, "weft-vx"):
		return wayVXLAN
	case !strings.HasPrefix(best.Dev, "weft-wg"):
		return wayDirect
	}
	for _, p := range peers {
		if p.dev != best.Dev || !slices.ContainsFunc(p.allowed, func(a netip.Prefix) bool { return a.Contains(to) }) {
			continue
		}
		switch {
		case !p.endpoint.IsValid():
			return wayNone
		case p.endpoint.Addr().IsLoopback():
			return wayRelay
		}
		return wayUDP
	}
	return wayNone
}

// wgPeer is a peer of a WireGuard device.
type wgPeer struct {
	dev      string
	endpoint netip.AddrPort
	allowed  []netip.Prefix
}

// wgPeers asks wg(8), but not for its dump, which has keys in it. Of all devices at
// once it names each on its first line only.
func wgPeers(ctx context.Context, h *lab.Host) (map[string]wgPeer, error) {
	devices, err := h.Run(ctx, "wg", "show", "interfaces")
	if err != nil {
		return nil, err
	}
	out := map[string]wgPeer{}
	for _, dev := range strings.Fields(devices) {
		for _, what := range []string{"endpoints", "allowed-ips"} {
			text, err := h.Run(ctx, "wg", "show", dev, what)
			if err != nil {
				return nil, err
			}
			for line := range strings.Lines(text) {
				f := strings.Fields(line) // public key, endpoint or prefixes
				key := dev + " " + f[0]
				p := out[key]
				p.dev = dev
				for _, word := range f[1:] {
					if a, err := netip.ParsePrefix(word); err == nil {
						p.allowed = append(p.allowed, a)
					} else if e, err := netip.ParseAddrPort(word); err == nil {
						p.endpoint = e
					}
				}
				out[key] = p
			}
		}
	}
	return out, nil
}

// runJSON runs a command that prints JSON, or nothing.
func runJSON(ctx context.Context, h *lab.Host, into any, args ...string) error {
	out, err := h.Run(ctx, args...)
	if err != nil || strings.TrimSpace(out) == "" {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}
