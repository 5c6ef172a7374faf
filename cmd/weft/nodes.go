package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
)

// more asks for tunnels, for nodes when one is behind, and for everything with -o wide.
func (r *report) more(ctx context.Context, c *cli, conn *grpc.ClientConn, o *output) error {
	r.askTunnels(ctx, c, conn)
	if o.format == asWide {
		answer, err := weftv1.NewMeshClient(conn).Matrix(ctx, &weftv1.MatrixRequest{})
		if err != nil {
			return err
		}
		r.pairs = answer.GetPairs()
	}
	if o.format != asWide && r.GetNodesInStep() == r.GetNodes() {
		return nil
	}
	answer, err := weftv1.NewNodesClient(conn).List(ctx, &weftv1.NodesListRequest{})
	r.nodes = answer.GetNodes()
	return err
}

// most is how many nodes a line names.
const most = 5

// behindText names the nodes that are heard and not in step, with their lag. One
// that is away is a problem, which tells the same.
func (c *cli) behindText(r *report) string {
	if r.GetNodesInStep() == r.GetNodes() {
		return ""
	}
	var words []string
	for _, n := range r.nodes {
		lag := r.GetRevision() - n.GetAppliedRevision()
		if lag <= 0 || n.GetState() == "Away" {
			continue
		}
		if len(words) == most {
			words = append(words, "…")
			break
		}
		words = append(words, fmt.Sprintf("%s at %d (%d less, heard %s ago)", n.GetName(), n.GetAppliedRevision(), lag, table.Since(n.GetHeardUnix(), c.now())))
	}
	return strings.Join(words, ", ")
}

func (c *cli) nodesText(o *output, r *report) string {
	t := table.Table{Titles: []string{"NODE", "STATUS", "VERSION", "HEARD", "REV", "LAG", "PODS", "LEASE", "ADDRESSES"}}
	if c.colours {
		t.Paint = c.paintCell
	}
	for _, n := range r.nodes {
		t.Add(n.GetName(), n.GetState(), n.GetVersion(), table.Since(n.GetHeardUnix(), c.now()), number(n.GetAppliedRevision()),
			number(max(r.GetRevision()-n.GetAppliedRevision(), 0)), fmt.Sprint(n.GetEndpoints()),
			strings.Join(n.GetLease(), ","), addressText(n.GetAddresses()))
	}
	return t.Text(o.noHeaders)
}

func addressText(addresses []*weftv1.NodeAddress) string {
	var words []string
	for _, a := range addresses {
		words = append(words, fmt.Sprintf("%s %s mtu %d", a.GetDevice(), a.GetAddress(), a.GetMtu()))
	}
	return strings.Join(words, ", ")
}
