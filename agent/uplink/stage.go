package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Bounds on what one server can make an agent hold.
const (
	maxObjects    = 1 << 16  // 10,000 nodes and then some
	maxBytes      = 64 << 20 // of keys and values
	maxCollection = 64       // bytes of a collection's name
	maxKey        = 1024     // bytes of a key
)

type objectID struct{ collection, key string }

// stage is the set of objects that a stream is building. It starts from what the
// agent holds, or from nothing between the brackets of ReplaceAll.
type stage struct {
	objects map[objectID]intent.Object
	bytes   int
	inside  bool // between ReplaceAll begin and end
	whole   bool // a full set came on this stream and is not yet adopted
	changed bool // some object differs from what is adopted
	decoder intent.Decoder
}

func newStage(held []intent.Object) *stage {
	s := &stage{objects: make(map[objectID]intent.Object, len(held))}
	for _, o := range held {
		s.put(o)
	}
	return s
}

// apply takes one message. An error means that the server broke the protocol:
// the stream ends and the next asks for a full set.
func (s *stage) apply(m *weftv1.SyncResponse) error {
	switch m := m.GetMessage().(type) {
	case *weftv1.SyncResponse_Set:
		return s.set(m.Set)
	case *weftv1.SyncResponse_Delete:
		s.drop(objectID{m.Delete.GetCollection(), m.Delete.GetKey()})
	case *weftv1.SyncResponse_ReplaceAll:
		return s.bracket(m.ReplaceAll.GetPhase())
	case *weftv1.SyncResponse_Complete:
		if s.inside {
			return errors.New("complete before the full set ended")
		}
	}
	return nil
}

func (s *stage) set(m *weftv1.Set) error {
	o := intent.Object{Collection: m.GetCollection(), Key: m.GetKey(), Revision: m.GetRevision(), Value: m.GetValue()}
	if o.Collection == "" || len(o.Collection) > maxCollection || o.Key == "" || len(o.Key) > maxKey {
		return fmt.Errorf("object with a collection of %d and a key of %d bytes: 1 to %d and 1 to %d are taken",
			len(o.Collection), len(o.Key), maxCollection, maxKey)
	}
	s.put(o)
	if len(s.objects) > maxObjects || s.bytes > maxBytes {
		return fmt.Errorf("more than %d objects or %d bytes", maxObjects, maxBytes)
	}
	return nil
}

func (s *stage) put(o intent.Object) {
	id := objectID{o.Collection, o.Key}
	s.drop(id)
	s.objects[id] = o
	s.bytes += weight(o)
	s.changed = true
}

func (s *stage) drop(id objectID) {
	if o, ok := s.objects[id]; ok {
		s.bytes -= weight(o)
		delete(s.objects, id)
		s.changed = true
	}
}

func (s *stage) bracket(phase weftv1.ReplaceAll_Phase) error {
	switch {
	case phase == weftv1.ReplaceAll_PHASE_BEGIN:
		*s = stage{objects: map[objectID]intent.Object{}, inside: true, whole: true, changed: true, decoder: s.decoder}
	case phase == weftv1.ReplaceAll_PHASE_END && s.inside:
		s.inside = false
	default:
		return fmt.Errorf("full set: %v out of turn", phase)
	}
	return nil
}

// adopted notes that what is staged now stands.
func (s *stage) adopted() { s.whole, s.changed = false, false }

// list returns the objects by collection and key.
func (s *stage) list() []intent.Object {
	out := make([]intent.Object, 0, len(s.objects))
	for _, o := range s.objects {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b intent.Object) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Key, b.Key))
	})
	return out
}

func weight(o intent.Object) int { return len(o.Collection) + len(o.Key) + len(o.Value) }
