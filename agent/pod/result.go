package pod

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/weft-net/weft/proto/cniwire"
)

// gateway6 is the host's end of every veth, for pods.
var gateway6 = netip.MustParseAddr("fe80::1")

// gateway is what a pod's address is routed over.
func (r Record) gateway(is4 bool) netip.Addr {
	if is4 {
		return r.Gateway4
	}
	return gateway6
}

// result is what ADD gives back: what was there before, then ours.
func result(r Record, dns types.DNS, prev *types100.Result) *types100.Result {
	out := &types100.Result{CNIVersion: types100.ImplementedSpecVersion}
	if prev != nil {
		*out = *prev
	}
	first := len(out.Interfaces)
	out.Interfaces = append(slices.Clip(out.Interfaces),
		&types100.Interface{Name: r.HostDev, Mac: r.HostMAC, Mtu: r.MTU},
		&types100.Interface{Name: r.IfName, Mac: r.MAC, Mtu: r.MTU, Sandbox: r.NetNS})
	for _, a := range r.Addrs {
		gw := net.IP(r.gateway(a.Is4()).AsSlice())
		out.IPs = append(out.IPs, &types100.IPConfig{
			Interface: types100.Int(first + 1),
			Address:   net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())},
			Gateway:   gw,
		})
		out.Routes = append(out.Routes, &types.Route{
			Dst: net.IPNet{IP: make(net.IP, a.BitLen()/8), Mask: net.CIDRMask(0, a.BitLen())},
			GW:  gw,
		})
	}
	if !dns.IsEmpty() {
		out.DNS = dns
	}
	return out
}

// render writes a result in the version that was asked for.
func render(r *types100.Result, version string) (json.RawMessage, error) {
	as, err := r.GetAsVersion(version)
	if err != nil {
		return nil, cniwire.Errorf(cniwire.CodeIncompatibleVersion, "pod: cniVersion %q: %v", version, err)
	}
	var b bytes.Buffer
	if err = as.PrintTo(&b); err != nil {
		return nil, cniwire.Errorf(cniwire.CodeInternal, "pod: write the result: %v", err)
	}
	return b.Bytes(), nil
}

// previous reads a configuration's prevResult; nil if there is none.
func (p plugin) previous() (*types100.Result, error) {
	if len(p.PrevResult) == 0 || string(p.PrevResult) == "null" {
		return nil, nil
	}
	if err := noNulls(p.PrevResult); err != nil {
		return nil, err
	}
	prev, err := create.Create(p.CNIVersion, p.PrevResult)
	if err != nil {
		return nil, cniwire.Errorf(cniwire.CodeDecoding, "pod: prevResult: %v", err)
	}
	r, err := types100.NewResultFromResult(prev)
	if err != nil {
		return nil, cniwire.Errorf(cniwire.CodeDecoding, "pod: prevResult: %v", err)
	}
	return r, nil
}

// noNulls refuses null in the lists of a result: the CNI library's conversions
// would fall over it.
func noNulls(result []byte) error {
	var lists struct {
		Interfaces []json.RawMessage `json:"interfaces"`
		IPs        []json.RawMessage `json:"ips"`
		Routes     []json.RawMessage `json:"routes"`
	}
	if err := json.Unmarshal(result, &lists); err != nil {
		return cniwire.Errorf(cniwire.CodeDecoding, "pod: prevResult: %v", err)
	}
	for _, item := range slices.Concat(lists.Interfaces, lists.IPs, lists.Routes) {
		if string(item) == "null" {
			return cniwire.Errorf(cniwire.CodeDecoding, "pod: prevResult: null in a list")
		}
	}
	return nil
}

// made tells whether a result says that the interface is there already.
func made(prev *types100.Result, netns, ifname string) bool {
	return prev != nil && slices.ContainsFunc(prev.Interfaces, func(i *types100.Interface) bool {
		return i.Sandbox == netns && i.Name == ifname
	})
}

// agrees tells whether a result, if it speaks of the pod's interface, gives it
// the record's addresses. Plugins after us may have added theirs.
func agrees(prev *types100.Result, r Record) error {
	if prev == nil {
		return nil
	}
	at := slices.IndexFunc(prev.Interfaces, func(i *types100.Interface) bool {
		return i.Sandbox != "" && i.Name == r.IfName
	})
	if at < 0 {
		return cniwire.Errorf(cniwire.CodeConfig, "pod: prevResult has no interface %s in the pod; the record of %s has %v", r.IfName, r.Who(), r.Addrs)
	}
	var there []netip.Addr
	for _, ip := range prev.IPs {
		if ip.Interface != nil && *ip.Interface != at {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			there = append(there, a.Unmap())
		}
	}
	for _, a := range r.Addrs {
		if !slices.Contains(there, a) {
			return cniwire.Errorf(cniwire.CodeConfig, "pod: prevResult gives %s the addresses %v, the record of %s has %v", r.IfName, there, r.Who(), r.Addrs)
		}
	}
	return nil
}
