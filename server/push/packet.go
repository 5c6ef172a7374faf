package push

import (
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// packetBytes is how much goes into one Batch: enough that its frame weighs
// nothing, and little enough that a slow path carries it within Dead.
const packetBytes = 32 << 10

// encoded is a SyncResponse, marshalled.
type encoded []byte

func encode(m *weftv1.SyncResponse) (encoded, error) { return proto.Marshal(m) }

// message is a SyncResponse whose only content is bytes that are encoded already,
// as unknown fields, which marshalling copies as they are (protobuf: "unknown
// fields are preserved"). Marshalling a message that nobody changes is safe from
// many goroutines.
func message(b encoded) *weftv1.SyncResponse {
	out := &weftv1.SyncResponse{}
	out.ProtoReflect().SetUnknown([]byte(b))
	return out
}

// Field numbers of sync.proto.
const (
	fieldBatch    = protowire.Number(90) // of SyncResponse
	fieldMessages = protowire.Number(1)  // of Batch
)

// pack puts what is encoded into messages: one for each, or, for an agent that
// takes batches, as few as packetBytes allows.
func pack(all []encoded, batches bool) []*weftv1.SyncResponse {
	var out []*weftv1.SyncResponse
	if !batches {
		for _, e := range all {
			out = append(out, message(e))
		}
		return out
	}
	var body []byte
	flush := func() {
		if len(body) > 0 {
			b := protowire.AppendTag(make([]byte, 0, len(body)+16), fieldBatch, protowire.BytesType)
			out = append(out, message(protowire.AppendBytes(b, body)))
			body = body[:0]
		}
	}
	for _, e := range all {
		if len(body)+len(e) > packetBytes {
			flush()
		}
		body = protowire.AppendTag(body, fieldMessages, protowire.BytesType)
		body = protowire.AppendBytes(body, e)
	}
	flush()
	return out
}
