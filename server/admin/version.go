package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-net/weft/proto/schema"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// keptVersions is how many former values of an object are kept. They lie in as
// many places, taken in turn by the object's generation, so that the transaction
// that replaces a value keeps it without a look at those before.
const keptVersions = 10

// versions is where former values are, below the object's kind, namespace, name.
const versions = store.Journal + "versions/"

// former is a value that an object once had, JSON.
type former struct {
	Schema       int             `json:"schema"`
	Epoch        string          `json:"epoch"` // that Revision belongs to
	Revision     int64           `json:"revision"`
	ReplacedUnix int64           `json:"replacedUnix"`
	ReplacedBy   string          `json:"replacedBy,omitempty"`
	Object       json.RawMessage `json:"object"`
}

func versionsOf(r ref) string { return versions + r.kind + "/" + r.namespace + "/" + r.name + "/" }

// keep is the write that keeps what somebody replaces. It answers false for an
// object that was not there.
func (s *Server) keep(before stored, by string) (store.Write, bool, error) {
	if before.revision == 0 {
		return store.Write{}, false, nil
	}
	value, err := kind.Encode(before.Kind, before.Metadata, before.Spec)
	if err == nil {
		value, err = json.Marshal(former{
			Schema: schema.Journal.Version(), Epoch: s.Hub.Epoch(), Revision: before.revision,
			ReplacedUnix: s.Now().Unix(), ReplacedBy: by, Object: value,
		})
	}
	if err != nil {
		return store.Write{}, false, fmt.Errorf("admin: keep %s/%s: %w", before.Kind, before.Metadata.Name, err)
	}
	r := ref{before.Kind, before.Metadata.Namespace, before.Metadata.Name}
	return store.Write{Key: versionsOf(r) + strconv.FormatInt(before.Metadata.Generation%keptVersions, 10), Value: value}, true, nil
}

// version is one value of an object, present or former.
type version struct {
	stored
	epoch   string
	written int64 // Unix seconds; 0: not known
	by      string
}

// history lists an object's values, the newest first: the present one, if it is
// there, then those that are kept.
func (s *Server) history(ctx context.Context, r ref) ([]version, bool, error) {
	v, _, err := s.read(ctx, []string{kind.Key(r.kind, r.namespace, r.name)})
	if err != nil {
		return nil, false, err
	}
	entries, _, err := s.Store.List(ctx, versionsOf(r))
	if err != nil {
		return nil, false, err
	}
	var kept []former
	for _, e := range entries {
		var f former
		if json.Unmarshal(e.Value, &f) == nil && f.Schema <= schema.Journal.Version() {
			kept = append(kept, f)
		}
	}
	slices.SortFunc(kept, func(a, b former) int {
		return cmp.Or(cmp.Compare(b.ReplacedUnix, a.ReplacedUnix), cmp.Compare(b.Revision, a.Revision))
	})
	var out []version
	now := v.stored(r.kind, r.name)
	if now.revision > 0 {
		out = append(out, version{stored: now, epoch: s.Hub.Epoch()})
	}
	for _, f := range kept {
		if n := len(out); n > 0 { // what replaced this one
			out[n-1].written, out[n-1].by = f.ReplacedUnix, f.ReplacedBy
		}
		out = append(out, version{stored: decode(store.Entry{Value: f.Object, Revision: f.Revision}), epoch: f.Epoch})
	}
	if n := len(out); n > 0 && out[n-1].Metadata.Generation == 0 {
		out[n-1].written = out[n-1].Metadata.CreatedUnix
	}
	return out, now.revision > 0, nil
}

// named reads which object a request is about.
func namedRef(kindName, name string) (ref, error) {
	info, err := findKind(kindName)
	switch {
	case err != nil:
		return ref{}, err
	case !info.Writable:
		return ref{}, badField("kind", "%s has no versions: nodes report them", info.Name)
	case name == "" || strings.ContainsAny(name, "/"):
		return ref{}, badField("name", "%.60q is no name of an object", name)
	}
	return ref{info.Name, "", name}, nil
}

// History implements weftv1.ResourcesServer.
func (s *resources) History(ctx context.Context, r *weftv1.HistoryRequest) (*weftv1.HistoryResponse, error) {
	target, err := namedRef(r.GetKind(), r.GetName())
	if err != nil {
		return nil, err
	}
	list, there, err := s.history(ctx, target)
	if err != nil {
		return nil, answer(err)
	}
	if len(list) == 0 {
		return nil, missing(target)
	}
	out := &weftv1.HistoryResponse{}
	for i, v := range list {
		w := &weftv1.ObjectVersion{Revision: v.revision, WrittenUnix: v.written, By: v.by, Deleted: i == 0 && !there}
		if v.epoch != s.Hub.Epoch() {
			w.Revision = 0 // it counted in an epoch that is over
		}
		if w.Item, err = resource(v.Object, w.Revision, nil); err != nil {
			return nil, answer(err)
		}
		out.Versions = append(out.Versions, w)
	}
	return out, nil
}

// Rollback implements weftv1.ResourcesServer.
func (s *resources) Rollback(ctx context.Context, r *weftv1.RollbackRequest) (*weftv1.RollbackResponse, error) {
	target, err := namedRef(r.GetKind(), r.GetName())
	if err != nil {
		return nil, err
	}
	if r.GetToRevision() <= 0 {
		return nil, badField("to_revision", "%d is no revision; weft history %s lists those that are kept", r.GetToRevision(), target)
	}
	list, _, err := s.history(ctx, target)
	if err != nil {
		return nil, answer(err)
	}
	_, now, err := s.Store.List(ctx, kind.Key(target.kind, target.namespace, target.name))
	if err != nil {
		return nil, answer(err)
	}
	if r.GetToRevision() > now {
		return nil, badField("to_revision", "%d is yet to come: the fabric is at revision %d; weft history %s lists what is kept", r.GetToRevision(), now, target)
	}
	i := slices.IndexFunc(list, func(v version) bool { return v.epoch == s.Hub.Epoch() && v.revision <= r.GetToRevision() })
	if i < 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "%s: what it was at revision %d is not kept; %s", target, r.GetToRevision(), s.keptText(target, list))
	}
	item, err := resource(list[i].Object, 0, nil)
	if err != nil {
		return nil, answer(err)
	}
	results, rev, err := s.set(ctx, writing{items: []*weftv1.Resource{item}, dry: r.GetDryRun()})
	if err != nil {
		return nil, answer(err)
	}
	if !r.GetDryRun() {
		s.tell(ctx, target.String(), "RolledBack", "to what it was at revision %d, now revision %d", list[i].revision, rev)
	}
	return &weftv1.RollbackResponse{Result: results[0], Revision: rev}, nil
}

// keptText says which revisions there are, and what can be done about values whose
// revisions counted before a backup was restored.
func (s *Server) keptText(target ref, list []version) string {
	var revisions []string
	for _, v := range list {
		if v.epoch == s.Hub.Epoch() {
			revisions = append(revisions, strconv.FormatInt(v.revision, 10))
		}
	}
	text := "none is"
	if len(revisions) > 0 {
		text = "kept are " + strings.Join(revisions, ", ")
	}
	switch over := len(list) - len(revisions); {
	case over > 0:
		text += fmt.Sprintf("; %d more are of before a backup was restored, and their revisions count no more: weft history %s -o yaml has them, apply the one that you want with weft apply -f FILE", over, target)
	case len(revisions) == 0:
		text += "; apply what it shall be: weft apply -f FILE"
	}
	return text
}
