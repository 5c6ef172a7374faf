package kernel

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// families of nftables whose chains see IP packets (NFPROTO_*).
var families = []struct {
	number uint8
	name   string
}{
	{unix.NFPROTO_IPV4, "ip"},
	{unix.NFPROTO_IPV6, "ip6"},
	{unix.NFPROTO_INET, "inet"},
}

// others remembers the chains of others that stand where packets are forwarded.
// Hosts with many services have thousands of chains, so they are listed again only
// after an event that is about one of these, and every time as long as nobody
// watches.
type others struct {
	mu      sync.Mutex
	heard   bool // somebody watches
	changes int  // how often chains were forgotten
	known   bool // chains holds what there is
	chains  []datapath.HostChain

	stirs   atomic.Uint64
	stirred chan struct{} // room for one
}

// stir says that something of others has changed, whatever it was.
func (o *others) stir() {
	o.stirs.Add(1)
	select {
	case o.stirred <- struct{}{}:
	default:
	}
}

// OtherChains lists the base chains of others that forwarded packets pass, after
// the node's own network has decided on their way. It is cheap while Watch runs,
// which kicks no kinds when another is there or one is gone.
func (k *Kernel) OtherChains(ctx context.Context) ([]datapath.HostChain, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o := &k.nft.others
	o.mu.Lock()
	chains, known, changes := o.chains, o.known, o.changes
	o.mu.Unlock()
	if known {
		return chains, nil
	}
	chains, err := k.nft.otherChains()
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.heard && o.changes == changes {
		o.chains, o.known = chains, true
	}
	return chains, nil
}

func (n *nft) otherChains() ([]datapath.HostChain, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []datapath.HostChain
	for _, f := range families {
		list, err := n.sock.dumpOf(f.number, unix.NFT_MSG_GETCHAIN, nil)
		if err != nil {
			return nil, fmt.Errorf("kernel: list of chains of family %s: %w", f.name, err)
		}
		for _, b := range list {
			c, ok, err := otherChain(f.number, b)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// otherChain reads a chain, and tells whether it is of another's table, and
// forwarded packets pass it.
func otherChain(family uint8, b []byte) (out datapath.HostChain, ok bool, err error) {
	c, table, err := parseChain(b)
	for _, f := range families {
		if f.number == family {
			out.Family = f.name
		}
	}
	if err != nil || out.Family == "" || family == inetFamily && table == datapath.Table {
		return out, false, err
	}
	out.Table, out.Name, out.Type, out.Hook = table, c.Name, c.Type, c.Hook
	return out, c.Hook == "forward" || c.Hook == "postrouting", nil
}

// event takes that a chain came or went, and tells whether it matters. The event
// that one went does not say at which hook it was.
func (o *others) event(family uint8, msg uint16, b []byte) bool {
	c, matters, err := otherChain(family, b)
	if err != nil {
		return false
	}
	if msg == unix.NFT_MSG_DELCHAIN {
		matters = o.has(c)
	}
	if matters {
		o.forget()
	}
	return matters
}

// has tells whether a chain of that name may be among those remembered.
func (o *others) has(c datapath.HostChain) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.known || slices.ContainsFunc(o.chains, func(have datapath.HostChain) bool {
		return have.Family == c.Family && have.Table == c.Table && have.Name == c.Name
	})
}

// forget has the chains listed again.
func (o *others) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known, o.chains = false, nil
	o.changes++
}

// watched says whether events will tell of changes from now on.
func (o *others) watched(yes bool) {
	o.forget()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = yes
}
