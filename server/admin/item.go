package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// item is one object as operators see it, or nil if it is not there.
func (s *Server) item(v *view, r ref) (*weftv1.Resource, error) {
	switch r.kind {
	case kind.ClusterConfig:
		o, ok := v.plain[kind.Key(r.kind, r.namespace, r.name)]
		if !ok {
			return nil, nil
		}
		return configItem(o)
	case kind.EgressPolicy:
		o, ok := v.plain[kind.Key(r.kind, r.namespace, r.name)]
		if !ok {
			return nil, nil
		}
		return v.egressItem(o)
	case kind.Endpoint:
		o, ok := v.endpoints[r.name]
		if !ok {
			return nil, nil
		}
		return endpointItem(o)
	}
	n := v.nodes[r.name]
	switch {
	case n == nil:
		return nil, nil
	case r.kind == kind.Node && n.is():
		return s.nodeItem(n)
	case r.kind == kind.Lease && n.lease.revision > 0:
		return s.leaseItem(n)
	}
	return nil, nil
}

// items lists all objects of a kind, by namespace and name.
func (s *Server) items(v *view, k string) ([]*weftv1.Resource, error) {
	var out []*weftv1.Resource
	for _, r := range v.refs(k) {
		item, err := s.item(v, r)
		if err != nil {
			return nil, err
		}
		if item != nil {
			out = append(out, item)
		}
	}
	return out, nil
}

func (v *view) refs(k string) []ref {
	var out []ref
	switch k {
	case kind.ClusterConfig, kind.EgressPolicy:
		for _, o := range v.plain {
			if o.Kind == k {
				out = append(out, ref{k, o.Metadata.Namespace, o.Metadata.Name})
			}
		}
	case kind.Endpoint:
		for key, o := range v.endpoints {
			out = append(out, ref{k, o.Namespace, key})
		}
	default:
		for name := range maps.Keys(v.nodes) {
			out = append(out, ref{k, "", name})
		}
	}
	slices.SortFunc(out, func(a, b ref) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	return out
}

// resource is an object on the wire.
func resource(o kind.Object, revision int64, status any) (*weftv1.Resource, error) {
	out := &weftv1.Resource{
		ApiVersion: kind.APIVersion, Kind: o.Kind,
		Metadata: &weftv1.Metadata{
			Name: o.Metadata.Name, Namespace: o.Metadata.Namespace, Labels: o.Metadata.Labels,
			Revision: revision, CreatedUnix: o.Metadata.CreatedUnix,
		},
		Spec: &structpb.Struct{},
	}
	if len(o.Spec) > 0 {
		if err := protojson.Unmarshal(o.Spec, out.Spec); err != nil {
			return nil, fmt.Errorf("admin: %s/%s: stored spec: %w", o.Kind, o.Metadata.Name, err)
		}
	}
	if status == nil {
		return out, nil
	}
	raw, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("admin: %s/%s: status: %w", o.Kind, o.Metadata.Name, err)
	}
	out.Status = &structpb.Struct{}
	if err := protojson.Unmarshal(raw, out.Status); err != nil {
		return nil, fmt.Errorf("admin: %s/%s: status: %w", o.Kind, o.Metadata.Name, err)
	}
	return out, nil
}

func configItem(o stored) (*weftv1.Resource, error) {
	var spec kind.ClusterConfigSpec
	if len(o.Spec) > 0 {
		if err := o.ReadSpec(&spec); err != nil {
			return nil, err
		}
	}
	var masks []string
	for _, is4 := range intent.Families(spec.ClusterCIDRs) {
		masks = append(masks, fmt.Sprintf("/%d", spec.MaskSize(is4)))
	}
	return resource(o.Object, o.revision, map[string]any{"masks": masks})
}

// nodeStatus is the status of a Node. Its fields are paths of columns.
type nodeStatus struct {
	State             string             `json:"state"`
	InStep            bool               `json:"inStep"`
	Version           string             `json:"version,omitempty"`
	Lease             []netip.Prefix     `json:"lease,omitempty"`
	Addresses         []netip.Addr       `json:"addresses,omitempty"`
	ExternalAddresses []netip.Addr       `json:"externalAddresses,omitempty"`
	FabricAddresses   []netip.Addr       `json:"fabricAddresses,omitempty"`
	Uplink            string             `json:"uplink,omitempty"` // device/MTU
	Site              string             `json:"site,omitempty"`
	NAT               string             `json:"nat"`                 // none, easy, symmetric, udp-blocked, or - while it is not known
	WireGuard         string             `json:"wireguard,omitempty"` // kernel or go
	VTEP              string             `json:"vtepMAC,omitempty"`
	Endpoints         int                `json:"endpoints"`
	AppliedRevision   int64              `json:"appliedRevision"`
	HeardUnix         int64              `json:"heardUnix,omitempty"`
	Boot              string             `json:"boot,omitempty"`
	Settings          []string           `json:"settings,omitempty"` // of the host, that the agent has changed
	Problems          []kind.Problem     `json:"problems,omitempty"`
	ObjectErrors      []kind.ObjectError `json:"objectErrors,omitempty"`
}

func (s *Server) nodeItem(n *node) (*weftv1.Resource, error) {
	h := s.health(n)
	st := nodeStatus{
		State: h.state, InStep: h.inStep, Version: h.push.Version,
		Lease: n.prefixes, FabricAddresses: n.fabric(), ExternalAddresses: n.report.External,
		NAT: cmp.Or(nat(n.report), "-"), Site: n.labels()[intent.SiteLabel], WireGuard: wireguard(n.report), VTEP: n.report.VTEP, Endpoints: n.endpoints,
		AppliedRevision: h.applied, HeardUnix: h.push.HeardUnix, Boot: h.push.Boot,
		Settings: h.push.Settings, Problems: h.push.Problems, ObjectErrors: h.push.ObjectErrors,
	}
	for i, a := range n.report.Addresses {
		st.Addresses = append(st.Addresses, a.Address.Addr())
		if i == 0 {
			st.Uplink = fmt.Sprintf("%s/%d", a.Device, a.MTU)
		}
	}
	o := kind.Object{Kind: kind.Node, Spec: n.object.Spec}
	o.Metadata = kind.Metadata{Name: n.name, Labels: n.labels(), CreatedUnix: n.created()}
	return resource(o, n.object.revision, st)
}

// fabric addresses of a node, one a family.
func (n *node) fabric() []netip.Addr { return intent.Peer{Lease: n.prefixes}.Fabric() }

func (s *Server) leaseItem(n *node) (*weftv1.Resource, error) {
	state := "Reserved"
	if n.is() {
		state = s.health(n).state
	}
	return resource(n.lease.Object, n.lease.revision, map[string]any{"endpoints": n.endpoints, "state": state})
}

// endpointSpec is the spec of an Endpoint.
type endpointSpec struct {
	Node      string       `json:"node"`
	Pod       string       `json:"pod,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
	Device    string       `json:"device,omitempty"`
	MAC       string       `json:"mac,omitempty"`
}

func endpointItem(o kind.EndpointObservation) (*weftv1.Resource, error) {
	spec, err := json.Marshal(endpointSpec{
		Node: kind.EndpointNode(o.Key), Pod: o.Pod, Addresses: o.Addresses, Device: o.Device, MAC: o.MAC,
	})
	if err != nil {
		return nil, fmt.Errorf("admin: endpoint %s: %w", o.Key, err)
	}
	return resource(kind.Object{
		Kind: kind.Endpoint, Spec: spec,
		Metadata: kind.Metadata{Name: o.Key, Namespace: o.Namespace, Labels: o.Labels, CreatedUnix: o.CreatedUnix},
	}, 0, nil)
}
