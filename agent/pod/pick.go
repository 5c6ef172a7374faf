package pod

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
)

// pick chooses a pod's addresses: those asked for by name, and one of every other
// family of the lease. The caller holds mu.
func (k *Keeper) pick(n Node, want []netip.Addr) ([]netip.Addr, error) {
	pool := ipam.Pool{Prefixes: n.open()}
	families := intent.Families(n.open())
	if len(families) == 0 {
		return nil, cniwire.Errorf(cniwire.CodeTryAgain, "pod: no address: all that this node is leased, %v, is on its way back; look: weft describe lease %s", n.Lease, n.Name)
	}
	if err := k.sure(families); err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range want {
		if err := pool.Check(a, k.taken); err != nil {
			code := cniwire.CodeConfig
			if k.taken(a) {
				code = cniwire.CodeTryAgain
			}
			return nil, cniwire.Errorf(code, "pod: address %v: %v", a, err)
		}
	}
	for _, is4 := range families {
		if i := slices.IndexFunc(want, func(a netip.Addr) bool { return a.Is4() == is4 }); i >= 0 {
			out = append(out, want[i])
			continue
		}
		a, err := pool.Pick(ipam.Request{
			Is4: is4, After: k.last[is4], Now: k.Now(), Used: k.taken,
			Freed: func(a netip.Addr) time.Time { return k.freed[a] },
		})
		if err != nil {
			return nil, cniwire.Errorf(cniwire.CodeTryAgain, "pod: no address: %v", err)
		}
		k.last[is4] = a
		out = append(out, a)
	}
	return out, nil
}

// taken tells whether an address may be a pod's. The caller holds mu.
func (k *Keeper) taken(a netip.Addr) bool {
	_, held := k.used[a]
	if held {
		return true
	}
	for _, aside := range k.asides {
		if slices.Contains(aside.addrs, a) {
			return true
		}
	}
	return false
}
