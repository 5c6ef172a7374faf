package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// egressStatus is the status of an EgressPolicy. Its fields are paths of columns.
type egressStatus struct {
	Nodes string   `json:"nodes"` // how many of those that joined it is of
	Who   []string `json:"who"`
	Rules string   `json:"rules"`
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

func (v *view) egressItem(o stored) (*weftv1.Resource, error) {
	var spec kind.EgressPolicySpec
	if len(o.Spec) > 0 {
		if err := o.ReadSpec(&spec); err != nil {
			return nil, err
		}
	}
	p, err := spec.Policy(o.Metadata.Name)
	if err != nil {
		return nil, fmt.Errorf("admin: EgressPolicy/%s: %w", o.Metadata.Name, err)
	}
	members, meant := v.members(), 0
	for _, n := range members {
		if p.Means(n.name, n.labels()) {
			meant++
		}
	}
	st := egressStatus{Nodes: fmt.Sprintf("%d of %d", meant, len(members)), Rules: fmt.Sprintf("%d allow, %d deny", len(p.Allow), len(p.Deny))}
	if p.Only {
		st.Rules += ", only listed"
	}
	for _, u := range p.Users {
		st.Who = append(st.Who, "user:"+u)
	}
	for _, r := range p.Roles {
		st.Who = append(st.Who, "role:"+r)
	}
	if len(st.Who) == 0 {
		st.Who = []string{"everybody"}
	}
	for _, r := range p.Allow {
		st.Allow = append(st.Allow, r.String())
	}
	for _, r := range p.Deny {
		st.Deny = append(st.Deny, r.String())
	}
	return resource(o.Object, o.revision, st)
}

// egressFit refuses names of nodes that are not there: a policy that was to deny
// would deny nothing. What was named before is not held against another change.
func (v *view) egressFit(e edit) kind.FieldErrors {
	var was, spec kind.EgressPolicySpec
	if e.after.Kind != kind.EgressPolicy || e.after.ReadSpec(&spec) != nil || e.before.revision > 0 && e.before.ReadSpec(&was) != nil {
		return nil
	}
	var errs kind.FieldErrors
	for i, name := range spec.Nodes {
		if n := v.nodes[name]; n != nil && n.is() || slices.Contains(was.Nodes, name) {
			continue
		}
		errs = append(errs, kind.FieldError{
			Object: e.ref().String(), Field: fmt.Sprintf("spec.nodes[%d]", i),
			Problem: fmt.Sprintf("no node %s has joined: weft get nodes lists those that have; nodeSelector picks those that are yet to come, by a label", name),
		})
	}
	return errs
}

// removePolicy deletes an EgressPolicy.
func (s *Server) removePolicy(ctx context.Context, name string) (int64, error) {
	key := kind.Key(kind.EgressPolicy, "", name)
	e, err := s.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil // somebody was faster
	} else if err != nil {
		return 0, err
	}
	return s.Store.Commit(ctx, store.Txn{If: []store.Cond{{Key: key, Revision: e.Revision}}, Then: []store.Write{{Key: key}}})
}

// maxRenamed bounds the policies that one rename rewrites.
const maxRenamed = 32

// renameInPolicies has policies that name a node name it by its new name: a deny
// must not end with a name.
func (s *Server) renameInPolicies(ctx context.Context, txn *store.Txn, from, to string) error {
	entries, _, err := s.Store.List(ctx, kind.Key(kind.EgressPolicy, "", ""))
	if err != nil {
		return fmt.Errorf("admin: policies that name node %s: %w", from, err)
	}
	var renamed []string
	for _, e := range entries {
		var spec kind.EgressPolicySpec
		o, err := kind.Decode(e.Value, &spec)
		if err != nil || !slices.Contains(spec.Nodes, from) {
			continue // what cannot be read is compile's problem
		}
		spec.Nodes = slices.DeleteFunc(spec.Nodes, func(n string) bool { return n == to })
		spec.Nodes[slices.Index(spec.Nodes, from)] = to
		raw, err := json.Marshal(spec)
		if err != nil {
			return fmt.Errorf("admin: EgressPolicy/%s: %w", o.Metadata.Name, err)
		}
		o.Metadata.Generation++
		value, err := kind.Encode(o.Kind, o.Metadata, json.RawMessage(raw))
		if err != nil {
			return err
		}
		txn.If = append(txn.If, store.Cond{Key: e.Key, Revision: e.Revision})
		txn.Then = append(txn.Then, store.Write{Key: e.Key, Value: value})
		renamed = append(renamed, o.Metadata.Name)
	}
	if len(renamed) > maxRenamed {
		return kind.InUseError{Object: kind.Node + "/" + from, Problem: fmt.Sprintf(
			"%d EgressPolicies name it (%s and others); at most %d are renamed with it: pick the node by a label there, with nodeSelector", len(renamed), strings.Join(renamed[:3], ", "), maxRenamed)}
	}
	return nil
}
