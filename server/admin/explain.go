package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// Diff implements weftv1.ResourcesServer: an apply that writes nothing, as what
// lies between before and after.
func (s *resources) Diff(ctx context.Context, r *weftv1.DiffRequest) (*weftv1.DiffResponse, error) {
	results, _, err := s.set(ctx, writing{items: r.GetItems(), merge: true, dry: true})
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.DiffResponse{}
	for _, result := range results {
		old, err := wordsOf(result.GetBefore())
		if err != nil {
			return nil, answer(err)
		}
		now, err := wordsOf(result.GetAfter())
		if err != nil {
			return nil, answer(err)
		}
		name := refOf(result.GetAfter()).String()
		text := diff.Diff("live/"+name, old, "applied/"+name, now)
		if _, text, _ = bytes.Cut(text, []byte("\n")); len(text) > 0 { // its own first line, "diff a b"
			out.Diffs = append(out.Diffs, string(text))
		}
	}
	return out, nil
}

// wordsOf is what people write of an object, in lines.
func wordsOf(r *weftv1.Resource) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	spec, err := protojson.Marshal(r.GetSpec())
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(map[string]any{"labels": r.GetMetadata().GetLabels(), "spec": json.RawMessage(spec)}, "", "  ")
	return append(b, '\n'), err
}

// Explain implements weftv1.ResourcesServer.
func (s *resources) Explain(ctx context.Context, r *weftv1.ExplainRequest) (*weftv1.ExplainResponse, error) {
	name, field, _ := strings.Cut(r.GetPath(), ".")
	info, err := findKind(name)
	if err != nil {
		return nil, err
	}
	all, err := s.ListKinds(ctx, &weftv1.ListKindsRequest{})
	if err != nil {
		return nil, err
	}
	out := &weftv1.ExplainResponse{}
	for _, k := range all.GetKinds() {
		if k.GetName() == info.Name {
			out.Kind = k
		}
	}
	var paths []string
	for _, f := range out.GetKind().GetFields() {
		paths = append(paths, f.GetPath())
		if field == "" || f.GetPath() == field || strings.HasPrefix(f.GetPath(), field+".") {
			out.Fields = append(out.Fields, f)
		}
	}
	if field != "" && len(out.Fields) == 0 {
		return nil, badField("path", "%s has no field %.100q; it has %s", info.Name, field, strings.Join(paths, ", "))
	}
	return out, nil
}

// maxStatusWatches bounds Status.Watch: each looks at all nodes again and again.
const maxStatusWatches = 8

var errWatched = status.Errorf(codes.ResourceExhausted, "%d others watch this server's status; ask another server, or Get", maxStatusWatches)
