package push

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Who comes as a node that has a stream may be a copy of its data folder. Before
// anything of it is stored or told to peers, the holder is asked whether it lives.
const (
	// MethodContest is of Members.Ask: ContestRequest, ContestResponse.
	MethodContest = "Contest"
	// methodPulse is no method of an agent's: that it has none is an answer too.
	methodPulse = "GetPulse"
	// pulseWait is how long a holder may take that answers questions: two lost
	// packets and a busy machine. Who lives answers at once; this is what a node
	// waits that lost power.
	pulseWait = 2 * time.Second
	// elsewhereWait is for the way to another server and back, beside its own wait.
	elsewhereWait = time.Second
	backoffDoubt  = 2 // seconds, while it cannot be known whether the holder lives
)

// holder is who has a node's stream.
type holder struct {
	speaker
	since time.Time // zero: not known
	retry uint32    // seconds, for the other
}

func (h holder) String() string {
	if h.since.IsZero() {
		return h.speaker.String()
	}
	return fmt.Sprintf("%v since %s", h.speaker, h.since.UTC().Format(time.RFC3339))
}

// contest sends an agent away that comes while another one speaks as its node and
// lives. A process that came back, and one of the same start of the same machine at
// the same address, is no other: it holds at once.
func (s *stream) contest() error {
	by, lives := s.hub.rival(s)
	if !lives {
		return nil
	}
	wait := time.Duration(by.retry) * time.Second
	s.hub.cfg.Log.Warn("agent not let in", note.Node, s.name, note.Conn, s.remote, note.Err, "another one speaks as this node, from "+by.String(), note.Retry, wait)
	return s.sendAway(by.retry, codes.Aborted, fmt.Sprintf("node %s speaks from %v, and %v is another; look: weft status", s.name, by, s.speaker))
}

// rival is the other that keeps the stream's agent away.
func (h *Hub) rival(s *stream) (holder, bool) {
	h.mu.RLock()
	old, w, n := h.streams[s.name], h.words[s.name], h.nodes[s.name]
	h.mu.RUnlock()
	switch {
	case old != nil:
		return h.heldHere(s.ctx, old, s.speaker)
	case w.run == "" || w.speaker.same(s.speaker):
	case w.gone || w.run == h.cfg.Run: // it has left; of two that were here it may be back first
		return holder{speaker: w.speaker, retry: backoffDoubt}, w.double && w.speaker.strange(s.speaker) && h.nodeOf(s.name).inDoubt(h.cfg.Dead)
	case !w.speaker.twin(s.speaker) || n != nil && n.disputed():
		return h.heldElsewhere(s, w)
	}
	return holder{}, false
}

// heldHere is old's agent if it keeps another from the node's stream.
func (h *Hub) heldHere(ctx context.Context, old *stream, by speaker) (holder, bool) {
	out := holder{speaker: old.speaker, since: old.node.since()}
	if old.speaker.twin(by) {
		out.retry = h.contested(old.node, old.speaker, by, 2*h.cfg.Heartbeat)
	} else if old.lives(ctx) {
		out.retry = h.keepOut(old.node, out, by)
	}
	if out.retry > 0 {
		h.observed.node(old.node)
	}
	return out, out.retry > 0
}

// lives asks the stream's agent for a word, whatever it says.
func (s *stream) lives(ctx context.Context) bool {
	heard, patience := s.pulse.next(), s.hub.cfg.Heartbeat+time.Second
	if s.answers {
		patience = pulseWait
		if id, q := s.ask(ctx, methodPulse, nil); q != nil { // else others have asked
			defer s.unask(id)
			s.kick()
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-heard:
		return s.ctx.Err() == nil
	case <-late.C:
	case <-s.ctx.Done():
	case <-ctx.Done():
	}
	return false
}

// heldElsewhere has the server asked that wrote the node's last word.
func (h *Hub) heldElsewhere(s *stream, w word) (holder, bool) {
	ctx, cancel := context.WithTimeout(s.ctx, h.cfg.Heartbeat+time.Second+elsewhereWait)
	defer cancel()
	server, there := h.serverOf(ctx, w.run)
	if !there || h.cfg.AskAt == nil {
		return holder{}, false
	}
	out := holder{speaker: w.speaker, retry: backoffDouble}
	request, err := proto.Marshal(&weftv1.ContestRequest{Speaker: wireSpeaker(s.speaker)})
	if err != nil {
		return holder{}, false
	}
	answer, err := h.cfg.AskAt(ctx, server, s.name, MethodContest, request)
	switch {
	case status.Code(err) == codes.Unimplemented:
		return out, !w.speaker.twin(s.speaker) // of an earlier release: the agent itself answered that it does not know this
	case err != nil: // the server is away, or the stream
		h.cfg.Log.Info("who speaks as the node could not be asked", note.Node, s.name, note.Server, server, note.Err, err)
		out.retry = backoffDoubt
		return out, w.speaker.strange(s.speaker) && h.nodeOf(s.name).inDoubt(h.cfg.Dead)
	}
	var r weftv1.ContestResponse
	if err := proto.Unmarshal(answer, &r); err != nil || !r.GetAlive() {
		return holder{}, false
	}
	out.speaker, out.retry = readSpeaker(r.GetSpeaker()), max(r.GetRetrySeconds(), 1)
	if at := r.GetSpeaker().GetSinceUnix(); at > 0 {
		out.since = time.Unix(at, 0)
	}
	return out, true
}

// serverOf is the server that runs as run, as far as is stored.
func (h *Hub) serverOf(ctx context.Context, run string) (string, bool) {
	entries, _, err := h.cfg.Store.List(ctx, kind.ObservedServers)
	if err != nil {
		return "", false // who is there is let in
	}
	for _, e := range entries {
		server, its, _ := strings.Cut(strings.TrimPrefix(e.Key, kind.ObservedServers), "/")
		o, err := kind.DecodeObservation[kind.ServerObservation](e)
		if err == nil && its == run && !o.Gone && time.Since(time.Unix(o.HeardUnix, 0)) < 2*h.cfg.Refresh {
			return server, true
		}
	}
	return "", false
}

// Handed is Ask for another server, which may also contest a node's stream.
func (h *Hub) Handed(ctx context.Context, node, method string, request []byte) ([]byte, error) {
	if method != MethodContest {
		return h.Ask(ctx, node, method, request)
	}
	var r weftv1.ContestRequest
	if err := proto.Unmarshal(request, &r); err != nil {
		return nil, refuse(codes.InvalidArgument, "contest of node %s: %v", node, err)
	}
	h.mu.RLock()
	s := h.streams[node]
	h.mu.RUnlock()
	if s == nil {
		return nil, ErrNotHere
	}
	by, lives := h.heldHere(ctx, s, readSpeaker(r.GetSpeaker()))
	out := &weftv1.ContestResponse{Alive: lives, Speaker: wireSpeaker(by.speaker), RetrySeconds: by.retry}
	out.Speaker.SinceUnix = by.since.Unix()
	return proto.Marshal(out)
}

func wireSpeaker(s speaker) *weftv1.ContestSpeaker {
	out := &weftv1.ContestSpeaker{Machine: s.machine, Boot: s.boot, Instance: s.instance}
	if s.addr.IsValid() {
		out.Address = s.addr.String()
	}
	return out
}

// readSpeaker bounds what another server says: it is shown to operators.
func readSpeaker(m *weftv1.ContestSpeaker) speaker {
	out := speaker{machine: clip(m.GetMachine(), maxText), boot: clip(m.GetBoot(), maxText), instance: clip(m.GetInstance(), maxText)}
	out.addr, _ = netip.ParseAddr(m.GetAddress()) // none: it is not known
	return out
}
