package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// mesh1000 is what the process on the host has measured: all times in milliseconds.
type mesh1000 struct {
	Peers int
	// Of a device from no peer to all of them, and of one endpoint that changes.
	Apply, Change, BareApply, BareChange cost
	// What went to the device: requests that change it, peers and endpoints named in
	// them, and how many had it forget its peers first.
	ApplyAsked, ChangeAsked asked
}

// cost is of each round; CPU time is of both ends of the socket.
type cost struct{ Wall, CPU []float64 }

// asked counts requests of a kind.
type asked struct{ Requests, Peers, Endpoints, Replaces int }

// peers: a device with 1,000 peers, as the agent's driver applies it, and in turns
// wireguard-go alone, fed by a set of its own over a socket that is open already. The
// devices are made by processes of their own.
func peers(ctx context.Context, b *bench) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	l, err := lab.New(ctx, b.bin)
	if err != nil {
		return line{}, err
	}
	defer l.Close()
	h, err := l.Host(ctx, "a", 1500, nil, nil)
	if err != nil {
		return line{}, err
	}
	cmd := h.Command(ctx, b.self, "-role", "peers", "-bin", b.bin, "-wireguard-go", b.bare, "-runs", strconv.Itoa(b.times(9)))
	text, err := cmd.Output()
	if err != nil {
		return line{}, fmt.Errorf("%w: %s", err, stderr(err))
	}
	var m mesh1000
	if err := json.Unmarshal(text, &m); err != nil {
		return line{}, fmt.Errorf("%w: %s", err, text)
	}
	if m.ApplyAsked.Replaces+m.ChangeAsked.Replaces > 0 {
		return line{}, fmt.Errorf("%d requests replaced all peers of the device", m.ApplyAsked.Replaces+m.ChangeAsked.Replaces)
	}
	return line{
		fmt.Sprintf("%d peers: full apply; one endpoint that changes", m.Peers),
		fmt.Sprintf("wireguard-go alone, fed by one UAPI set: %s; %s", m.BareApply, m.BareChange),
		fmt.Sprintf("**%s**, %v; **%s**, %v", m.Apply, m.ApplyAsked, m.Change, m.ChangeAsked),
	}, nil
}

func (c cost) String() string {
	digits := 0
	if median(c.Wall) < 10 {
		digits = 2
	}
	return fmt.Sprintf("%s (CPU %s)", spread(c.Wall, digits, " ms"), spread(c.CPU, digits, " ms"))
}

func (a asked) String() string {
	return fmt.Sprintf("%d UAPI request(s) with %d peer(s), %d of them replace-all", a.Requests, a.Peers, a.Replaces)
}
