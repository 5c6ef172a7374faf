package push

import (
	"slices"
	"sync"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// manner is how a stream is told: streams of one manner, at one place, are told
// the same bytes.
type manner struct {
	version uint32 // compile version: it says which collections the agent knows
	batches bool
	digest  bool // Complete says what the set should be
}

// request is what a stream is to be told: what changed from a place on, or all.
type request struct {
	manner
	whole bool
	place uint64

	settling bool // Complete says so
	claimed  bool // and that claims were heard
}

// rounds are the messages that bring streams to where the hub is, each made once.
// They are forgotten when the hub moves on.
type rounds struct {
	mu       sync.Mutex
	revision int64
	end      uint64
	made     map[request][]*weftv1.SyncResponse
	count    int // that were made, ever
}

// maxRounds bounds how many are kept: streams that lag do so at many places.
const maxRounds = 64

// take answers with the messages of a request, as make gives them.
func (r *rounds) take(q request, revision int64, end uint64, make func() []*weftv1.SyncResponse) []*weftv1.SyncResponse {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revision != revision || r.end != end || r.made == nil || len(r.made) >= maxRounds {
		r.made = map[request][]*weftv1.SyncResponse{}
		r.revision, r.end = revision, end
	}
	messages, ok := r.made[q]
	if !ok {
		messages = make()
		r.made[q] = messages
		r.count++
	}
	return messages
}

// told is what a stream sends to be where the hub is.
type told struct {
	messages []*weftv1.SyncResponse
	revision int64
	place    uint64 // where the stream is then
	objects  bool   // among the messages
	whole    bool   // all of them
}

// next is what a stream sends now: everything that changed since it was told, as
// of one revision, and then Complete; nothing if there is nothing new.
func (h *Hub) next(s *stream) told {
	h.mu.RLock()
	defer h.mu.RUnlock()
	d := s.due()
	changes, known := h.history.from(d.place)
	q := request{manner: s.manner, whole: d.whole || !known, place: d.place, settling: h.settling, claimed: s.hasClaimed()}
	t := told{revision: h.revision, place: h.history.end(), whole: q.whole}
	t.objects = q.whole || len(changes)+len(d.extra) > 0
	if !t.objects && h.revision == d.sent && !d.again {
		return t
	}
	own := len(d.extra) > 0 || h.limited > 0 || slices.ContainsFunc(changes, func(c change) bool { return c.was.Limited() })
	make := func() []*weftv1.SyncResponse { return pack(h.tell(s, q, changes, d.extra), s.batches) }
	if own {
		t.messages = make()
	} else {
		t.messages = h.rounds.take(q, h.revision, t.place, make)
	}
	return t
}

// tell encodes what a stream has to be told. h.mu is held.
func (h *Hub) tell(s *stream, q request, changes []change, extra []ref) []encoded {
	var out []encoded
	if q.whole {
		out = append(out, h.begin)
		for _, r := range h.order {
			if o := h.objects[r]; s.wants(o) {
				out = append(out, o.set)
			}
		}
		out = append(out, h.end)
	} else {
		for _, r := range s.concerned(changes, extra) {
			if o, ok := h.objects[r]; ok && s.wants(o) {
				out = append(out, o.set)
			} else if s.understands(r.collection) {
				out = append(out, must(deletion(r, h.revision)))
			}
		}
	}
	done := complete(h.cfg.Epoch, h.revision, s.version, h.digest(s))
	done.GetComplete().Settling, done.GetComplete().Claimed = q.settling, q.claimed
	return append(out, must(done))
}

// concerned lists the objects of changes that are a stream's, each once, sorted.
func (s *stream) concerned(changes []change, extra []ref) []ref {
	out := slices.Clone(extra)
	for _, c := range changes {
		if c.of(s.name) {
			out = append(out, c.ref)
		}
	}
	slices.SortFunc(out, ref.compare)
	return slices.Compact(out)
}

// digest is that of all objects which a stream's agent should hold; 0 for an agent
// that does not ask. h.mu is held.
func (h *Hub) digest(s *stream) (sum uint64) {
	if !s.digest {
		return 0
	}
	for _, c := range s.knows {
		sum += h.digests[c]
	}
	if h.limited > 0 {
		for _, o := range h.objects {
			if o.Audience.Limited() && s.wants(o) {
				sum += o.digest
			}
		}
	}
	return sum
}
