package push

import (
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/compile"
)

// schemas is what this release sends: of each collection, the lowest schema whose
// readers make sense of it. Fields that were added since are passed over by them.
var schemas = []struct {
	collection string
	oldest     uint32
}{
	{intent.CollectionCluster, 1},
	{intent.CollectionPeers, 1},
	{intent.CollectionPause, 1},
	{intent.CollectionEgress, 1},
}

// object is one object, encoded.
type object struct {
	compile.Object
	set    encoded // the message that gives it its value
	digest uint64
}

func newObject(o compile.Object) (object, error) {
	b, err := encode(&weftv1.SyncResponse{Message: &weftv1.SyncResponse_Set{Set: toSet(o.Object)}})
	if err != nil {
		return object{}, fmt.Errorf("push: encode: %w", err)
	}
	return object{Object: o, set: b, digest: o.Object.Digest()}, nil
}

func toSet(o intent.Object) *weftv1.Set {
	return &weftv1.Set{Collection: o.Collection, Key: o.Key, Revision: o.Revision, Value: o.Value}
}

// must encodes a message of our own.
func must(m *weftv1.SyncResponse) encoded {
	b, err := encode(m)
	if err != nil {
		panic(err) // with valid UTF-8, for keys are names: a bug
	}
	return b
}

func deletion(r ref, rev int64) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Delete{Delete: &weftv1.Delete{Collection: r.collection, Key: r.key, Revision: rev}}}
}

func bracket(p weftv1.ReplaceAll_Phase) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_ReplaceAll{ReplaceAll: &weftv1.ReplaceAll{Phase: p}}}
}

func complete(epoch string, rev int64, version uint32, digest uint64) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Complete{Complete: &weftv1.Complete{Epoch: epoch, Revision: rev, CompileVersion: version, Digest: digest}}}
}

func beat(sequence int64) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Heartbeat{Heartbeat: &weftv1.Heartbeat{Sequence: sequence, UnixMilli: time.Now().UnixMilli()}}}
}

func backoff(seconds uint32, reason string) *weftv1.SyncResponse {
	return &weftv1.SyncResponse{Message: &weftv1.SyncResponse_Backoff{Backoff: &weftv1.Backoff{Seconds: seconds, Reason: reason}}}
}

// understood lists the collections that an agent can be sent.
func understood(cs []*weftv1.CollectionVersion) []string {
	var out []string
	for _, s := range schemas {
		if slices.ContainsFunc(cs, func(c *weftv1.CollectionVersion) bool {
			return c.GetCollection() == s.collection && c.GetSchema() >= s.oldest
		}) {
			out = append(out, s.collection)
		}
	}
	return out
}

func allCollections() []string {
	var out []string
	for _, s := range schemas {
		out = append(out, s.collection)
	}
	return out
}

// versionFor is the compile version of what an agent is sent. One that does not
// understand everything gets a version of its own, so that it asks for a full
// set once it has been upgraded and does: its revision alone would not tell what
// it was never sent. Agents compare versions and do not interpret them.
func versionFor(collections []string) uint32 {
	if len(collections) == len(schemas) {
		return intent.CompileVersion
	}
	h := fnv.New32a()
	for _, c := range collections {
		h.Write([]byte(c + "\n"))
	}
	return 1<<31 | h.Sum32()<<8>>1 | intent.CompileVersion&0x7f
}
