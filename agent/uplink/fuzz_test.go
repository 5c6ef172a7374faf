package uplink

import (
	"testing"

	"github.com/weft-net/weft/agent/uplink/uplinktest"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// FuzzIntentFile: whatever is on the disk, decodeFile does not panic, and what it
// accepts is written back the same.
func FuzzIntentFile(f *testing.F) {
	set, _ := intent.NewSet([]intent.Object{{Collection: "peers", Key: "Node//n1", Revision: 3, Value: intent.EncodePeer(intent.Peer{Name: "n1"})}})
	good, err := encodeFile(&held{name: "n1", epoch: "e1", revision: 7, compile: 1, set: set})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add([]byte(`{"schema":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeFile(b)
		if err != nil {
			return
		}
		set, _ := intent.NewSet(got.objects())
		again, err := encodeFile(&held{got.Node, got.Epoch, got.Compile, got.Revision, set})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeFile(again); err != nil {
			t.Fatalf("written back, it is refused: %v", err)
		}
	})
}

// FuzzStage: no sequence of messages panics, and the books are right: the bytes
// counted are those held, and a refusal comes before the bounds are passed by
// more than one message.
func FuzzStage(f *testing.F) {
	script := func(ms ...*weftv1.SyncResponse) []byte {
		var out []byte
		for _, m := range ms {
			b, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			out = append(out, byte(len(b)))
			out = append(out, b...)
		}
		return out
	}
	f.Add(script(uplinktest.Begin(), uplinktest.Peer("n1"), uplinktest.Peer("n2"), uplinktest.End(), uplinktest.Complete("e", 1)))
	f.Add(script(uplinktest.Peer("n1"), uplinktest.Delete("peers", "Node//n1"), uplinktest.Complete("e", 1)))
	f.Add(script(uplinktest.Begin(), uplinktest.Begin(), uplinktest.Complete("e", 1)))
	f.Add(script(uplinktest.End()))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newStage(nil, intent.Read)
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			var m weftv1.SyncResponse
			if proto.Unmarshal(b[1:1+n], &m) == nil && s.apply(&m) != nil {
				return
			}
			b = b[1+n:]
			if set := s.complete(); set.Bytes() != s.bytes || set.Len() != s.objects || s.bytes > maxBytes || s.objects > maxObjects {
				t.Fatalf("%d bytes held, %d counted, %d objects, %d counted", set.Bytes(), s.bytes, set.Len(), s.objects)
			}
		}
		s.complete().Node("n1", "e", 1, 1)
	})
}

func TestStageIsBounded(t *testing.T) {
	s := newStage(nil, intent.Read)
	value := make([]byte, intent.MaxObject)
	for i := range 1000 {
		if err := s.apply(uplinktest.Set("peers", string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)), value)); err != nil {
			if s.bytes > maxBytes+len(value)+maxKey {
				t.Fatalf("%d bytes before it refused", s.bytes)
			}
			return
		}
	}
	t.Fatal("takes without bound")
}
