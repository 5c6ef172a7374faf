package datapath

import (
	"net/netip"
	"strings"
)

// defaultMetric6 is what the kernel makes of metric 0 (IP6_RT_PRIO_USER in
// include/uapi/linux/ipv6_route.h).
const defaultMetric6 = 1024

// canonical is a state in the one form that kernel and producers share.
func canonical(s State) State {
	out := make(State, len(s))
	for k, o := range s {
		if c := Canonical(o); c != o {
			o, k = c, c.Key()
		}
		out[k] = o
	}
	return out
}

// Canonical is an object in the form that package kernel sees it: IPv6 metric
// 1024 is the default, names in elements stand without quotes, a single address
// without its length.
func Canonical(o Object) Object {
	switch o := o.(type) {
	case Route:
		if o.Metric == defaultMetric6 && o.Dst.Addr().Is6() {
			o.Metric = 0
		}
		return o
	case Element:
		o.Elem, o.Data = canonicalWords(o.Elem), canonicalWords(o.Data)
		return o
	case WGPeer:
		o.Endpoint = netip.AddrPortFrom(o.Endpoint.Addr().Unmap(), o.Endpoint.Port())
		return o
	}
	return o
}

func canonicalWords(s string) string {
	s = strings.ReplaceAll(s, `"`, "")
	if !strings.Contains(s, "/") {
		return s
	}
	words := strings.Split(s, " . ")
	for i, w := range words {
		if p, err := netip.ParsePrefix(w); err == nil && p.IsSingleIP() {
			words[i] = p.Addr().String()
		}
	}
	return strings.Join(words, " . ")
}

// same tells whether nothing needs to be done. What a wanted device or peer leaves
// open is as the kernel has it.
func same(want, have Object) bool {
	if w, ok := want.(WGPeer); ok {
		h, ok := have.(WGPeer)
		if ok && !w.Endpoint.IsValid() {
			h.Endpoint = w.Endpoint
		}
		return ok && w == h
	}
	w, ok := want.(Link)
	if !ok {
		return want == have
	}
	h, ok := have.(Link)
	if !ok {
		return false
	}
	if w.MAC == (MAC{}) {
		h.MAC = MAC{}
	}
	if w.MTU == 0 {
		h.MTU = 0
	}
	return w == h
}
