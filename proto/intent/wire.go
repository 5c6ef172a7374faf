package intent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/proto"
)

// Bounds on what Decode takes from the wire.
const (
	MaxObject   = 512 << 10 // bytes of one object
	maxList     = 1024      // entries of any list in an object
	maxVNI      = 1<<24 - 1 // RFC 7348, section 5
	maxMTU      = 65535
	maxLabelLen = 1024
)

// Object is one object of a collection, encoded. The same bytes go to all nodes.
type Object struct {
	Collection string
	Key        string
	Revision   int64
	Value      []byte
}

// ObjectError says that one object was not understood.
type ObjectError struct {
	Collection, Key string
	Err             error
}

// Error implements error.
func (e ObjectError) Error() string {
	return fmt.Sprintf("intent: object %s of collection %s: %v", e.Key, e.Collection, e.Err)
}

// Unwrap returns the cause.
func (e ObjectError) Unwrap() error { return e.Err }

// Decode makes a Node of its objects. An object that is not understood is left
// out and reported: versions of servers and agents differ, so it is never fatal.
func Decode(name, epoch string, compile uint32, revision int64, objects []Object) (Node, []ObjectError) {
	s, bad := NewSet(objects)
	return s.Node(name, epoch, compile, revision), append(s.Bad(), bad...)
}

var errTwice = errors.New("is there twice")

// EncodeCluster is the wire form of a Cluster, the same bytes for equal values.
func EncodeCluster(c Cluster) []byte {
	return marshal(&weftv1.ClusterIntent{
		ClusterCidrs:       texts(c.CIDRs),
		ServiceCidrs:       texts(c.ServiceCIDRs),
		Backend:            string(c.Backend),
		DirectRouting:      c.DirectRouting,
		Vni:                c.VNI,
		VxlanPort:          uint32(c.VXLANPort),
		Mtu:                uint32(c.MTU),
		MasqueradeCidrs:    texts(c.Masquerade),
		NonMasqueradeCidrs: texts(c.NonMasquerade),
		Spare:              c.Spare,
		Receive:            encodeCarriers(c.Receive),
		Behind:             c.Behind,
		Encryption:         string(c.Encryption),
		Topology:           string(c.Topology),
		WireguardPort:      uint32(c.WireGuardPort),
		PostQuantum:        c.PostQuantum,
		KeyDays:            uint32(c.KeyDays),
	})
}

// DecodeCluster reads what EncodeCluster writes.
func DecodeCluster(b []byte) (Cluster, error) {
	var m weftv1.ClusterIntent
	if err := proto.Unmarshal(b, &m); err != nil {
		return Cluster{}, fmt.Errorf("not a ClusterIntent: %w", err)
	}
	sends, err := carrier(m.Backend, m.Vni, m.VxlanPort, m.Spare)
	if err != nil {
		return Cluster{}, err
	}
	c := Cluster{DirectRouting: m.DirectRouting, MTU: int(m.Mtu), Behind: m.Behind}.By(sends)
	if err := decodeEncryption(&c, &m); err != nil {
		return Cluster{}, err
	}
	if m.Mtu > maxMTU {
		return Cluster{}, fmt.Errorf("mtu %d: at most %d", m.Mtu, maxMTU)
	}
	if len(m.Behind) > MaxBehind {
		return Cluster{}, fmt.Errorf("behind has %d names: at most %d", len(m.Behind), MaxBehind)
	}
	if c.Receive, err = decodeCarriers(m.Receive); err != nil {
		return Cluster{}, err
	}
	for _, f := range []struct {
		name string
		in   []string
		out  *[]netip.Prefix
	}{
		{"cluster_cidrs", m.ClusterCidrs, &c.CIDRs},
		{"service_cidrs", m.ServiceCidrs, &c.ServiceCIDRs},
		{"masquerade_cidrs", m.MasqueradeCidrs, &c.Masquerade},
		{"non_masquerade_cidrs", m.NonMasqueradeCidrs, &c.NonMasquerade},
	} {
		if *f.out, err = prefixes(f.name, f.in, true); err != nil {
			return Cluster{}, err
		}
	}
	return c, nil
}

// EncodePeer is the wire form of a Peer, the same bytes for equal values.
func EncodePeer(p Peer) []byte {
	m := &weftv1.PeerIntent{
		Name: p.Name, Lease: texts(p.Lease), Labels: p.Labels, Addresses: EncodeUnderlay(p.Underlay), Draining: texts(p.Draining),
		WireguardSlots: EncodeSlots(p.Slots), Candidates: EncodeCandidates(p.Candidates), Nat4: string(p.NAT4), Nat6: string(p.NAT6), Relays: p.Relays, Preshared: p.Preshared, NoWireguard: p.NoDevices, NoMesh: p.NoMesh,
	}
	if p.VTEP != (MAC{}) {
		m.VtepMac = p.VTEP.String()
	}
	return marshal(m)
}

// DecodePeer reads what EncodePeer writes.
func DecodePeer(b []byte) (Peer, error) {
	var m weftv1.PeerIntent
	if err := proto.Unmarshal(b, &m); err != nil {
		return Peer{}, fmt.Errorf("not a PeerIntent: %w", err)
	}
	if m.Name == "" || len(m.Name) > maxName {
		return Peer{}, fmt.Errorf("name of %d bytes: 1 to %d", len(m.Name), maxName)
	}
	p := Peer{Name: m.Name, Preshared: m.GetPreshared(), NoDevices: m.GetNoWireguard(), NoMesh: m.GetNoMesh()}
	var err error
	if p.Lease, err = prefixes("lease", m.Lease, true); err != nil {
		return Peer{}, err
	}
	if p.Draining, err = prefixes("draining", m.Draining, true); err != nil {
		return Peer{}, err
	}
	if p.Underlay, err = DecodeUnderlay(m.Addresses); err != nil {
		return Peer{}, err
	}
	if p.VTEP, err = ParseMAC(m.VtepMac); err != nil {
		return Peer{}, err
	}
	if p.Labels, err = labels(m.Labels); err != nil {
		return Peer{}, err
	}
	if err := DecodeMesh(&p, &m); err != nil {
		return Peer{}, err
	}
	return p, nil
}

// EncodeUnderlay is the wire form of a node's addresses.
func EncodeUnderlay(us []Underlay) []*weftv1.NodeAddress {
	var out []*weftv1.NodeAddress
	for _, u := range us {
		out = append(out, &weftv1.NodeAddress{Address: u.Addr.String(), Device: u.Device, Mtu: uint32(u.MTU)})
	}
	return out
}

// DecodeUnderlay reads what EncodeUnderlay writes.
func DecodeUnderlay(in []*weftv1.NodeAddress) ([]Underlay, error) {
	if len(in) > maxList {
		return nil, fmt.Errorf("%d addresses: at most %d", len(in), maxList)
	}
	var out []Underlay
	for _, a := range in {
		ps, err := prefixes("addresses", []string{a.GetAddress()}, false)
		if err != nil {
			return nil, err
		}
		if a.GetMtu() > maxMTU || len(a.GetDevice()) > 15 {
			return nil, fmt.Errorf("addresses: %v: MTU %d or device %q out of bounds", ps[0], a.GetMtu(), a.GetDevice())
		}
		out = append(out, Underlay{Addr: ps[0], Device: a.GetDevice(), MTU: int(a.GetMtu())})
	}
	return out, nil
}

func prefixes(field string, in []string, masked bool) ([]netip.Prefix, error) {
	if len(in) > maxList {
		return nil, fmt.Errorf("%s: %d entries; at most %d", field, len(in), maxList)
	}
	var out []netip.Prefix
	for _, s := range in {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %q is not a prefix", field, s)
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("%s: %q is IPv4 mapped into IPv6", field, s)
		case masked && p != p.Masked():
			return nil, fmt.Errorf("%s: %q has bits below its length; %v has not", field, s, p.Masked())
		}
		out = append(out, p)
	}
	return out, nil
}

func labels(in map[string]string) (map[string]string, error) {
	if len(in) > maxList {
		return nil, fmt.Errorf("labels: %d; at most %d", len(in), maxList)
	}
	for k, v := range in {
		if len(k)+len(v) > maxLabelLen {
			return nil, fmt.Errorf("labels: %.40q is longer than %d bytes", k, maxLabelLen)
		}
	}
	return maps.Clone(in), nil
}

func texts(ps []netip.Prefix) []string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return out
}

func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // our own message with valid UTF-8: a bug
	}
	return b
}
