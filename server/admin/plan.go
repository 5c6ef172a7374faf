package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxPlan bounds an answer to Plan, in bytes: every node's intent is in it twice.
const maxPlan = 64 << 20

// Plan implements weftv1.ResourcesServer. A node for which nothing changes is in
// the answer without its intents.
func (s *resources) Plan(ctx context.Context, r *weftv1.PlanRequest) (*weftv1.PlanResponse, error) {
	entries, rev, err := s.Store.List(ctx, store.Intent)
	if err != nil {
		return nil, answer(err)
	}
	after := map[string]store.Entry{}
	for _, e := range entries {
		after[e.Key] = e
	}
	if err := s.planned(ctx, r, after, rev+1); err != nil {
		return nil, answer(err)
	}
	old, _ := compile.All(entries)
	changed, _ := compile.All(slices.Collect(maps.Values(after)))
	v := newView()
	for _, e := range entries {
		v.take(e)
	}
	before := s.intent(old, rev)
	out, err := s.plans(v, after, before, s.intent(changed, rev+1))
	if err == nil {
		s.sends(ctx, told(before, ""), out.GetNodes())
	}
	return out, answer(err)
}

// sends brings into plans how nodes send now, where pairs choose their way: by which way
// each of them goes, no intent tells. It asks those for which something changes.
func (s *resources) sends(ctx context.Context, all intent.Node, plans []*weftv1.NodePlan) {
	if !all.Cluster.Meshed() || len(all.Peers) > maxMatrix {
		return
	}
	var asked []intent.Peer
	for _, n := range plans {
		if p, ok := all.Peer(n.GetNode()); ok && n.GetBefore() != nil {
			asked = append(asked, p)
		}
	}
	said := (&mesh{Server: s.Server}).sendings(ctx, asked)
	for _, n := range plans {
		for _, peer := range slices.Sorted(maps.Keys(said[n.GetNode()].paths)) {
			p := said[n.GetNode()].paths[peer]
			m := &weftv1.NodeSending{Peer: peer, Rung: p.GetRung(), Slot: p.GetSlot()}
			if p.GetMtuProved() {
				m.Mtu = p.GetMtu()
			}
			n.Sends = append(n.Sends, m)
		}
	}
}

// planned does in memory what the request would do in the store.
func (s *Server) planned(ctx context.Context, r *weftv1.PlanRequest, entries map[string]store.Entry, rev int64) error {
	if len(r.GetApply())+len(r.GetDelete()) == 0 {
		return kind.FieldError{Field: "apply", Problem: "is empty, and delete is; plan what?"}
	}
	if len(r.GetApply()) > 0 {
		edits, err := s.edits(ctx, r.GetApply(), true)
		if err != nil {
			return err
		}
		if _, err := s.guard(ctx, edits); err != nil {
			return err
		}
		for _, e := range edits {
			if !e.changed() {
				continue
			}
			value, err := kind.Encode(e.after.Kind, e.after.Metadata, e.after.Spec)
			if err != nil {
				return err
			}
			entries[e.key] = store.Entry{Key: e.key, Value: value, Revision: rev}
			if otherCarrier(e) { // a plan is of where the steps of a carriage end
				delete(entries, kind.Key(kind.Carriage, "", kind.DefaultName))
			}
		}
	}
	if len(r.GetDelete()) == 0 {
		return nil
	}
	v, _, err := s.read(ctx, parts[kind.Node])
	if err != nil {
		return err
	}
	refs, err := s.deletable(v, r.GetDelete())
	if err != nil {
		return err
	}
	for _, r := range refs {
		delete(entries, kind.Key(r.kind, "", r.name))
		if r.kind == kind.Node {
			delete(entries, kind.Key(kind.Lease, "", r.name))
			delete(entries, kind.Key(kind.Report, "", r.name))
		}
	}
	return nil
}

// otherCarrier tells whether packets are to go between nodes another way.
func otherCarrier(e edit) bool {
	var was, spec kind.ClusterConfigSpec
	if e.after.Kind != kind.ClusterConfig || e.after.ReadSpec(&spec) != nil || e.before.revision == 0 || e.before.ReadSpec(&was) != nil {
		return false
	}
	before, err := compile.Cluster(was)
	after, err2 := compile.Cluster(spec)
	return err == nil && err2 == nil && !before.Carrier().Is(after.Carrier())
}

// intent is what all nodes are told: in this release every object goes to all.
func (s *Server) intent(objects []intent.Object, rev int64) *weftv1.NodeIntent {
	out := &weftv1.NodeIntent{Epoch: s.Hub.Epoch(), Revision: rev, CompileVersion: intent.CompileVersion}
	for _, o := range objects {
		out.Objects = append(out.Objects, &weftv1.Set{Collection: o.Collection, Key: o.Key, Revision: o.Revision, Value: o.Value})
	}
	return out
}

func (s *Server) plans(v *view, after map[string]store.Entry, before, then *weftv1.NodeIntent) (*weftv1.PlanResponse, error) {
	same := slices.EqualFunc(before.GetObjects(), then.GetObjects(), func(a, b *weftv1.Set) bool {
		return a.GetKey() == b.GetKey() && a.GetCollection() == b.GetCollection() && string(a.GetValue()) == string(b.GetValue())
	})
	out := &weftv1.PlanResponse{}
	size := 0
	for _, n := range v.members() {
		p := &weftv1.NodePlan{Node: n.name, Report: n.wireReport()}
		if !same {
			p.Before = before
			for _, o := range before.GetObjects() {
				size += 2 * len(o.GetValue())
			}
			if _, stays := after[kind.Key(kind.Report, "", n.name)]; stays {
				p.After = then
			}
		}
		if size > maxPlan {
			return nil, status.Error(codes.ResourceExhausted, fmt.Sprintf("a plan for %d nodes is larger than %d MiB; apply with --dry-run tells what changes in the objects", len(v.members()), maxPlan>>20))
		}
		out.Nodes = append(out.Nodes, p)
	}
	return out, nil
}

// wireReport is what a node last said of itself.
func (n *node) wireReport() *weftv1.NodeReport {
	out := &weftv1.NodeReport{VtepMac: n.report.VTEP, Labels: n.report.Labels, Addresses: n.addresses()}
	for _, a := range n.report.External {
		out.ExternalAddresses = append(out.ExternalAddresses, a.String())
	}
	for _, p := range n.prefixes {
		out.Lease = append(out.Lease, p.String())
	}
	return out
}

func (n *node) addresses() []*weftv1.NodeAddress {
	var out []*weftv1.NodeAddress
	for _, a := range n.report.Addresses {
		out = append(out, &weftv1.NodeAddress{Address: a.Address.String(), Device: a.Device, Mtu: uint32(max(a.MTU, 0))})
	}
	return out
}

// told is intent as a value: the cluster and all peers.
func told(w *weftv1.NodeIntent, name string) intent.Node {
	var objects []intent.Object
	for _, o := range w.GetObjects() {
		objects = append(objects, intent.Object{Collection: o.GetCollection(), Key: o.GetKey(), Revision: o.GetRevision(), Value: o.GetValue()})
	}
	n, _ := intent.Decode(name, w.GetEpoch(), w.GetCompileVersion(), w.GetRevision(), objects)
	return n
}
