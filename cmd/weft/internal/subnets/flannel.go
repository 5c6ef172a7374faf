package subnets

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// KV is one key of an etcd.
type KV struct{ Key, Value string }

// flannelKey is the end of the key of a lease: 10.42.1.0-24, and with IPv6
// 10.42.1.0-24&fd42:42:0:1::-64 (flannel, pkg/subnet/subnet.go: MakeSubnetKey).
var flannelKey = regexp.MustCompile(`^(\d+\.\d+\.\d+\.\d+)-(\d+)(?:&([0-9a-fA-F:]+)-(\d+))?$`)

// Flannel reads the leases that Flannel's daemons keep below prefix/subnets/. The
// node's name is not among what they tell: only its addresses are.
func Flannel(prefix string, kvs []KV) ([]Subnet, error) {
	root := strings.TrimSuffix(prefix, "/") + "/subnets/"
	var out []Subnet
	var errs []error
	for _, kv := range kvs {
		name, ok := strings.CutPrefix(kv.Key, root)
		if !ok {
			continue
		}
		s, err := flannelLease(name, kv.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%.200s: %w", kv.Key, err))
			continue
		}
		s.From = kv.Key
		out = append(out, s)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs[:min(len(errs), 5)]...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no lease below %s; is it Flannel's --etcd-prefix?", root)
	}
	slices.SortFunc(out, func(a, b Subnet) int { return a.Prefixes[0].Compare(b.Prefixes[0]) })
	return out, nil
}

func flannelLease(name, value string) (Subnet, error) {
	m := flannelKey.FindStringSubmatch(name)
	if m == nil {
		return Subnet{}, errors.New("is no lease's key, such as 10.42.1.0-24")
	}
	var s Subnet
	for _, part := range [][2]string{{m[1], m[2]}, {m[3], m[4]}} {
		if part[0] == "" {
			continue
		}
		addr, err := netip.ParseAddr(part[0])
		bits, numeric := strconv.Atoi(part[1])
		if err != nil || numeric != nil || bits > addr.BitLen() {
			return Subnet{}, fmt.Errorf("%s/%s is not a subnet", part[0], part[1])
		}
		if p := netip.PrefixFrom(addr, bits); !addr.IsUnspecified() || bits > 0 { // 0.0.0.0-0: no IPv4
			s.Prefixes = append(s.Prefixes, p.Masked())
		}
	}
	if len(s.Prefixes) == 0 {
		return Subnet{}, errors.New("holds no subnet")
	}
	var attrs struct {
		PublicIP   string
		PublicIPv6 string
	}
	if err := json.Unmarshal([]byte(value), &attrs); err != nil {
		return Subnet{}, fmt.Errorf("its value is not a lease: %w", err)
	}
	for _, text := range []string{attrs.PublicIP, attrs.PublicIPv6} {
		if a, err := netip.ParseAddr(text); err == nil && !a.IsUnspecified() {
			s.Hosts = append(s.Hosts, a.Unmap())
		}
	}
	return s, nil
}

// Env reads a subnet.env, of one node.
func Env(node, file string, b []byte) (Subnet, error) {
	if len(b) > 64<<10 {
		return Subnet{}, fmt.Errorf("%s: %d bytes; a subnet.env is small", file, len(b))
	}
	s := Subnet{Node: node, From: file}
	for i, line := range strings.Split(string(b), "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || key != "FLANNEL_SUBNET" && key != "FLANNEL_IPV6_SUBNET" {
			continue
		}
		p, err := masked(strings.Trim(value, `"'`))
		if err != nil {
			return Subnet{}, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		s.Prefixes = append(s.Prefixes, p)
	}
	if len(s.Prefixes) == 0 {
		return Subnet{}, fmt.Errorf("%s: neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET is in it", file)
	}
	return s, nil
}
