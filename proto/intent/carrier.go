package intent

import (
	"fmt"
	"slices"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// Carrier is one way in which packets travel between nodes.
type Carrier struct {
	Backend Backend `json:"backend"`
	VNI     uint32  `json:"vni,omitempty"`       // of VXLAN, 24 bits
	Port    uint16  `json:"vxlanPort,omitempty"` // of VXLAN, UDP
	Spare   bool    `json:"spare,omitempty"`     // its VXLAN devices are the spare ones

	Encryption Encryption `json:"encryption,omitempty"` // of auto; a change of it is one of carriers
}

// MaxBehind bounds the nodes that a cluster's object names as behind.
const MaxBehind = 4096

// maxCarriers bounds those that a fabric receives by: no change needs more than the
// one before or the one to come.
const maxCarriers = 4

// String names it: vxlan 4096 on UDP 8472, host-gw.
func (k Carrier) String() string {
	switch k.Backend {
	case VXLAN:
	case Auto:
		return fmt.Sprintf("auto with vxlan %d on UDP %d, encryption %s", k.VNI, k.Port, k.Encryption)
	default:
		return string(k.Backend)
	}
	return fmt.Sprintf("vxlan %d on UDP %d", k.VNI, k.Port)
}

// Is tells whether two carry packets the same way, by whatever devices. Only VXLAN
// has a number and a port, and only auto has a choice whom to encrypt for.
func (k Carrier) Is(o Carrier) bool {
	return k.Backend == o.Backend && (!k.VXLANs() || k.VNI == o.VNI && k.Port == o.Port) && (k.Backend != Auto || k.Encryption == o.Encryption)
}

// VXLANs tells whether packets may travel through VXLAN.
func (k Carrier) VXLANs() bool { return k.Backend == VXLAN || k.Backend == Auto }

// Carrier is how the fabric sends.
func (c Cluster) Carrier() Carrier {
	k := Carrier{Backend: c.Backend, VNI: c.VNI, Port: c.VXLANPort, Spare: c.Spare}
	if k.Backend == Auto {
		k.Encryption = c.Encryption
	}
	return k
}

// By is the cluster that sends by another carrier.
func (c Cluster) By(k Carrier) Cluster {
	c.Backend, c.VNI, c.VXLANPort, c.Spare = k.Backend, k.VNI, k.Port, k.Spare
	if k.Backend == Auto {
		c.Encryption = k.Encryption
	}
	return c
}

// Toward is the cluster as a pair of nodes uses it, the same for both of them: while
// one of the two does not know the carrier, by the one that both know. A tailnet's own
// routes come before all that a node plans, so while the fabric changes to or from one
// the other carrier stands behind them.
func (c Cluster) Toward(a, b string) Cluster {
	if len(c.Receive) == 0 || c.Backend != Tailnet && !slices.Contains(c.Behind, a) && !slices.Contains(c.Behind, b) {
		return c
	}
	return c.By(c.Receive[0])
}

// VXLANs are the carriers of VXLAN by which packets may come, the one that the
// fabric sends by first.
func (c Cluster) VXLANs() []Carrier {
	all := append([]Carrier{c.Carrier()}, c.Receive...)
	return slices.DeleteFunc(all, func(k Carrier) bool { return !k.VXLANs() })
}

func encodeCarriers(list []Carrier) []*weftv1.CarrierIntent {
	var out []*weftv1.CarrierIntent
	for _, k := range list {
		out = append(out, &weftv1.CarrierIntent{Backend: string(k.Backend), Vni: k.VNI, VxlanPort: uint32(k.Port), Spare: k.Spare, Encryption: string(k.Encryption)})
	}
	return out
}

func decodeCarriers(list []*weftv1.CarrierIntent) ([]Carrier, error) {
	if len(list) > maxCarriers {
		return nil, fmt.Errorf("receive has %d carriers: at most %d", len(list), maxCarriers)
	}
	var out []Carrier
	for _, m := range list {
		k, err := carrier(m.GetBackend(), m.GetVni(), m.GetVxlanPort(), m.GetSpare())
		if err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		if k.Encryption, err = encryption(m.GetEncryption()); err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		out = append(out, k)
	}
	return out, nil
}

// carrier reads one.
func carrier(backend string, vni, port uint32, spare bool) (Carrier, error) {
	k := Carrier{Backend: Backend(backend), VNI: vni, Port: uint16(port), Spare: spare}
	switch {
	case !slices.Contains([]Backend{VXLAN, HostGW, None, WireGuard, Auto, Tailnet}, k.Backend):
		return Carrier{}, fmt.Errorf("backend %q: this release knows vxlan, host-gw, wireguard, auto, tailscale and none", backend)
	case vni > maxVNI:
		return Carrier{}, fmt.Errorf("vni %d: at most %d", vni, maxVNI)
	case port > 65535:
		return Carrier{}, fmt.Errorf("vxlan_port %d: at most 65535", port)
	}
	return k, nil
}
