package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// isTunnels tells whether get is asked for tunnels, which are no objects: nobody
// writes them, and each server knows its own.
func isTunnels(args []string) bool {
	kind, _, _ := strings.Cut(args[0], "/")
	return kind == "tunnels" || kind == "tunnel"
}

// getTunnels shows the tunnels of all nodes, or of those named.
func (c *cli) getTunnels(ctx context.Context, o *output, s selection, watch bool, args []string) error {
	if watch || s != (selection{}) || o.columns != nil {
		return errors.New("tunnels are told by node only: weft get tunnels NODE... [-o wide|json|yaml|jsonpath=…|name]")
	}
	nodes := args[1:]
	if _, node, ok := strings.Cut(args[0], "/"); ok {
		nodes = append([]string{node}, nodes...)
	}
	one := ""
	if len(nodes) == 1 {
		one = nodes[0]
	}
	answer, err := c.tunnelsOf(ctx, one)
	if err != nil {
		return err
	}
	if len(nodes) > 1 {
		answer.Tunnels = slices.DeleteFunc(answer.Tunnels, func(t *weftv1.Tunnel) bool { return !slices.Contains(nodes, t.GetNode()) })
	}
	for _, silent := range answer.GetSilent() {
		c.say("warning: its tunnels are not among these: %s", silent)
	}
	switch {
	case o.isData():
		return c.printMessage(o, answer)
	case len(answer.GetTunnels()) == 0 && len(nodes) > 0:
		return fmt.Errorf("no tunnel of %s; on that node: weft status --local", strings.Join(nodes, ", "))
	case len(answer.GetTunnels()) == 0:
		c.say("no tunnels")
		return nil
	case o.format == asName:
		return c.printf("%s", tunnelNames(answer.GetTunnels()))
	}
	return c.printTable(o, c.tunnelTable(o, answer.GetTunnels()))
}

func tunnelNames(ts []*weftv1.Tunnel) string {
	var b strings.Builder
	for _, t := range ts {
		fmt.Fprintf(&b, "tunnel/%s/%s\n", t.GetNode(), t.GetServer())
	}
	return b.String()
}

func (c *cli) tunnelTable(o *output, ts []*weftv1.Tunnel) *table.Table {
	t := &table.Table{Titles: []string{"NODE", "SERVER", "STATUS", "SINCE", "RTT", "STREAMS"}}
	if o.format == asWide {
		t.Titles = append(t.Titles, "TOTAL", "SENT", "RECEIVED", "STALLS", "BUFFERED", "ADDRESS", "INSTANCE")
	}
	for _, u := range ts {
		row := []string{
			u.GetNode(), u.GetServer(), u.GetState(), table.Since(u.GetSinceUnix(), c.now()),
			rttText(time.Duration(u.GetRoundTripMicro()) * time.Microsecond), fmt.Sprint(u.GetStreams()),
		}
		if o.format == asWide {
			row = append(row, fmt.Sprint(u.GetStreamsTotal()), bytesText(int64(u.GetBytesSent())), bytesText(int64(u.GetBytesReceived())),
				fmt.Sprint(u.GetStalls()), bytesText(int64(u.GetBufferedBytes())), u.GetAddress(), u.GetInstance())
		}
		t.Add(row...)
	}
	return t
}

// rttText is a round trip in milliseconds; a dash while none was measured.
func rttText(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// askTunnels asks a server for tunnels as status shows them. One of an older release
// knows none, and a reader may not be allowed to see them: then there is no line. All
// else that status tells does not depend on the answer.
func (r *report) askTunnels(ctx context.Context, c *cli, conn *grpc.ClientConn) {
	answer, err := weftv1.NewEgressClient(conn).ListTunnels(ctx, &weftv1.ListTunnelsRequest{})
	switch status.Code(err) {
	case codes.OK:
		r.tunnels = tunnelText(answer, int(r.GetNodes()))
	case codes.Unimplemented, codes.PermissionDenied:
	default:
		r.tunnels = "not known: " + c.describeError(err)
	}
}

// tunnelText says how many nodes have a tunnel to each server, and that some have
// none.
func tunnelText(answer *weftv1.ListTunnelsResponse, nodes int) string {
	counts, have := map[string]int{}, map[string]bool{}
	streams := uint32(0)
	for _, t := range answer.GetTunnels() {
		streams += t.GetStreams()
		if t.GetState() == "Ready" {
			counts[t.GetServer()]++
			have[t.GetNode()] = true
		}
	}
	var words []string
	for server, n := range counts {
		words = append(words, fmt.Sprintf("%s %d", server, n))
	}
	slices.Sort(words)
	text := fmt.Sprintf("%d of %d nodes", len(have), nodes)
	if len(words) > 0 {
		text += ": " + strings.Join(words, ", ")
	}
	if streams > 0 {
		text += "; " + count(int(streams), "stream")
	}
	if len(answer.GetSilent()) > 0 {
		text += "; " + count(len(answer.GetSilent()), "server") + " did not answer"
	}
	if len(have) < nodes {
		text += " -> weft get tunnels"
	}
	return text
}

// ownTunnelText is how a node's own tunnels are, the reasons of those that are not up
// among them.
func ownTunnelText(ts []*weftv1.ServerTunnel) string {
	up, servers := 0, 0
	var words []string
	for _, t := range ts {
		switch t.GetState() {
		case "up":
			up++
			servers++
		case "same": // another address of one of these
		default:
			servers++
			words = append(words, t.GetServer()+" "+stateText(t))
		}
	}
	text := fmt.Sprintf("%d of %s", up, count(servers, "server"))
	if len(words) > 0 {
		text += "; " + strings.Join(words, "; ")
	}
	return text
}

// stateText is a state with its reason.
func stateText(t *weftv1.ServerTunnel) string {
	switch {
	case t.GetState() == "none":
		return "is of a release without tunnels"
	case t.GetState() == "same":
		return "same as " + t.GetOf()
	case t.GetError() != "":
		return t.GetState() + ": " + t.GetError()
	}
	return t.GetState()
}

func (c *cli) ownTunnelTable(ts []*weftv1.ServerTunnel) *table.Table {
	t := &table.Table{Titles: []string{"TUNNEL-TO", "SINCE", "RTT", "STREAMS", "DRAINING", "VIA", "STATE"}}
	for _, u := range ts {
		t.Add(u.GetServer(), table.Since(u.GetSinceUnix(), c.now()), rttText(time.Duration(u.GetRoundTripMicro())*time.Microsecond),
			fmt.Sprint(u.GetStreams()), fmt.Sprint(u.GetDraining()), u.GetProxy(), stateText(u))
	}
	return t
}
