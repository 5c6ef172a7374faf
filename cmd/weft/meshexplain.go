package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (c *cli) meshExplainCommand() *cobra.Command {
	var o output
	var local bool
	cmd := &cobra.Command{
		Use:   "explain NODE NODE",
		Short: "Why two nodes reach each other the way they do",
		Long: "Why two nodes reach each other the way they do: the rungs of the ladder with what was found on each,\n" +
			"round trip, loss and MTU by probes inside of the path, since when, and what would help to climb. Both\n" +
			"agents are asked; -o wide shows each address and relay that they tried. On a node, --local asks its\n" +
			"own agent, with every server gone too.",
		Example: "  weft mesh explain n1 n7\n  weft mesh explain --local n7",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case local && len(args) == 1:
				return c.explainHere(cmd.Context(), &o, args[0])
			case local || len(args) != 2:
				return errors.New("name two nodes, or with --local the one at the other end")
			}
			return c.explainPath(cmd.Context(), &o, args[0], args[1])
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return c.completeObjects(cmd, append([]string{"node"}, args...), prefix)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&local, "local", false, "ask this node's agent only")
	return cmd
}

// explainHere asks the agent of this machine.
func (c *cli) explainHere(ctx context.Context, o *output, peer string) error {
	client, err := c.agentClient()
	if err != nil {
		return err
	}
	answer, err := client.GetMesh(ctx, &weftv1.GetMeshRequest{Peer: peer})
	if err != nil {
		return err
	}
	if o.isData() {
		return c.printMessage(o, answer)
	}
	var b strings.Builder
	for _, p := range answer.GetPaths() {
		b.WriteString(c.pathText(o, "this node", p))
	}
	return c.printf("%s", b.String())
}

func (c *cli) explainPath(ctx context.Context, o *output, a, b string) error {
	if a == b {
		return fmt.Errorf("%s and %s are one node", a, b)
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := weftv1.NewMeshClient(conn).ExplainPath(ctx, &weftv1.ExplainPathRequest{From: a, To: b})
	switch {
	case status.Code(err) == codes.NotFound:
		return c.noPair(ctx, a, b)
	case err != nil:
		return err
	case o.isData():
		return c.printMessage(o, answer)
	case len(answer.GetEnds()) == 0:
		return c.printf("%s", c.ruledText(a, b, answer.GetPath()))
	}
	return c.printf("%s", c.explainText(o, answer))
}

// noPair names those that have one.
func (c *cli) noPair(ctx context.Context, a, b string) error {
	pairs, err := c.matrix(ctx)
	if err != nil {
		return err
	}
	return fmt.Errorf("no pair %s and %s; nodes with a path: %s", a, b, orNone(strings.Join(nodesOf(pairs), ", ")))
}

// ruledText is the path of a pair that has no choice.
func (c *cli) ruledText(a, b string, p *weftv1.PairPath) string {
	var t strings.Builder
	fmt.Fprintf(&t, "%s -> %s  %s", a, b, c.paint(bold, strings.ToUpper(p.GetTransport())))
	if p.GetMtu() != 0 {
		fmt.Fprintf(&t, "  mtu %d", p.GetMtu())
	}
	fmt.Fprintf(&t, "\nfrom  %s\nto    %s\nwhy   %s\n", orDash(p.GetFromAddress()), orDash(p.GetToAddress()), orDash(p.GetWhy()))
	return t.String()
}

// explainText is what both ends say of a pair that chooses its way.
func (c *cli) explainText(o *output, r *weftv1.ExplainPathResponse) string {
	var t strings.Builder
	first, last := r.GetEnds()[0], r.GetEnds()[len(r.GetEnds())-1]
	if first.GetPath() == nil {
		fmt.Fprintf(&t, "%s -> %s  not known: %s\n", first.GetNode(), last.GetNode(), first.GetError())
		fmt.Fprint(&t, c.rungTable(o, r.GetRungs()))
	} else {
		t.WriteString(c.pathText(o, first.GetNode(), first.GetPath()))
	}
	fmt.Fprintf(&t, "back      %s\n", c.backText(first, last))
	fmt.Fprintf(&t, "nat       %s %s, %s %s\n", first.GetNode(), natText(first), last.GetNode(), natText(last))
	for _, end := range []*weftv1.PathEnd{first, last} {
		if port := end.GetPath().GetPort(); port != "" {
			fmt.Fprintf(&t, "port      %s %s\n", end.GetNode(), port)
		}
	}
	fmt.Fprintf(&t, "sites     %s %s, %s %s\n", first.GetNode(), orDash(first.GetSite()), last.GetNode(), orDash(last.GetSite()))
	if o.format == asWide && last.GetPath() != nil {
		fmt.Fprintf(&t, "\n%s", c.pathText(o, last.GetNode(), last.GetPath()))
	}
	return t.String()
}

// pathText is what one end says.
func (c *cli) pathText(o *output, from string, p *weftv1.MeshPath) string {
	var t strings.Builder
	fmt.Fprintf(&t, "%s -> %s  %s%s\n", from, p.GetPeer(), c.paint(bold, standing(p)), c.measured(p))
	t.WriteString(c.rungTable(o, p.GetRungs()))
	if o.format == asWide && len(p.GetTried()) > 0 {
		fmt.Fprintf(&t, "\n%s", triedTable(p.GetTried()).Text(o.noHeaders))
	}
	if p.GetPreshared() != "" {
		fmt.Fprintf(&t, "pre-shared key: %s\n", p.GetPreshared())
	}
	if p.GetClimb() != "" {
		fmt.Fprintf(&t, "to climb: %s\n", p.GetClimb())
	}
	return t.String()
}

// standing is the rung that a node sends by, aloud.
func standing(p *weftv1.MeshPath) string {
	text := ""
	switch rung := p.GetRung(); rung {
	case "none", "":
		return "NO PATH"
	case "wireguard":
		text = "WIREGUARD"
	case "direct", "vxlan":
		text = strings.ToUpper(rung)
	case "punched":
		text = "WIREGUARD PUNCHED"
	default:
		text = "WIREGUARD RELAYED"
	}
	if p.GetVia() != "" {
		text += " over " + p.GetVia()
	} else if p.GetEndpoint() != "" {
		text += " to " + p.GetEndpoint()
	}
	if p.GetDown() {
		text += ", NOTHING ANSWERS"
	}
	return text
}

// inUse is the result of the rung that a node sends by.
const inUse = "IN USE"

// measured is since when, and what probes found.
func (c *cli) measured(p *weftv1.MeshPath) string {
	var b strings.Builder
	if at := p.GetSinceUnixMilli() / 1000; at > 0 {
		clock := time.TimeOnly
		if c.now().Sub(time.Unix(at, 0)) >= 24*time.Hour {
			clock = time.DateTime
		}
		fmt.Fprintf(&b, ", since %s (%s)", time.Unix(at, 0).In(c.now().Location()).Format(clock), table.Since(at, c.now()))
	}
	if p.GetRung() == "none" || p.GetRung() == "" {
		return b.String()
	}
	if p.GetRttMicros() > 0 {
		fmt.Fprintf(&b, "   rtt %s", tripText(p.GetRttMicros()))
	}
	fmt.Fprintf(&b, "  loss %d.%d %%", p.GetLossPermille()/10, p.GetLossPermille()%10)
	if p.GetMtu() > 0 {
		fmt.Fprintf(&b, "  mtu %d", p.GetMtu())
		if p.GetMtuProved() {
			b.WriteString(" (probed)")
		}
		if p.GetNoIpv6() {
			b.WriteString(", IPv6 REFUSED: it needs 1280")
		}
	}
	return b.String()
}

// tripText is a round trip with as many digits as it is worth.
func tripText(micros int64) string {
	switch {
	case micros < 1000:
		return fmt.Sprintf("%d µs", micros)
	case micros < 10_000:
		return fmt.Sprintf("%d.%d ms", micros/1000, micros%1000/100)
	}
	return fmt.Sprintf("%d ms", (micros+500)/1000)
}

func (c *cli) rungTable(o *output, rungs []*weftv1.Rung) string {
	if len(rungs) == 0 {
		return ""
	}
	t := table.Table{Titles: []string{"RUNG", "RESULT", "WHY"}}
	if c.colours {
		t.Paint = c.paintCell
	}
	for _, r := range rungs {
		result := r.GetResult()
		if strings.EqualFold(result, inUse) {
			result = inUse
		}
		t.Add(r.GetName(), result, r.GetWhy())
	}
	return t.Text(o.noHeaders)
}

func triedTable(tried []*weftv1.MeshTried) *table.Table {
	t := &table.Table{Titles: []string{"TRIED", "SOURCE", "SLOT", "PROBES", "ANSWERS", "RTT", "RESULT"}}
	for _, w := range tried {
		at, source := w.GetAddress(), w.GetSource()
		if w.GetVia() != "" {
			at, source = "over "+w.GetVia(), "relay"
		}
		rtt, result := "-", "no reply"
		if w.GetRttMicros() > 0 {
			rtt = tripText(w.GetRttMicros())
		}
		switch {
		case w.GetWorks():
			result = "works"
		case w.GetWhy() != "":
			result = w.GetWhy()
		case w.GetProbes() == 0:
			result = "not probed"
		}
		t.Add(at, source, fmt.Sprint(w.GetSlot()), fmt.Sprint(w.GetProbes()), fmt.Sprint(w.GetAnswers()), rtt, result)
	}
	return t
}

// backText is the other direction in a line: each end chooses its own.
func (c *cli) backText(first, last *weftv1.PathEnd) string {
	p := last.GetPath()
	if p == nil {
		return fmt.Sprintf("%s -> %s not known: %s", last.GetNode(), first.GetNode(), last.GetError())
	}
	return fmt.Sprintf("%s -> %s %s%s", last.GetNode(), first.GetNode(), standing(p), c.measured(p))
}

// natText is what stands before a node, by family.
func natText(e *weftv1.PathEnd) string {
	words := map[string]string{"hard": "symmetric", "blocked": "UDP blocked", "": "not known"}
	word := func(s string) string {
		if w, ok := words[s]; ok {
			return w
		}
		return s
	}
	four, six := e.GetNat4(), e.GetNat6()
	switch {
	case six == "" || four == six:
		return word(four)
	case four == "":
		return word(six)
	}
	return word(four) + " (IPv4) " + word(six) + " (IPv6)"
}
