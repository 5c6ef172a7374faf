package uplink

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/schema"
)

const intentName = "intent.json"

// envelope lets a reader tell a newer schema and a damaged file from a good one
// before it looks inside.
type envelope struct {
	Schema int             `json:"schema"`
	Sum    string          `json:"sum"` // SHA-256 of Intent as written, hex
	Intent json.RawMessage `json:"intent"`
}

// filed is a complete intent as the file holds it.
type filed struct {
	Node     string        `json:"node"`
	Epoch    string        `json:"epoch"`
	Compile  uint32        `json:"compile"`
	Revision int64         `json:"revision"`
	Objects  []filedObject `json:"objects"`
}

type filedObject struct {
	Collection string `json:"collection"`
	Key        string `json:"key"`
	Revision   int64  `json:"revision"`
	Value      []byte `json:"value"`
}

func encodeFile(h *held) ([]byte, error) {
	f := filed{Node: h.name, Epoch: h.epoch, Compile: h.compile, Revision: h.revision, Objects: make([]filedObject, 0, h.set.Len())}
	for _, o := range h.set.Objects() {
		f.Objects = append(f.Objects, filedObject(o))
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	// The envelope is written by hand: json would read and copy the body again.
	sum := sha256.Sum256(body)
	b := make([]byte, 0, len(body)+128)
	b = fmt.Appendf(b, `{"schema":%d,"sum":"%x","intent":`, schema.Intent.Version(), sum)
	b = append(b, body...)
	return append(b, '}'), nil
}

// decodeFile reads what encodeFile wrote and refuses everything else. A
// schema.Newer tells a later release's file from a damaged one.
func decodeFile(b []byte) (filed, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return filed{}, fmt.Errorf("not an intent file: %w", err)
	}
	if err := schema.Intent.Check("it", e.Schema); err != nil {
		return filed{}, err
	}
	if sum := sha256.Sum256(e.Intent); hex.EncodeToString(sum[:]) != e.Sum {
		return filed{}, fmt.Errorf("half written or changed: its checksum does not match")
	}
	var f filed
	if err := json.Unmarshal(e.Intent, &f); err != nil {
		return filed{}, fmt.Errorf("not an intent: %w", err)
	}
	if f.Node == "" || f.Epoch == "" || f.Revision < 0 || len(f.Objects) > maxObjects {
		return filed{}, fmt.Errorf("incomplete: node %q epoch %q revision %d, %d objects", f.Node, f.Epoch, f.Revision, len(f.Objects))
	}
	return f, nil
}

func (f filed) objects() []intent.Object {
	out := make([]intent.Object, 0, len(f.Objects))
	for _, o := range f.Objects {
		out = append(out, intent.Object(o))
	}
	return out
}
