package pod

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
)

const (
	maxHostPorts = 1024 // of one pod
	maxLabels    = 256
)

// plugin is a plugin configuration with what the runtime put into it.
type plugin struct {
	CNIVersion string          `json:"cniVersion"`
	Name       string          `json:"name"`
	Socket     string          `json:"socket"` // the shim's; known here to be refused nowhere
	DNS        types.DNS       `json:"dns"`
	PrevResult json.RawMessage `json:"prevResult"`
	IPAM       struct {
		Type string `json:"type"`
	} `json:"ipam"`
	Runtime struct {
		PortMappings []portMapping `json:"portMappings"`
		Bandwidth    Bandwidth     `json:"bandwidth"`
		IPs          []string      `json:"ips"`
		MAC          string        `json:"mac"`
		DNS          *runtimeDNS   `json:"dns"`
	} `json:"runtimeConfig"`
	Args struct {
		CNI struct {
			Labels []label  `json:"labels"`
			IPs    []string `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
	// Valid is nil when the key is not there: that means do nothing.
	Valid *[]types.GCAttachment `json:"cni.dev/valid-attachments"`
}

// label is one of args.cni.labels, by the CNI conventions.
type label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// portMapping is one of the capability portMappings, by the CNI conventions.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

// runtimeDNS is the capability dns, by the CNI conventions.
type runtimeDNS struct {
	Servers  []string `json:"servers"`
	Searches []string `json:"searches"`
	Options  []string `json:"options"`
}

// knownKeys are the keys that a plugin configuration may have: those of the CNI
// specification, section 1, those that runtimes add, and our own.
var knownKeys = []string{
	"cniVersion", "cniVersions", "name", "type", "args", "capabilities", "runtimeConfig", "prevResult", "dns",
	"ipam", "ipMasq", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "socket",
}

// decodePlugin reads a plugin configuration. It does not ask whether the keys are
// known: what was added under a looser release must be deletable.
func decodePlugin(b []byte) (plugin, error) {
	var p plugin
	if err := json.Unmarshal(b, &p); err != nil {
		return plugin{}, cniwire.Errorf(cniwire.CodeDecoding, "pod: CNI configuration: %v", err)
	}
	return p, nil
}

// strict refuses keys that nobody would heed: a person wrote them for a reason.
func strict(b []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b, &keys); err != nil {
		return cniwire.Errorf(cniwire.CodeDecoding, "pod: CNI configuration: %v", err)
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(knownKeys, k) && !strings.HasPrefix(k, "cni.dev/") {
			return cniwire.Errorf(cniwire.CodeUnsupportedField,
				"pod: CNI configuration: unknown key %q with value %.100s; weft's own key is \"socket\", all else is in ClusterConfig", k, keys[k])
		}
	}
	return nil
}

// wish is what a runtime asks for with an ADD.
type wish struct {
	hostPorts []HostPort
	bandwidth Bandwidth
	addrs     []netip.Addr
	mac       intent.MAC
	dns       types.DNS
	labels    map[string]string
	args      podArgs
}

// wish reads and checks everything that an ADD can ask for.
func (p plugin) wish(args string) (wish, error) {
	if p.IPAM.Type != "" {
		return wish{}, cniwire.Errorf(cniwire.CodeConfig,
			"pod: ipam type %q: addresses come from the node's lease; remove the key ipam", p.IPAM.Type)
	}
	w := wish{bandwidth: p.Runtime.Bandwidth, dns: p.DNS}
	if d := p.Runtime.DNS; d != nil {
		w.dns = types.DNS{Nameservers: d.Servers, Search: d.Searches, Options: d.Options, Domain: p.DNS.Domain}
	}
	var err error
	if w.args, err = parseArgs(args); err != nil {
		return wish{}, err
	}
	if w.hostPorts, err = hostPorts(p.Runtime.PortMappings); err != nil {
		return wish{}, err
	}
	if w.labels, err = labels(p.Args.CNI.Labels); err != nil {
		return wish{}, err
	}
	ips, hw := slices.Concat(p.Runtime.IPs, p.Args.CNI.IPs), p.Runtime.MAC
	if len(ips) == 0 && w.args.ip != "" {
		ips = strings.Split(w.args.ip, ",")
	}
	if hw == "" {
		hw = w.args.mac
	}
	if w.addrs, err = addrs(ips); err != nil {
		return wish{}, err
	}
	if w.mac, err = intent.ParseMAC(hw); err != nil || w.mac[0]&1 != 0 || (hw != "" && w.mac == intent.MAC{}) {
		return wish{}, cniwire.Errorf(cniwire.CodeConfig, "pod: mac %q is not a unicast MAC address of 6 octets", hw)
	}
	return w, nil
}

func hostPorts(in []portMapping) ([]HostPort, error) {
	if len(in) > maxHostPorts {
		return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: %d portMappings; at most %d", len(in), maxHostPorts)
	}
	var out []HostPort
	for _, m := range in {
		if m.HostPort == 0 {
			continue // runtimes pass ports that are only exposed
		}
		h := HostPort{Protocol: strings.ToLower(m.Protocol), HostPort: uint16(m.HostPort), ContainerPort: uint16(m.ContainerPort)}
		if h.Protocol == "" {
			h.Protocol = "tcp"
		}
		if !slices.Contains([]string{"tcp", "udp", "sctp"}, h.Protocol) {
			return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: portMappings: protocol %q; accepted: tcp, udp, sctp", m.Protocol)
		}
		for _, port := range []int{m.HostPort, m.ContainerPort} {
			if port < 1 || port > 65535 {
				return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: portMappings: port %d; accepted: 1 to 65535", port)
			}
		}
		if m.HostIP != "" {
			ip, err := netip.ParseAddr(m.HostIP)
			if err != nil || ip.Zone() != "" {
				return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: portMappings: hostIP %q is not an address", m.HostIP)
			}
			if ip = ip.Unmap(); !ip.IsUnspecified() {
				h.HostIP = ip
			}
		}
		if i := slices.IndexFunc(out, h.clashes); i >= 0 {
			return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: portMappings: host port %v is there twice", h)
		}
		out = append(out, h)
	}
	return out, nil
}

func addrs(in []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, s := range in {
		host, _, _ := strings.Cut(strings.TrimSpace(s), "/")
		a, err := netip.ParseAddr(host)
		if err != nil || a.Zone() != "" {
			return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: ips: %q is not an address", s)
		}
		a = a.Unmap()
		if slices.ContainsFunc(out, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: ips: %v: a pod has one address of a family", in)
		}
		out = append(out, a)
	}
	return out, nil
}

func labels(in []label) (map[string]string, error) {
	if len(in) > maxLabels {
		return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: args.cni.labels: %d labels; at most %d", len(in), maxLabels)
	}
	var out map[string]string
	for _, l := range in {
		if l.Key == "" {
			return nil, cniwire.Errorf(cniwire.CodeConfig, "pod: args.cni.labels: a label without a key, value %q", l.Value)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[l.Key] = l.Value
	}
	return out, nil
}

// podArgs is what CNI_ARGS tells.
type podArgs struct {
	namespace, pod, uid string
	ip, mac             string
}

// parseArgs reads CNI_ARGS, KEY=VALUE;KEY=VALUE. A key that nobody knows is an
// error unless IgnoreUnknown is set, as the CNI library does.
func parseArgs(s string) (podArgs, error) {
	var a podArgs
	var unknown []string
	ignore := false
	for _, pair := range strings.Split(s, ";") {
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return podArgs{}, cniwire.Errorf(cniwire.CodeEnvironment, "pod: CNI_ARGS: %q is not KEY=VALUE", pair)
		}
		switch k {
		case "IgnoreUnknown":
			ignore = v == "1" || strings.EqualFold(v, "true")
		case "K8S_POD_NAMESPACE":
			a.namespace = v
		case "K8S_POD_NAME":
			a.pod = v
		case "K8S_POD_UID":
			a.uid = v
		case "IP":
			a.ip = v
		case "MAC":
			a.mac = v
		case "K8S_POD_INFRA_CONTAINER_ID":
		default:
			unknown = append(unknown, k)
		}
	}
	if len(unknown) > 0 && !ignore {
		return podArgs{}, cniwire.Errorf(cniwire.CodeEnvironment,
			"pod: CNI_ARGS: unknown keys %v; remove them or add IgnoreUnknown=1", unknown)
	}
	return a, nil
}

// identify checks the environment of a verb that is about one pod. The shim has
// done so too, but anybody with the socket can speak to us.
func identify(req cniwire.Request) (ID, error) {
	id := ID{req.ContainerID, req.IfName}
	name := func(r rune) bool {
		return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') || strings.ContainsRune("_.-", r)
	}
	switch {
	case id.ContainerID == "" || len(id.ContainerID) > 1024 || strings.TrimFunc(id.ContainerID, name) != "" ||
		strings.ContainsRune("_.-", rune(id.ContainerID[0])) || strings.IndexFunc(id.ContainerID, func(r rune) bool { return !name(r) }) >= 0:
		return ID{}, cniwire.Errorf(cniwire.CodeEnvironment, "pod: CNI_CONTAINERID %q: letters, digits, _ . -, beginning with a letter or a digit", id.ContainerID)
	case id.IfName == "" || len(id.IfName) > maxIfName || id.IfName == "." || id.IfName == ".." || strings.ContainsAny(id.IfName, "/: \t\n\v\f\r"):
		return ID{}, cniwire.Errorf(cniwire.CodeEnvironment, "pod: CNI_IFNAME %q is not a name for a device: 1 to %d bytes without / : and spaces", id.IfName, maxIfName)
	}
	return id, nil
}

// checkVersion refuses a specification that we do not know before anything is
// touched.
func (p plugin) checkVersion() error {
	if v := cniwire.Versions(); !slices.Contains(v, p.CNIVersion) {
		return cniwire.Errorf(cniwire.CodeIncompatibleVersion, "pod: cniVersion %q; accepted: %s", p.CNIVersion, strings.Join(v, ", "))
	}
	return nil
}
