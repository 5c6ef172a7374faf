package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// nodeStatus asks this node's agent. why is why no server answered; nil when
// the agent was wanted.
func (c *cli) nodeStatus(ctx context.Context, o *output, why error) error {
	conn, err := c.dialAgent()
	if err != nil && why != nil {
		return &exit{exitCannotAsk, why}
	} else if err != nil {
		return &exit{exitCannotAsk, err}
	}
	if why != nil {
		c.say("no server could be asked: %s", c.describeError(why))
		c.say("this is what this node's own agent knows:")
	}
	agent := weftv1.NewAgentClient(conn)
	st, err := agent.GetStatus(ctx, &weftv1.GetStatusRequest{})
	if err != nil {
		return &exit{exitCannotAsk, fmt.Errorf("the agent at %s does not answer: %s", c.socket(), c.describeError(err))}
	}
	if st.GetServer() == "" {
		st.Problems = append([]*weftv1.Problem{{
			Node: st.GetNode(), SinceUnix: st.GetServerHeardUnix(), Cause: "no server answers this node",
			Remedy: "the node and its pods run on; on the servers: systemctl status weft-server, weft status",
		}}, st.GetProblems()...)
	}
	peers, err := agent.ListPeers(ctx, &weftv1.ListPeersRequest{})
	if err != nil {
		return &exit{exitCannotAsk, fmt.Errorf("the agent at %s: %s", c.socket(), c.describeError(err))}
	}
	if o.isData() {
		err = c.printMessage(o, st)
	} else {
		err = c.printf("%s", c.nodeText(o, st, peers.GetPeers()))
	}
	if err != nil {
		return &exit{exitCannotAsk, err}
	}
	if len(st.GetProblems()) > 0 {
		return &exit{code: exitProblems}
	}
	return nil
}

func (c *cli) nodeText(o *output, st *weftv1.GetStatusResponse, peers []*weftv1.PeerStatus) string {
	var b strings.Builder
	title(&b, "node", "%s  %s  epoch %s  revision %d  %s  %s", orDash(st.GetNode()), st.GetVersion(), epochText(0, st.GetEpoch()),
		st.GetRevision(), applied(st), c.problemCount(len(st.GetProblems()), st.GetLooking()))
	server := "none answers"
	if st.GetServer() != "" {
		server = st.GetServer()
	}
	if via := st.GetServerProxy(); via != "" {
		server += " through " + via
	}
	if st.GetServerHeardUnix() != 0 {
		server += ", heard " + table.Since(st.GetServerHeardUnix(), c.now()) + " ago"
	}
	title(&b, "server", "%s", server)
	if ts := st.GetTunnels(); len(ts) > 0 {
		title(&b, "tunnels", "%s", ownTunnelText(ts))
	}
	if st.GetLooking() {
		title(&b, "looking", "the agent has just begun, and has not looked at its host yet")
	}
	title(&b, "lease", "%s", orDash(strings.Join(st.GetLease(), ", ")))
	title(&b, "uplink", "%s", orDash(addressText(st.GetAddresses())))
	title(&b, "pods", "endpoints %d, mtu %d", st.GetEndpoints(), st.GetPodMtu())
	title(&b, "certs", "node's own until %s", day(st.GetCertificateEndsUnix()))
	title(&b, "paths", "%s", peerText(peers))
	if len(st.GetProblems()) > 0 {
		b.WriteString(c.problemTable(st.GetProblems(), false))
	}
	if o.format == asWide {
		title(&b, "settings", "%s", orDash(strings.Join(st.GetSettings(), ", ")))
	}
	if o.format == asWide && len(st.GetTunnels()) > 0 {
		b.WriteString("\n" + c.ownTunnelTable(st.GetTunnels()).Text(o.noHeaders))
	}
	if o.format == asWide && len(peers) > 0 {
		t := table.Table{Titles: []string{"PEER", "LEASE", "TRANSPORT", "REMOTE", "MTU", "WHY"}}
		for _, p := range peers {
			t.Add(p.GetName(), strings.Join(p.GetLease(), ","), p.GetTransport(), p.GetRemote(), fmt.Sprint(p.GetMtu()), p.GetWhy())
		}
		b.WriteString("\n" + t.Text(o.noHeaders))
	}
	return b.String()
}

func applied(st *weftv1.GetStatusResponse) string {
	if lag := st.GetRevision() - st.GetAppliedRevision(); lag > 0 {
		return fmt.Sprintf("applied %d", st.GetAppliedRevision())
	}
	return "in step"
}

// peerText counts peers by transport, in the order of their first appearance.
func peerText(peers []*weftv1.PeerStatus) string {
	seen := map[string]int{}
	var order []string
	for _, p := range peers {
		if seen[p.GetTransport()]++; seen[p.GetTransport()] == 1 {
			order = append(order, p.GetTransport())
		}
	}
	var words []string
	for _, t := range order {
		words = append(words, fmt.Sprintf("%d %s", seen[t], t))
	}
	if len(words) == 0 {
		return "no peers"
	}
	return fmt.Sprintf("%s: %s", count(len(peers), "peer"), strings.Join(words, ", "))
}
