package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-net/weft/proto/label"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// List implements weftv1.ResourcesServer.
func (s *resources) List(ctx context.Context, r *weftv1.ListRequest) (*weftv1.ListResponse, error) {
	pick, err := newSelection(r.GetKind(), r.GetNamespace(), r.GetSelector())
	if err != nil {
		return nil, err
	}
	v, revisions, err := s.read(ctx, parts[pick.kind.Name])
	if err != nil {
		return nil, answer(err)
	}
	items, err := s.items(v, pick.kind.Name)
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.ListResponse{Revision: revisions[0]}
	for _, item := range items {
		if pick.has(item) {
			out.Items = append(out.Items, item)
		}
	}
	return out, nil
}

// selection is what a List or a Watch asks for.
type selection struct {
	kind      kind.Info
	namespace string
	labels    label.Selector
}

func newSelection(name, namespace, selector string) (selection, error) {
	info, err := findKind(name)
	if err != nil {
		return selection{}, err
	}
	labels, err := label.ParseSelector(selector)
	if err != nil {
		return selection{}, badField("selector", "%v", err)
	}
	return selection{kind: info, namespace: namespace, labels: labels}, nil
}

func findKind(name string) (kind.Info, error) {
	if name == "" {
		return kind.Info{}, badField("kind", "is missing; ask ListKinds for what there is")
	}
	info, err := kind.Find(name)
	if err != nil {
		return kind.Info{}, badField("kind", "%v", err)
	}
	return info, nil
}

func (p selection) has(item *weftv1.Resource) bool {
	m := item.GetMetadata()
	return (p.namespace == "" || !p.kind.Namespaced || m.GetNamespace() == p.namespace) && p.labels.Matches(m.GetLabels())
}

// Get implements weftv1.ResourcesServer.
func (s *resources) Get(ctx context.Context, r *weftv1.GetRequest) (*weftv1.GetResponse, error) {
	info, err := findKind(r.GetKind())
	if err != nil {
		return nil, err
	}
	if r.GetName() == "" {
		return nil, badField("name", "is missing; name one, or List")
	}
	v, _, err := s.read(ctx, parts[info.Name])
	if err != nil {
		return nil, answer(err)
	}
	item, err := s.item(v, ref{info.Name, r.GetNamespace(), r.GetName()})
	if err != nil {
		return nil, answer(err)
	}
	if item == nil || info.Namespaced && r.GetNamespace() != "" && item.GetMetadata().GetNamespace() != r.GetNamespace() {
		return nil, missing(ref{info.Name, r.GetNamespace(), r.GetName()})
	}
	return &weftv1.GetResponse{Item: item}, nil
}

func missing(r ref) error {
	return notFound("there is no %.300s", r)
}

// ListKinds implements weftv1.ResourcesServer.
func (s *resources) ListKinds(context.Context, *weftv1.ListKindsRequest) (*weftv1.ListKindsResponse, error) {
	out := &weftv1.ListKindsResponse{}
	for _, k := range kind.Kinds() {
		w := &weftv1.Kind{
			Name: k.Name, Plural: k.Plural, ShortNames: k.Short,
			Namespaced: k.Namespaced, Writable: k.Writable, Description: k.Description,
		}
		for _, c := range k.Columns {
			w.Columns = append(w.Columns, &weftv1.Column{Title: c.Title, Path: c.Path, Wide: c.Wide, Format: c.Format})
		}
		for _, f := range k.Fields {
			w.Fields = append(w.Fields, &weftv1.Field{Path: f.Path, Type: f.Type, Description: f.Description, DefaultValue: f.Default})
		}
		out.Kinds = append(out.Kinds, w)
	}
	return out, nil
}

// A wait answers who is behind a little before its caller's deadline, so that the
// caller learns it, and after maxWait in any case.
const (
	maxWait = 5 * time.Minute
	lead    = 200 * time.Millisecond
)

// WaitForRevision implements weftv1.ResourcesServer.
func (s *resources) WaitForRevision(ctx context.Context, r *weftv1.WaitForRevisionRequest) (*weftv1.WaitForRevisionResponse, error) {
	if r.GetRevision() < 0 {
		return nil, badField("revision", "%d is negative", r.GetRevision())
	}
	until := s.deadline(ctx)
	wait, cancel := context.WithTimeout(ctx, until)
	defer cancel()
	behind := s.Hub.WaitApplied(wait, r.GetRevision())
	if ctx.Err() != nil {
		return nil, answer(ctx.Err())
	}
	if len(behind) == 0 && wait.Err() != nil && s.Hub.Revision() < r.GetRevision() {
		return nil, status.Error(codes.DeadlineExceeded, fmt.Sprintf("revision %d has not come; this server is at %d", r.GetRevision(), s.Hub.Revision()))
	}
	return &weftv1.WaitForRevisionResponse{Behind: behind}, nil
}

func (s *resources) deadline(ctx context.Context) time.Duration {
	at, ok := ctx.Deadline()
	if !ok {
		return maxWait
	}
	return max(min(time.Until(at)-lead, maxWait), lead)
}
