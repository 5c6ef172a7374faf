package adopt

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/push"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Bounds on what agents may say, and times of asking.
const (
	maxWords     = 1 << 15 // agents
	maxPeers     = 1 << 14 // of one
	maxPeerBytes = 16 << 20
	answerWithin = 20 * time.Second

	gatherLeast = 5 * time.Second  // agents come back within a second or two
	gatherMost  = 30 * time.Second // for those that somebody knows
	comeBack    = 2                // seconds, for one that was heard
)

const reason = "the servers' store was lost and is being rebuilt from what agents carry; this node's is known"

// Collector asks agents what they carry. It is a NodeSync that serves nothing.
type Collector struct {
	weftv1.UnimplementedNodeSyncServer
	Identify func(ctx context.Context) (string, error)
	Log      *slog.Logger

	mu    sync.Mutex
	words map[string]Word
	first time.Time // of the first word
	heard chan struct{}
}

// NewCollector returns a Collector.
func NewCollector(identify func(ctx context.Context) (string, error), log *slog.Logger) *Collector {
	return &Collector{Identify: identify, Log: log, words: map[string]Word{}, heard: make(chan struct{}, 1)}
}

// Sync implements weftv1.NodeSyncServer.
func (c *Collector) Sync(g grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse]) error {
	name, err := c.Identify(g.Context())
	if err != nil {
		return err
	}
	m, err := g.Recv()
	if err != nil {
		return err
	}
	hello := m.GetHello()
	if hello.GetNode() != name {
		return status.Errorf(codes.PermissionDenied, "the certificate is node %s's, and it may not speak for %q", name, hello.GetNode())
	}
	self, err := push.Carried(hello)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "hello's report: %v", err)
	}
	w := Word{Self: self, Epoch: hello.GetEpoch()}
	if hello.GetProtocol() > 0 {
		if err := g.Send(push.Welcome()); err != nil {
			return err
		}
	}
	if hello.GetClaims() && !c.has(name, hello) {
		if err := c.ask(g, &w); err != nil {
			return err
		}
	}
	if err := c.add(w); err != nil {
		return err
	}
	return errors.Join(g.Send(push.Backoff(comeBack, reason)), status.Error(codes.Unavailable, reason))
}

// ask has an agent tell all that it carries.
func (c *Collector) ask(g grpc.BidiStreamingServer[weftv1.SyncRequest, weftv1.SyncResponse], w *Word) error {
	if err := g.Send(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_AskClaims{AskClaims: &weftv1.AskClaims{}}}); err != nil {
		return err
	}
	bytes := 0
	for until := time.Now().Add(answerWithin); ; {
		m, err := g.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = status.Error(codes.Canceled, "the agent went")
			}
			return err
		}
		if time.Now().After(until) {
			return status.Errorf(codes.DeadlineExceeded, "what node %s carries did not come", w.Self.Node)
		}
		claims := m.GetClaims()
		if claims == nil {
			continue // what it reports beside
		}
		if claims.GetCluster() != nil {
			w.Cluster = claims.GetCluster()
		}
		for _, b := range claims.GetPeers() {
			if bytes += len(b); len(w.Peers) >= maxPeers || bytes > maxPeerBytes {
				return status.Errorf(codes.ResourceExhausted, "node %s carries more than %d peers or %d bytes", w.Self.Node, maxPeers, maxPeerBytes)
			}
			p, err := push.Claim(b, claims.GetRevision())
			if err != nil {
				return status.Errorf(codes.InvalidArgument, "claims: %v", err)
			}
			if p.Node == w.Self.Node {
				w.Self.Labels = p.Labels
			}
			w.Peers = append(w.Peers, p)
		}
		if claims.GetLast() {
			return nil
		}
	}
}

// has tells whether an agent was heard, and says the same again.
func (c *Collector) has(name string, hello *weftv1.Hello) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.words[name]
	return ok && w.Epoch == hello.GetEpoch() && w.Self.Revision == hello.GetRevision()
}

func (c *Collector) add(w Word) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.words[w.Self.Node]
	if !ok && len(c.words) >= maxWords {
		return status.Errorf(codes.ResourceExhausted, "more than %d agents came", maxWords)
	}
	if ok && w.Peers == nil {
		w.Peers, w.Cluster = old.Peers, old.Cluster
	}
	if c.first.IsZero() {
		c.first = time.Now()
	}
	c.words[w.Self.Node] = w
	if !ok {
		c.Log.Info("agent was heard", note.Node, w.Self.Node, note.Lease, w.Self.Prefixes, note.Rev, w.Self.Revision, note.Objects, len(w.Peers))
	}
	select {
	case c.heard <- struct{}{}:
	default:
	}
	return nil
}

// Gather waits until all nodes that somebody carries have come, 5 s after the
// first at the earliest and 30 s at the latest.
func (c *Collector) Gather(ctx context.Context) ([]Word, error) {
	for {
		words, wait := c.state(time.Now())
		if wait <= 0 {
			return words, nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-c.heard:
			t.Stop()
		case <-t.C:
		}
	}
}

// state is what was said, and how long to wait for more.
func (c *Collector) state(now time.Time) ([]Word, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first.IsZero() {
		return nil, time.Hour // the first one wakes us
	}
	words := slices.SortedFunc(maps.Values(c.words), func(a, b Word) int { return compareNames(a.Self, b.Self) })
	until := c.first.Add(gatherMost)
	if len(Missing(words)) == 0 {
		until = c.first.Add(gatherLeast)
	}
	return words, until.Sub(now)
}

func compareNames(a, b kind.Claim) int {
	switch {
	case a.Node < b.Node:
		return -1
	case a.Node > b.Node:
		return 1
	}
	return 0
}
