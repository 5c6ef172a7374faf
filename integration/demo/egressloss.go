package main

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// hop takes away n2's way to s3: s3 reaches it over another server.
func (d *egress) hop(ctx context.Context) error {
	third := d.Servers[2]
	for _, family := range []string{"ip", "ip6"} {
		addr := d.NodeIPs(third)[0]
		if family == "ip6" {
			addr = d.NodeIPs(third)[1]
		}
		if _, err := d.Routers[0].Run(ctx, "nft", "insert", "rule", "inet", "router", "forward", family, "daddr", addr, "drop"); err != nil {
			return err
		}
	}
	if err := d.tunnels(ctx, 3*len(d.Servers)-1); err != nil {
		return err
	}
	page, err := d.SocketFront(third).Get(ctx, fmt.Sprintf("http://%v/", d.page(d.hidden)))
	if err != nil {
		return err
	}
	d.say("n2's router drops what goes to s3: s3 reaches the pod over another server\n\n%s", page)
	return nil
}

// killed kills the server that people use: streams through another one go on, new
// ones come about there, and the dead one is taken back when it is back.
func (d *egress) killed(ctx context.Context) error {
	url := fmt.Sprintf("http://%v/", d.page(d.hidden))
	beside, err := lab.StartReader(d.Servers[1], d.SocketFront(d.Servers[1]), url+"ticks")
	if err != nil {
		return err
	}
	over, err := lab.StartReader(d.Servers[0], d.SocketFront(d.Servers[0]), url+"ticks")
	if err != nil {
		return err
	}
	if _, err := over.More(ctx); err != nil {
		return err
	}
	d.ServerProcesses[d.Server.Name].Kill()
	killed := time.Now()
	broke, err := over.Broken(ctx)
	if err != nil {
		return err
	}
	d.say("kill -9 of s1; a stream through it: %s", broke)
	for _, h := range d.Servers[1:] {
		page, err := d.SocketFront(h).Get(ctx, url)
		if err != nil {
			return err
		}
		fmt.Printf("%s, %v later: %s", h.Name, time.Since(killed).Round(time.Millisecond), page)
	}
	through, err := beside.Stop(ctx)
	if err != nil {
		return err
	}
	d.say("a stream through s2 meanwhile: %s, unbroken", through)
	if err := d.StartServerOn(ctx, d.Server); err != nil {
		return err
	}
	if err := d.tunnels(ctx, 3*len(d.Servers)-1); err != nil {
		return err
	}
	page, err := d.SocketFront(d.Server).Get(ctx, url)
	if err != nil {
		return err
	}
	d.say("s1 is back, its agents as well\n\n%s", page)
	return d.InStep(ctx, len(d.Nodes)+1)
}
