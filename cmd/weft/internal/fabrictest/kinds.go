package fabrictest

import weftv1 "github.com/weft-net/weft/proto/weft/v1"

// kinds are those of the real server, as far as the tool's tests look.
var kinds = []*weftv1.Kind{
	{
		Name: "ClusterConfig", Plural: "clusterconfigs", ShortNames: []string{"cc"}, Writable: true,
		Description: "What holds for the whole cluster. There is one, named default.",
		Columns: []*weftv1.Column{
			{Title: "NAME", Path: "metadata.name"},
			{Title: "CLUSTER-CIDRS", Path: "spec.clusterCIDRs", Format: "list"},
			{Title: "BACKEND", Path: "spec.backend"},
			{Title: "AGE", Path: "metadata.createdUnix", Format: "age"},
			{Title: "VNI", Path: "spec.vni", Wide: true},
		},
		Fields: []*weftv1.Field{
			{Path: "spec.clusterCIDRs", Type: "[]prefix", Description: "Ranges that nodes lease prefixes from."},
			{Path: "spec.backend", Type: "string", Description: "How packets travel between nodes: vxlan, host-gw or none.", DefaultValue: "vxlan"},
			{Path: "spec.directRouting", Type: "boolean", Description: "Route pairs of nodes on one L2 without VXLAN.", DefaultValue: "false"},
			{Path: "spec.vni", Type: "integer", Description: "VXLAN network identifier.", DefaultValue: "4096"},
			{Path: "spec.wireguardPort", Type: "integer", Description: "UDP port of WireGuard.", DefaultValue: "51820"},
		},
	},
	{
		Name: "Node", Plural: "nodes", ShortNames: []string{"no"}, Writable: true,
		Description: "A machine of the fabric.",
		Columns: []*weftv1.Column{
			{Title: "NAME", Path: "metadata.name"},
			{Title: "STATUS", Path: "status.state"},
			{Title: "AGE", Path: "metadata.createdUnix", Format: "age"},
			{Title: "LEASES", Path: "status.lease", Format: "list"},
			{Title: "REV", Path: "status.appliedRevision", Wide: true},
		},
	},
	{
		Name: "Lease", Plural: "leases", ShortNames: []string{"ls"}, Writable: true,
		Description: "The prefixes of one node.",
		Columns: []*weftv1.Column{
			{Title: "NAME", Path: "metadata.name"},
			{Title: "NODE", Path: "spec.node"},
			{Title: "PREFIXES", Path: "spec.prefixes", Format: "list"},
		},
		Fields: []*weftv1.Field{
			{Path: "spec.node", Type: "string", Description: "Name of the node."},
			{Path: "spec.prefixes", Type: "[]prefix", Description: "Prefixes of the node."},
			{Path: "spec.draining", Type: "[]prefix", Description: "Those that drain."},
		},
	},
	{
		Name: "Endpoint", Plural: "endpoints", ShortNames: []string{"ep"}, Namespaced: true,
		Description: "One attachment of a pod.",
		Columns: []*weftv1.Column{
			{Title: "POD", Path: "spec.pod"},
			{Title: "ADDRESSES", Path: "spec.addresses", Format: "list"},
		},
		Fields: []*weftv1.Field{
			{Path: "spec.pod", Type: "string", Description: "Name of the pod."},
			{Path: "spec.addresses", Type: "[]address", Description: "Addresses of the pod."},
		},
	},
}

func kindOf(name string) *weftv1.Kind {
	for _, k := range kinds {
		if k.GetName() == name {
			return k
		}
	}
	return nil
}
