package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Get implements weftv1.StatusServer.
func (s *fabric) Get(ctx context.Context, _ *weftv1.StatusGetRequest) (*weftv1.StatusGetResponse, error) {
	g, err := s.glance(ctx)
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.StatusGetResponse{
		Fabric: s.Fabric, Epoch: s.Hub.Epoch(), EpochOrdinal: s.Ordinal, Revision: s.Hub.Revision(), Etcd: g.etcd, Backups: g.backups,
		Problems: s.problems(g), SilentSinceUnix: silentUnix(g.view.silent), Server: s.Name,
	}
	if out.Servers, err = s.Servers(ctx); err != nil {
		return nil, answer(err)
	}
	if ends := s.CAEnds(); !ends.IsZero() {
		out.CaEndsUnix = ends.Unix()
	}
	if s.FirstToEnd != nil {
		out.FirstToEnd = s.FirstToEnd()
	}
	for _, n := range g.view.members() {
		out.Nodes++
		h := s.health(n)
		if h.inStep {
			out.NodesInStep++
		}
		if h.push.Looking && (h.state == ready || h.state == degraded) {
			out.Looking = append(out.Looking, n.name)
		}
	}
	out.Paths = s.pathCounts(g)
	if g.pending.ID != "" {
		out.Confirmations = append(out.Confirmations, g.pending.wire())
	}
	return out, nil
}

// glance is what status and problems are read from.
type glance struct {
	view    *view
	etcd    *weftv1.EtcdStatus
	backups *weftv1.BackupStatus
	pending pending
	paths   map[string]kind.PathsObservation // by node
	// carriage is how nodes send.
	carriage kind.CarriageSpec
}

// glance reads it; while the store answers nobody only what is remembered.
func (s *Server) glance(ctx context.Context) (glance, error) {
	var g glance
	silent, err := s.heard(ctx, func(ctx context.Context) (err error) {
		if g.view, _, err = s.read(ctx, parts[kind.Node]); err != nil {
			return err
		}
		if g.etcd, err = s.Etcd(ctx); err != nil {
			return err
		}
		if s.Backups != nil {
			if g.backups, err = s.Backups(ctx); err != nil {
				return err
			}
		}
		if g.paths, err = s.summaries(ctx); err != nil {
			return err
		}
		if g.carriage, err = s.carriage(ctx); err != nil {
			return err
		}
		g.pending, err = s.waiting(ctx)
		return err
	})
	if !silent.IsZero() {
		return glance{view: s.remembered(silent)}, nil
	}
	return g, err
}

// watchEvery is how often a watched status is looked at again.
const watchEvery = 2 * time.Second

// Watch implements weftv1.StatusServer.
func (s *fabric) Watch(_ *weftv1.StatusWatchRequest, stream grpc.ServerStreamingServer[weftv1.StatusWatchResponse]) error {
	select {
	case s.watches <- struct{}{}:
		defer func() { <-s.watches }()
	default:
		return errWatched
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var last *weftv1.StatusGetResponse
	for {
		now, err := s.Get(stream.Context(), &weftv1.StatusGetRequest{})
		if err != nil {
			return err
		}
		if !proto.Equal(last, now) {
			if err := stream.Send(&weftv1.StatusWatchResponse{Status: now}); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-stream.Context().Done():
			return answer(context.Cause(stream.Context()))
		case <-tick.C:
		}
	}
}

// ListProblems implements weftv1.StatusServer.
func (s *fabric) ListProblems(ctx context.Context, _ *weftv1.ListProblemsRequest) (*weftv1.ListProblemsResponse, error) {
	g, err := s.glance(ctx)
	if err != nil {
		return nil, answer(err)
	}
	return &weftv1.ListProblemsResponse{Problems: s.problems(g)}, nil
}

// problems is everything that a person should know: of the fabric, then by node,
// then of backups.
func (s *Server) problems(g glance) []*weftv1.Problem {
	out := confirmProblems(g.pending)
	for _, p := range s.Hub.Problems() {
		out = append(out, &weftv1.Problem{Subject: strings.TrimPrefix(p.Key, "/"), Cause: p.Cause, Remedy: p.Do})
	}
	if s.ServerProblems != nil {
		out = append(out, s.ServerProblems()...)
	}
	if quota := g.etcd.GetQuotaBytes(); quota > 0 && g.etcd.GetSizeBytes() > quota/5*4 {
		out = append(out, &weftv1.Problem{
			Subject: "etcd", Cause: fmt.Sprintf("etcd holds %d MiB of %d MiB; at the quota nothing can be written any more", g.etcd.GetSizeBytes()>>20, quota>>20),
			Remedy: "compact and defragment etcd, or raise its quota",
		})
	}
	if s.Identities != nil {
		out = append(out, s.Identities()...)
	}
	out = append(out, s.changeProblems(g)...)
	said := s.witnesses(g.view, g.paths)
	for _, n := range g.view.members() {
		out = append(out, s.nodeProblems(n, said)...)
	}
	return append(out, g.backups.GetProblems()...)
}

// lagText begins the problem of a node that is away with how much it has not heard
// of. One that is of another epoch, or applied nothing yet, is not counted.
func (s *Server) lagText(h health) string {
	switch lag := s.Hub.Revision() - h.applied; {
	case h.applied == 0 || lag <= 0:
		return ""
	case lag == 1:
		return "1 revision behind, "
	default:
		return fmt.Sprintf("%d revisions behind, ", lag)
	}
}

// mayCome says of a node that was never heard that this is no problem of its own: it
// joined or this server began a moment ago, or it was renamed, which Identities tell.
func (s *Server) mayCome(n *node) bool {
	const moment = 15 * time.Second // an agent tries again within a second; a machine may be slow
	since := time.Unix(max(n.created(), s.Since.Unix()), 0)
	return s.Now().Sub(since) < moment || s.Awaited != nil && s.Awaited(n.name)
}

// nodeProblems are those of a node; said is what the nodes that are heard told of their
// pairs, where it is known.
func (s *Server) nodeProblems(n *node, said map[string]sends) []*weftv1.Problem {
	h := s.health(n)
	var out []*weftv1.Problem
	switch {
	case h.state == away && h.push.HeardUnix > 0:
		heard := time.Unix(h.push.HeardUnix, 0)
		out = append(out, &weftv1.Problem{
			Node: n.name, Subject: "agent", SinceUnix: h.push.HeardUnix,
			Cause:  s.lagText(h) + fmt.Sprintf("agent last heard %s ago", age(s.Now().Sub(heard))),
			Remedy: gone(n.name, said),
		})
	case h.state == away && s.mayCome(n):
	case h.state == away:
		out = append(out, &weftv1.Problem{
			Node: n.name, Subject: "agent", SinceUnix: n.created(), Cause: "its agent joined and never connected: it is stopped, or has found no address for the fabric yet",
			Remedy: "on " + n.name + ": weft status --local, systemctl status weft-agent; if the node is gone: weft delete node " + n.name,
		})
	case len(n.prefixes) == 0:
		out = append(out, &weftv1.Problem{
			Node: n.name, Subject: "lease", SinceUnix: n.created(), Cause: "the node has no lease: its pods get no addresses",
			Remedy: "see whether the ranges are used up (weft get leases), and add one to ClusterConfig/default spec.clusterCIDRs",
		})
	}
	if h.state == unknown { // what it said last, to another server, may be long over
		return nil
	}
	for _, p := range h.push.Problems {
		out = append(out, &weftv1.Problem{Node: n.name, Subject: p.Subject, Cause: p.Cause, Remedy: p.Remedy, SinceUnix: p.SinceUnix})
	}
	for _, e := range h.push.ObjectErrors {
		if slices.ContainsFunc(h.push.Problems, func(p kind.Problem) bool { return p.Subject == e.Key && strings.HasSuffix(p.Cause, e.Error) }) {
			continue // an agent says of what it does not understand that it has a problem, too
		}
		out = append(out, &weftv1.Problem{Node: n.name, Subject: e.Collection + " " + e.Key, Cause: e.Error, Remedy: e.Remedy})
	}
	return slices.Clip(out)
}
