package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// tunnel is a device on each of two hosts, with each other for a peer.
type tunnel struct {
	name       string
	ends       [2]*device
	inner      [2]netip.Addr
	mbits, cpu []float64
}

// throughput: TCP through the devices of weft-agent's processes, and in turns through
// those of wireguard-go as it comes, of the same version, between the same two hosts.
func throughput(ctx context.Context, b *bench) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	l, err := lab.New(ctx, b.bin)
	if err != nil {
		return line{}, err
	}
	defer l.Close()
	hosts, err := two(ctx, l)
	if err != nil {
		return line{}, err
	}
	ours, err := newTunnel(ctx, hosts, "weft-wg0", 51820, "10.98.1", b.weft)
	if err != nil {
		return line{}, err
	}
	theirs, err := newTunnel(ctx, hosts, "bare0", 51830, "10.98.2", b.wireguardGo)
	if err != nil {
		return line{}, err
	}
	var measured, peers []string
	var all []float64 // ratios of all rounds
	for _, over := range []string{"IPv4", "IPv6"} {
		for _, streams := range []int{1, 4} {
			if err := race(ctx, []*tunnel{ours, theirs}, over, streams, b.times(9)); err != nil {
				return line{}, err
			}
			var ratios []float64
			for i := range ours.mbits {
				ratios = append(ratios, ours.mbits[i]/theirs.mbits[i])
			}
			all = append(all, ratios...)
			measured = append(measured, fmt.Sprintf("over %s, %d TCP: %s, %s Mbit/s, %s s of CPU a GB", over, streams, spread(ratios, 2, ""), spread(ours.mbits, 0, ""), spread(ours.cpu, 2, "")))
			peers = append(peers, fmt.Sprintf("%s Mbit/s, %s s", spread(theirs.mbits, 0, ""), spread(theirs.cpu, 2, "")))
			say("%s | wireguard-go %s", measured[len(measured)-1], peers[len(peers)-1])
		}
	}
	return line{
		"throughput of a userspace device, ratio to bare wireguard-go, rounds in turns", "wireguard-go of the same version: " + strings.Join(peers, "; "),
		fmt.Sprintf("**%s** of all %d; %s", spread(all, 2, ""), len(all), strings.Join(measured, "; ")),
	}, nil
}

// two hosts on a wire.
func two(ctx context.Context, l *lab.Lab) (hosts [2]*lab.Host, err error) {
	for i, name := range []string{"a", "b"} {
		addrs := []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.99.0.%d/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd99::%d/64", i+1))}
		if hosts[i], err = l.Host(ctx, name, 1500, addrs, nil); err != nil {
			return hosts, err
		}
	}
	return hosts, nil
}

// newTunnel joins two hosts; each has the inner address net.1 or net.2.
func newTunnel(ctx context.Context, hosts [2]*lab.Host, name string, port int, net string, by command) (*tunnel, error) {
	t := &tunnel{name: name, inner: [2]netip.Addr{netip.MustParseAddr(net + ".1"), netip.MustParseAddr(net + ".2")}}
	for i, h := range hosts {
		var err error
		if t.ends[i], err = open(ctx, h, name, port, by, fmt.Sprintf("%s.%d/24", net, i+1)); err != nil {
			return nil, err
		}
	}
	return t, t.over(ctx, "IPv4")
}

// over has the ends send to each other's address of a family.
func (t *tunnel) over(ctx context.Context, family string) error {
	for i, d := range t.ends {
		to := fmt.Sprintf("10.99.0.%d:%d", 2-i, d.port)
		if family == "IPv6" {
			to = fmt.Sprintf("[fd99::%d]:%d", 2-i, d.port)
		}
		if err := d.peer(ctx, t.ends[1-i], to, "10.98.0.0/16"); err != nil {
			return err
		}
	}
	_, err := t.ends[0].host.Run(ctx, "ping", "-c", "3", "-i", "0.1", "-w", "20", t.inner[1].String())
	return err
}

// race measures tunnels in turns, each first in every other round.
func race(ctx context.Context, tunnels []*tunnel, family string, streams, rounds int) error {
	for _, t := range tunnels {
		t.mbits, t.cpu = nil, nil
		if err := t.over(ctx, family); err != nil {
			return err
		}
	}
	for n := range rounds {
		for i := range tunnels {
			t := tunnels[(i+n)%len(tunnels)]
			if err := t.once(ctx, streams); err != nil {
				return fmt.Errorf("%s over %s: %w", t.name, family, err)
			}
		}
	}
	return nil
}

// once is one transfer. CPU time is of the two processes, a GB.
func (t *tunnel) once(ctx context.Context, streams int) error {
	var before, after time.Duration
	for _, d := range t.ends {
		u, err := used(d.pid)
		if err != nil {
			return err
		}
		before += u
	}
	out, err := iperf(ctx, t.ends[0].host, t.ends[1].host, t.inner[1].String(), 1, "-P", fmt.Sprint(streams))
	if err != nil {
		return err
	}
	for _, d := range t.ends {
		u, err := used(d.pid)
		if err != nil {
			return err
		}
		after += u
	}
	var bytes int64
	for _, i := range out.Intervals {
		bytes += i.Sum.Bytes
	}
	t.mbits = append(t.mbits, out.End.Received.BitsPerSecond/1e6)
	t.cpu = append(t.cpu, (after-before).Seconds()/(float64(bytes)/1e9))
	return nil
}
