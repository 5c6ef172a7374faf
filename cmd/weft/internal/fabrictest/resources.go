package fabrictest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

type resources struct {
	weftv1.UnimplementedResourcesServer
	f *Fabric
}

func (f *Fabric) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	f.Lock()
	err, late := f.Refuse[info.FullMethod], f.Late
	f.Unlock()
	if err != nil {
		return nil, err
	}
	if late {
		_ = grpc.SetHeader(ctx, metadata.Pairs("weft-audit", "done, but its record in the audit is not stored yet")) // a test would miss it
	}
	return handle(ctx, req)
}

func (resources) ListKinds(context.Context, *weftv1.ListKindsRequest) (*weftv1.ListKindsResponse, error) {
	return &weftv1.ListKindsResponse{Kinds: kinds}, nil
}

func (s resources) List(_ context.Context, r *weftv1.ListRequest) (*weftv1.ListResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	return &weftv1.ListResponse{Items: s.f.list(r.GetKind(), r.GetNamespace(), r.GetSelector()), Revision: s.f.revision}, nil
}

// list knows selectors of one form, key=value.
func (f *Fabric) list(kind, namespace, selector string) []*weftv1.Resource {
	var out []*weftv1.Resource
	k, v, _ := strings.Cut(selector, "=")
	for _, r := range f.objects {
		m := r.GetMetadata()
		if r.GetKind() == kind && (namespace == "" || m.GetNamespace() == namespace) && (selector == "" || m.GetLabels()[k] == v && v != "") {
			out = append(out, proto.CloneOf(r))
		}
	}
	slices.SortFunc(out, func(a, b *weftv1.Resource) int {
		return cmp.Or(cmp.Compare(a.GetMetadata().GetNamespace(), b.GetMetadata().GetNamespace()), cmp.Compare(a.GetMetadata().GetName(), b.GetMetadata().GetName()))
	})
	return out
}

func (s resources) Get(_ context.Context, r *weftv1.GetRequest) (*weftv1.GetResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	o, ok := s.f.objects[key{r.GetKind(), r.GetNamespace(), r.GetName()}]
	if !ok {
		return nil, status.Errorf(codes.NotFound, "there is no %s %q", r.GetKind(), r.GetName())
	}
	return &weftv1.GetResponse{Item: proto.CloneOf(o)}, nil
}

func (s resources) Apply(_ context.Context, r *weftv1.ApplyRequest) (*weftv1.ApplyResponse, error) {
	results, revision, err := s.f.write(r.GetItems(), r.GetDryRun(), merged)
	return &weftv1.ApplyResponse{Results: results, Revision: revision}, err
}

func (s resources) Replace(_ context.Context, r *weftv1.ReplaceRequest) (*weftv1.ReplaceResponse, error) {
	results, revision, err := s.f.write(r.GetItems(), r.GetDryRun(), func(_, given *weftv1.Resource) *weftv1.Resource { return proto.CloneOf(given) })
	return &weftv1.ReplaceResponse{Results: results, Revision: revision}, err
}

func merged(old, given *weftv1.Resource) *weftv1.Resource {
	out := proto.CloneOf(old)
	if out.Metadata.Labels == nil {
		out.Metadata.Labels = map[string]string{}
	}
	maps.Copy(out.Metadata.Labels, given.GetMetadata().GetLabels())
	if out.Spec == nil {
		out.Spec = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
	maps.Copy(out.Spec.Fields, given.GetSpec().GetFields())
	return out
}

func (f *Fabric) write(items []*weftv1.Resource, dry bool, change func(old, given *weftv1.Resource) *weftv1.Resource) ([]*weftv1.Result, int64, error) {
	f.Lock()
	defer f.Unlock()
	var bad []*errdetails.BadRequest_FieldViolation
	for _, r := range items {
		bad = append(bad, check(r)...)
	}
	if len(bad) > 0 {
		s, err := status.New(codes.InvalidArgument, "fields were refused").WithDetails(&errdetails.BadRequest{FieldViolations: bad})
		if err != nil {
			return nil, 0, err
		}
		return nil, 0, s.Err()
	}
	var out []*weftv1.Result
	for _, given := range items {
		old, there := f.objects[keyOf(given)]
		if rev := given.GetMetadata().GetRevision(); rev != 0 && rev != old.GetMetadata().GetRevision() {
			return nil, 0, status.Errorf(codes.Aborted, "%s/%s changed meanwhile: revision %d, not %d; nothing was changed",
				given.GetKind(), given.GetMetadata().GetName(), old.GetMetadata().GetRevision(), rev)
		}
		result := &weftv1.Result{Before: old, After: proto.CloneOf(given), Verb: "created"}
		if there {
			result.After, result.Verb = change(old, given), "configured"
			result.After.Metadata.Revision = old.GetMetadata().GetRevision()
			result.After.Metadata.CreatedUnix, result.After.Status = old.GetMetadata().GetCreatedUnix(), old.GetStatus()
			if proto.Equal(old, result.GetAfter()) {
				result.Verb = "unchanged"
			}
		} else {
			result.After.Metadata.CreatedUnix = Now
		}
		if !dry && result.GetVerb() != "unchanged" {
			f.commit(keyOf(given), result.GetAfter(), result.GetVerb())
		}
		out = append(out, result)
	}
	return out, f.revision, nil
}

func keyOf(r *weftv1.Resource) key {
	return key{r.GetKind(), r.GetMetadata().GetNamespace(), r.GetMetadata().GetName()}
}

// commit writes or, with a nil object, deletes, and wakes watchers.
func (f *Fabric) commit(k key, r *weftv1.Resource, verb string) {
	f.revision++
	item := r
	if r == nil {
		item = f.objects[k]
		delete(f.objects, k)
	} else {
		r.Metadata.Revision = f.revision
		f.objects[k] = r
	}
	f.history = append(f.history, &weftv1.WatchResponse{Item: proto.CloneOf(item), Verb: verb, Revision: f.revision})
	close(f.changed)
	f.changed = make(chan struct{})
}

func check(r *weftv1.Resource) []*errdetails.BadRequest_FieldViolation {
	object := r.GetKind() + "/" + r.GetMetadata().GetName()
	var bad []*errdetails.BadRequest_FieldViolation
	add := func(field, format string, args ...any) {
		bad = append(bad, &errdetails.BadRequest_FieldViolation{Field: strings.TrimSpace(object + " " + field), Description: fmt.Sprintf(format, args...)})
	}
	kind := kindOf(r.GetKind())
	switch {
	case kind == nil:
		add("kind", "there is no kind %q", r.GetKind())
		return bad
	case !kind.GetWritable():
		add("kind", "%s is read-only", kind.GetPlural())
		return bad
	}
	for _, name := range slices.Sorted(maps.Keys(r.GetSpec().GetFields())) {
		if !slices.ContainsFunc(kind.GetFields(), func(f *weftv1.Field) bool { return f.GetPath() == "spec."+name }) {
			add("spec."+name, "unknown field")
		}
	}
	for i, v := range r.GetSpec().GetFields()["clusterCIDRs"].GetListValue().GetValues() {
		p, err := netip.ParsePrefix(v.GetStringValue())
		if err != nil {
			add(fmt.Sprintf("spec.clusterCIDRs[%d]", i), "%q is not a prefix", v.GetStringValue())
		} else if p != p.Masked() {
			add(fmt.Sprintf("spec.clusterCIDRs[%d]", i), "%v has host bits; did you mean %v", p, p.Masked())
		}
	}
	return bad
}

func (s resources) Delete(_ context.Context, r *weftv1.DeleteRequest) (*weftv1.DeleteResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	for _, item := range r.GetItems() {
		if _, ok := s.f.objects[key{item.GetKind(), item.GetNamespace(), item.GetName()}]; !ok {
			return nil, status.Errorf(codes.NotFound, "there is no %s %q", item.GetKind(), item.GetName())
		}
	}
	var out []*weftv1.Result
	for _, item := range r.GetItems() {
		k := key{item.GetKind(), item.GetNamespace(), item.GetName()}
		out = append(out, &weftv1.Result{Before: s.f.objects[k], Verb: "deleted"})
		if !r.GetDryRun() {
			s.f.commit(k, nil, "deleted")
		}
	}
	return &weftv1.DeleteResponse{Results: out, Revision: s.f.revision}, nil
}

func (s resources) Watch(r *weftv1.WatchRequest, stream grpc.ServerStreamingServer[weftv1.WatchResponse]) error {
	s.f.Lock()
	existing, told, ends, wake := s.f.list(r.GetKind(), r.GetNamespace(), r.GetSelector()), len(s.f.history), s.f.Ends, s.f.changed
	revision := s.f.revision
	s.f.Unlock()
	for _, item := range existing {
		if err := stream.Send(&weftv1.WatchResponse{Item: item, Verb: "existing", Revision: revision}); err != nil {
			return err
		}
	}
	if err := stream.Send(&weftv1.WatchResponse{Verb: "synced", Revision: revision}); err != nil {
		return err
	}
	for !ends {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-wake:
		}
		s.f.Lock()
		var news []*weftv1.WatchResponse
		news, told, wake, ends = s.f.history[told:], len(s.f.history), s.f.changed, s.f.Ends
		s.f.Unlock()
		for _, e := range news {
			if e.GetItem().GetKind() != r.GetKind() {
				continue
			}
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s resources) Plan(_ context.Context, r *weftv1.PlanRequest) (*weftv1.PlanResponse, error) {
	if _, _, err := s.f.write(r.GetApply(), true, merged); err != nil {
		return nil, err
	}
	s.f.Lock()
	defer s.f.Unlock()
	return &weftv1.PlanResponse{Nodes: s.f.Plans}, nil
}

func (s resources) WaitForRevision(context.Context, *weftv1.WaitForRevisionRequest) (*weftv1.WaitForRevisionResponse, error) {
	s.f.Lock()
	defer s.f.Unlock()
	return &weftv1.WaitForRevisionResponse{Behind: s.f.Behind}, nil
}
