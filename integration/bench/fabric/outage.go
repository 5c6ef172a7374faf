package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// watch sends a packet a millisecond from one host to an address while something
// is done, and says what became of them.
func watch(ctx context.Context, from *lab.Host, to netip.Addr, do func() error) (lab.Count, error) {
	f, err := lab.StartFlow(from, to, time.Millisecond)
	if err != nil {
		return lab.Count{}, err
	}
	if err := do(); err != nil {
		f.Close()
		return lab.Count{}, err
	}
	return f.Stop(ctx)
}

// ms is a time in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// pause lets time pass between two measured events.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// heal: what is deleted by hand, and for how long packets are lost.
func heal(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, from, to, err := pair(ctx, b, lab.Layout{})
	if err != nil {
		return err
	}
	defer f.Close()
	n1 := f.Nodes[0]
	var all []float64
	for _, c := range []struct {
		name string
		args []string
	}{
		{"VXLAN device deleted", []string{"ip", "link", "del", "weft-vx"}},
		{"VXLAN device down", []string{"ip", "link", "set", "weft-vx", "down"}},
		{"routes deleted", []string{"ip", "route", "flush", "proto", "87"}},
		{"neighbours deleted", []string{"sh", "-c", "ip neigh show dev weft-vx nud permanent | while read ip rest; do ip neigh del $ip dev weft-vx; done"}},
		{"FDB entry deleted", []string{"sh", "-c", "bridge fdb show dev weft-vx | while read mac dst ip rest; do bridge fdb del $mac dev weft-vx dst $ip; done"}},
		{"weft0 deleted", []string{"ip", "link", "del", "weft0"}},
	} {
		var gap []float64
		for range b.runs {
			g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
				pause(ctx, 200*time.Millisecond)
				_, err := n1.Run(ctx, c.args...)
				pause(ctx, time.Second)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			gap = append(gap, ms(g.Longest))
		}
		all = append(all, gap...)
		fmt.Printf("   %-24s ms without packets: %s\n", c.name, spread(gap))
	}
	fmt.Printf("   %-24s ms without packets: %s\n", "all of these", spread(all))
	if err := healRules(ctx, b, n1); err != nil {
		return err
	}
	var pods, bare []float64
	for range b.runs {
		var under lab.Count
		g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
			var err error
			under, err = watch(ctx, n1, netip.MustParseAddr(f.NodeIPs(f.Nodes[1])[0]), func() error {
				pause(ctx, 200*time.Millisecond)
				err := n1.Rewire(ctx)
				pause(ctx, 3*time.Second)
				return err
			})
			return err
		})
		if err != nil {
			return err
		}
		pods, bare = append(pods, ms(g.Longest)), append(bare, ms(under.Longest))
	}
	fmt.Printf("   uplink deleted and made anew: ms without packets between pods: %s\n", spread(pods))
	fmt.Printf("   uplink deleted and made anew: ms without packets on the wire:  %s\n", spread(bare))
	return nil
}

// healRules: firewall rules deleted by hand. Packets between pods pass without
// them, so what is measured is how long they are not there, as nft sees it.
func healRules(ctx context.Context, b *bench, h *lab.Host) error {
	for _, command := range []string{"nft flush ruleset", "nft flush chain inet weft antispoof"} {
		var gone []float64
		for range b.runs {
			out, err := h.Run(ctx, "timeout", "10", "sh", "-c", command+`
began=$(date +%s%N)
until nft list chain inet weft antispoof 2>/dev/null | grep -q drop; do :; done
echo $(( ($(date +%s%N) - began) / 1000 ))`)
			if err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			us, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
			if err != nil {
				return err
			}
			gone = append(gone, us/1000)
			pause(ctx, 500*time.Millisecond)
		}
		fmt.Printf("   %s: ms until the rules are back: %s\n", command, spread(gone))
	}
	return nil
}

// uplink: the wire is down for 0.5 s.
func uplink(ctx context.Context, b *bench) error {
	for _, backend := range []string{"vxlan", "host-gw"} {
		if err := uplinkOver(ctx, b, backend); err != nil {
			return err
		}
	}
	return nil
}

func uplinkOver(ctx context.Context, b *bench, backend string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	f, from, to, err := pair(ctx, b, lab.Layout{}, "--backend", backend)
	if err != nil {
		return err
	}
	defer f.Close()
	wire := netip.MustParseAddr(f.NodeIPs(f.Nodes[1])[0])
	var more, pods, bare []float64
	for range b.runs {
		var under lab.Count
		g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
			var err error
			under, err = watch(ctx, f.Nodes[0], wire, func() error { return outage(ctx, f.Nodes[0]) })
			return err
		})
		if err != nil {
			return err
		}
		pods, bare = append(pods, ms(g.Longest)), append(bare, ms(under.Longest))
		more = append(more, ms(g.Longest-under.Longest))
	}
	fmt.Printf("   %-8s ms without packets between pods:  %s\n", backend, spread(pods))
	fmt.Printf("   %-8s ms without packets on the wire:   %s\n", backend, spread(bare))
	fmt.Printf("   %-8s ms that pods were out for longer: %s\n", backend, spread(more))
	return nil
}

// outage takes the uplink down for 0.5 s.
func outage(ctx context.Context, h *lab.Host) error {
	pause(ctx, 200*time.Millisecond)
	if _, err := h.Run(ctx, "ip", "link", "set", "eth0", "down"); err != nil {
		return err
	}
	pause(ctx, 500*time.Millisecond)
	_, err := h.Run(ctx, "ip", "link", "set", "eth0", "up")
	pause(ctx, 2*time.Second)
	return err
}

// address: a node's address on the underlay changes.
func address(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	f, from, to, err := pair(ctx, b, lab.Layout{Under: "4"})
	if err != nil {
		return err
	}
	defer f.Close()
	n2 := f.Nodes[1]
	// Without --node-ip the agent follows what the uplink has.
	f.Agents[n2.Name].Kill()
	if err := f.StartAgent(ctx, n2, "--iface", "eth0"); err != nil {
		return err
	}
	if err := f.InStep(ctx, 2); err != nil {
		return err
	}
	before, err := nodes(ctx, f)
	if err != nil {
		return err
	}
	var gap []float64
	addrs := []string{"10.99.0.12", "10.99.0.13"}
	addrs[0] = f.NodeIPs(n2)[0]
	addrs[1] = "10.99.77.77"
	for i := range b.runs {
		old, next := addrs[i%2], addrs[(i+1)%2]
		g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
			pause(ctx, 200*time.Millisecond)
			_, err := n2.Run(ctx, "sh", "-c", fmt.Sprintf("ip addr del %s/16 dev eth0; ip addr add %s/16 dev eth0; ip route add default via 10.99.0.2", old, next))
			pause(ctx, 4*time.Second)
			return err
		})
		if err != nil {
			return err
		}
		gap = append(gap, ms(g.Longest))
	}
	after, err := nodes(ctx, f)
	if err != nil {
		return err
	}
	same := true
	for i := range before {
		same = same && slices.Equal(before[i].Status.Lease, after[i].Status.Lease)
	}
	fmt.Printf("   ms without packets: %s; lease kept: %v\n", spread(gap), same)
	return nil
}

// mtu: the underlay's MTU changes; routes follow at once.
func mtu(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	f, _, _, err := pair(ctx, b, lab.Layout{MTU: 9000})
	if err != nil {
		return err
	}
	defer f.Close()
	var took []float64
	for i := range b.runs {
		size, want := "1500", "mtu 1450"
		if i%2 == 1 {
			size, want = "9000", "mtu 8950"
		}
		began := time.Now()
		if _, err := f.Nodes[0].Run(ctx, "ip", "link", "set", "eth0", "mtu", size); err != nil {
			return err
		}
		err := lab.Until(ctx, want, func() (string, error) {
			out, err := f.Nodes[0].Run(ctx, "sh", "-c", "ip link show weft-vx | grep '"+want+"'")
			return out, err
		})
		if err != nil {
			return err
		}
		took = append(took, float64(time.Since(began).Milliseconds()))
	}
	fmt.Printf("   ms until the VXLAN device follows: %s\n", spread(took))
	return nil
}

// restart: agents and server die and come back under traffic.
func restart(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	f, from, to, err := pair(ctx, b, lab.Layout{})
	if err != nil {
		return err
	}
	defer f.Close()
	n1 := f.Nodes[0]
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"agent killed -9, restarted", func() error {
			f.Agents[n1.Name].Kill()
			return f.StartAgent(ctx, n1)
		}},
		{"agent stopped, restarted", func() error {
			return errors.Join(f.Agents[n1.Name].Stop(20*time.Second), f.StartAgent(ctx, n1))
		}},
		{"server (with its etcd) away for 60 s, pods come and go", func() error {
			f.ServerProcesses["s1"].Kill()
			for i := range 6 {
				p, err := f.NewPod(ctx, n1, fmt.Sprintf("extra%d", i), nil)
				if err != nil {
					return err
				}
				pause(ctx, 10*time.Second)
				if err := p.Del(ctx); err != nil {
					return err
				}
			}
			return f.StartServer(ctx)
		}},
		{"both away, agent back from disk alone", func() error {
			f.ServerProcesses["s1"].Kill()
			f.Agents[n1.Name].Kill()
			if err := f.StartAgent(ctx, n1); err != nil {
				return err
			}
			return f.StartServer(ctx)
		}},
	} {
		g, err := watch(ctx, from.Host, to.Addrs[0], func() error {
			pause(ctx, 200*time.Millisecond)
			err := errors.Join(c.do(), f.InStep(ctx, 2))
			pause(ctx, 3*time.Second)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("   %-56s %v (one a ms)\n", c.name, g)
	}
	return nil
}

// silence: the server's packets are dropped without a word for 30 s.
func silence(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	f, _, _, err := pair(ctx, b, lab.Layout{})
	if err != nil {
		return err
	}
	defer f.Close()
	n1 := f.Nodes[0]
	var took []float64
	for range min(b.runs, 3) {
		if _, err := n1.Run(ctx, "nft", "add table inet hole; add chain inet hole in { type filter hook input priority -400; }; add rule inet hole in tcp sport 7443 drop"); err != nil {
			return err
		}
		pause(ctx, 30*time.Second)
		began := time.Now()
		if _, err := n1.Run(ctx, "nft", "delete", "table", "inet", "hole"); err != nil {
			return err
		}
		if err := f.InStep(ctx, 2); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
	}
	fmt.Printf("   s after the packets pass again until all in step: %s\n", spread(took))
	return nil
}
