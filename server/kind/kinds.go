package kind

import (
	"fmt"
	"slices"
	"strings"
)

// Info is one kind as operators see it.
type Info struct {
	Name, Plural string
	Short        []string
	Namespaced   bool
	Writable     bool // accepts apply, replace and delete
	Description  string
	Columns      []Column
	Fields       []Field
}

// Column is one column of a table of objects.
type Column struct {
	Title  string
	Path   string // into the object: "spec.backend", "metadata.name"
	Wide   bool   // shown with -o wide only
	Format string // "", "age" (of Unix seconds) or "list"
}

// Field documents one field of spec.
type Field struct {
	Path        string // "spec.backend"
	Type        string
	Description string
	Default     string
}

// Formats of Column.
const (
	FormatAge  = "age"
	FormatList = "list"
)

var (
	nameColumn = Column{Title: "NAME", Path: "metadata.name"}
	ageColumn  = Column{Title: "AGE", Path: "metadata.createdUnix", Format: FormatAge}
)

var clusterConfigFields = []Field{
	{"spec.clusterCIDRs", "[]prefix", "Ranges that nodes lease prefixes from. Their order is the order of families everywhere; a further range of a family is used when those before it are full.", ""},
	{"spec.serviceCIDRs", "[]prefix", "Ranges of the cluster's services: never leased, never masqueraded towards.", ""},
	{"spec.nodeCIDRMaskSizeIPv4", "integer", "Length of the IPv4 prefix that a node leases.", "24"},
	{"spec.nodeCIDRMaskSizeIPv6", "integer", "Length of the IPv6 prefix that a node leases.", "64"},
	{"spec.backend", "string", "How packets travel between nodes: vxlan, host-gw, wireguard (every pair encrypted), auto (each pair the best way that encryption permits), tailscale (by the tailnet that all nodes are in: weft-agent --vpn-auth) or none.", "vxlan"},
	{"spec.directRouting", "boolean", "With vxlan: route pairs of nodes on one L2 without VXLAN.", "false"},
	{"spec.vni", "integer", "VXLAN network identifier, 1 to 16777215.", "4096"},
	{"spec.vxlanPort", "integer", "UDP port of VXLAN, 1 to 65535.", "8472"},
	{"spec.mtu", "integer", "MTU of pods' devices in bytes; 0 derives it from the uplink.", "0"},
	{"spec.masquerade", "string", "Which pods are masqueraded when their traffic leaves the cluster: auto (IPv4, and IPv6 of ULA ranges), always or never.", "auto"},
	{"spec.nonMasqueradeCIDRs", "[]prefix", "Further destinations that pods reach with their own address.", ""},
	{"spec.maxPrefixesPerNode", "integer", "How many prefixes of a family a node gets by itself, as its pods fill them; 1 gives no further one.", "4"},
	{"spec.egressSelectorMode", "string", "What the control plane reaches through agents' tunnels: disabled (nothing), agent (nodes' addresses), pod (and pods) or cluster (and endpoints and services).", "agent"},
	{"spec.egressFallback", "string", "What becomes of a dial whose node has no tunnel: closed (it is refused) or direct (the server dials by itself).", "closed"},
	{"spec.encryption", "string", "With backend auto, which pairs must be encrypted: never, untrusted (those whose nodes are not of one site, label weft/site) or always.", "untrusted"},
	{"spec.topology", "string", "With backends wireguard and auto: full, or site-gateways, where nodes of different sites meet over nodes with the label weft/relay=true.", "full"},
	{"spec.wireguardPort", "integer", "UDP port of WireGuard, 1 to 65534; the next one belongs to the second device, while keys change.", "51820"},
	{"spec.keyDays", "integer", "After how many days a node changes its WireGuard key, without losing a packet; 0: never by itself.", "0"},
	{"spec.postQuantum", "boolean", "Pairs agree on pre-shared keys with ML-KEM-768, inside of their tunnels: who records packets now cannot decrypt them later. Backend wireguard or auto; pairs that may go in the clear still do.", "false"},
}

var egressPolicyFields = []Field{
	{"spec.nodes", "[]string", "Names of nodes that it is of. With neither nodes nor nodeSelector it is of all.", ""},
	{"spec.nodeSelector", "string", "Picks further nodes by their labels: site=home,tier in (a,b),!old.", ""},
	{"spec.users", "[]string", "Users that it is of. With neither users nor roles it is of everybody.", ""},
	{"spec.roles", "[]string", "Roles that it is of: dialer, operator, admin, and local, which is who comes over a unix socket of a server (a kube-apiserver).", ""},
	{"spec.onlyListed", "boolean", "Takes away what is permitted without a policy: who asks may dial only what policies allow.", "false"},
	{"spec.allow", "[]rule", "What may be dialled. Loopback, link-local, multicast and metadata addresses are opened only by a rule of that one address, here and in the node's --egress-file.", ""},
	{"spec.allow.cidr", "prefix", "Addresses, as they are after a name was resolved.", ""},
	{"spec.allow.host", "string", "In the place of cidr: a name as it is asked for, or *.example.com for all below. It opens neither the node's own addresses nor those that must be named themselves.", ""},
	{"spec.allow.ports", "[]port", "Ports, or ranges such as \"8000-8100\". None: all.", ""},
	{"spec.deny", "[]rule", "What may not be dialled, whatever allows it: deny wins. Its rules are those of allow.", ""},
}

var kinds = []Info{
	{
		Name: ClusterConfig, Plural: "clusterconfigs", Short: []string{"cc"}, Writable: true,
		Description: "What holds for the whole cluster. There is one, named default.",
		Columns: []Column{
			nameColumn,
			{Title: "CLUSTER-CIDRS", Path: "spec.clusterCIDRs", Format: FormatList},
			{Title: "BACKEND", Path: "spec.backend"},
			ageColumn,
			{Title: "SERVICE-CIDRS", Path: "spec.serviceCIDRs", Wide: true, Format: FormatList},
			{Title: "MASKS", Path: "status.masks", Wide: true, Format: FormatList},
			{Title: "VNI", Path: "spec.vni", Wide: true},
			{Title: "PORT", Path: "spec.vxlanPort", Wide: true},
			{Title: "MTU", Path: "spec.mtu", Wide: true},
			{Title: "MASQUERADE", Path: "spec.masquerade", Wide: true},
			{Title: "EGRESS", Path: "spec.egressSelectorMode", Wide: true},
			{Title: "ENCRYPTION", Path: "spec.encryption", Wide: true},
		},
		Fields: clusterConfigFields,
	},
	{
		Name: Node, Plural: "nodes", Short: []string{"no"}, Writable: true,
		Description: "A machine of the fabric. It appears when its agent joins; its labels are yours to set. Deleting it revokes its certificate and releases its lease.",
		Columns: []Column{
			nameColumn,
			{Title: "STATUS", Path: "status.state"},
			ageColumn,
			{Title: "VERSION", Path: "status.version"},
			{Title: "SITE", Path: "status.site", Wide: true},
			{Title: "LEASES", Path: "status.lease", Format: FormatList},
			{Title: "NODE-IP", Path: "status.addresses", Wide: true, Format: FormatList},
			{Title: "EXTERNAL-IP", Path: "status.externalAddresses", Wide: true, Format: FormatList},
			{Title: "FABRIC-IP", Path: "status.fabricAddresses", Wide: true, Format: FormatList},
			{Title: "UPLINK/MTU", Path: "status.uplink", Wide: true},
			{Title: "NAT", Path: "status.nat", Wide: true},
			{Title: "WG", Path: "status.wireguard", Wide: true},
			{Title: "PODS", Path: "status.endpoints", Wide: true},
			{Title: "REV", Path: "status.appliedRevision", Wide: true},
		},
	},
	{
		Name: Lease, Plural: "leases", Short: []string{"ls"}, Writable: true,
		Description: "The prefixes of one node, named as the node. Applied before the node joins, it is a reservation.",
		Columns: []Column{
			nameColumn,
			{Title: "NODE", Path: "spec.node"},
			{Title: "PREFIXES", Path: "spec.prefixes", Format: FormatList},
			ageColumn,
			{Title: "PODS", Path: "status.endpoints", Wide: true},
			{Title: "STATUS", Path: "status.state", Wide: true},
		},
		Fields: []Field{
			{"spec.node", "string", "Name of the node, the same as the lease's own.", "metadata.name"},
			{"spec.prefixes", "[]prefix", "Prefixes of the node, of the cluster's ranges. A family that is left out is completed when the node joins.", ""},
			{"spec.draining", "[]prefix", "Those of the prefixes from which pods get no address any more: weft drain lease. One that is empty is given back.", ""},
		},
	},
	{
		Name: EgressPolicy, Plural: "egresspolicies", Short: []string{"egp"}, Writable: true,
		Description: "What may be dialled through nodes' tunnels, by whom. Without one: a node's own addresses on declared host ports, its lease, what it announces, and services. A node's own --egress-file bounds all of it.",
		Columns: []Column{
			nameColumn,
			{Title: "NODES", Path: "status.nodes"},
			{Title: "WHO", Path: "status.who", Format: FormatList},
			{Title: "RULES", Path: "status.rules"},
			ageColumn,
			{Title: "ALLOW", Path: "status.allow", Wide: true, Format: FormatList},
			{Title: "DENY", Path: "status.deny", Wide: true, Format: FormatList},
		},
		Fields: egressPolicyFields,
	},
	{
		Name: Endpoint, Plural: "endpoints", Short: []string{"ep"}, Namespaced: true,
		Description: "One attachment of a pod to the fabric, as its node reports it: <node>/<container id>/<ifname>.",
		Columns: []Column{
			{Title: "POD", Path: "spec.pod"},
			{Title: "NODE", Path: "spec.node"},
			{Title: "ADDRESSES", Path: "spec.addresses", Format: FormatList},
			ageColumn,
			{Title: "DEVICE", Path: "spec.device", Wide: true},
			{Title: "MAC", Path: "spec.mac", Wide: true},
			{Title: "NAME", Path: "metadata.name", Wide: true},
		},
		Fields: []Field{
			{"spec.node", "string", "Node that the pod runs on.", ""},
			{"spec.pod", "string", "Name of the pod.", ""},
			{"spec.addresses", "[]address", "Addresses of the pod, in the order of families.", ""},
			{"spec.device", "string", "The host's end of the veth.", ""},
			{"spec.mac", "string", "MAC address of the pod's end.", ""},
		},
	},
}

// Kinds lists all kinds. The caller does not change it.
func Kinds() []Info { return kinds }

// Find knows a kind by its name, plural or short name, in any case.
func Find(name string) (Info, error) {
	for _, k := range kinds {
		if strings.EqualFold(name, k.Name) || strings.EqualFold(name, k.Plural) || slices.Contains(k.Short, strings.ToLower(name)) {
			return k, nil
		}
	}
	var known []string
	for _, k := range kinds {
		known = append(known, k.Plural)
	}
	return Info{}, fmt.Errorf("there is no kind %s; there are %s", quote(name), strings.Join(known, ", "))
}

// quote shows what an operator wrote, cut to what fits a line.
func quote(s string) string { return fmt.Sprintf("%.60q", s) }
