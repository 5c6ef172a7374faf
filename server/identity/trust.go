package identity

import (
	"context"
	"crypto/x509"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
)

// acks are what nodes have said they trust, on its way to the store.
type acks struct {
	mu   sync.Mutex
	said map[string]string // the newest root's hash, by node
	wake chan struct{}     // room for one
}

// acksAtOnce is how many of them one transaction writes.
const acksAtOnce = 100

// renewalsPerSecond is how fast agents are asked to renew after a rotation.
const renewalsPerSecond = 100

// Trusts notes which roots a node says that it trusts.
func (a *Authority) Trusts(node string, hashes []string) {
	next := a.roots().next
	if next == nil || !slices.Contains(hashes, next.hash) {
		return
	}
	if e, ok := a.book.Get(trustPrefix + node); ok && string(e.Value) == next.hash {
		return
	}
	a.acks.mu.Lock()
	if a.acks.said == nil {
		a.acks.said = map[string]string{}
	}
	a.acks.said[node] = next.hash
	a.acks.mu.Unlock()
	wake(a.acks.wake)
}

// wake fills a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// proves takes a certificate for a node's word that it trusts the next root: it was
// given with that root, and an agent keeps the roots before the certificate. So
// agents that cannot say it are not waited for for ever.
func (a *Authority) proves(p Peer, cert *x509.Certificate) {
	next := a.roots().next
	if p.Role != RoleNode || next == nil {
		return
	}
	if n, ok := a.Node(p.Name); ok && n.Key.Told == next.hash && n.Key.EndsUnix == cert.NotAfter.Unix() {
		a.Trusts(p.Name, []string{next.hash})
	}
}

// Trust answers what to tell a node that trusts these roots; nil: nothing. A node
// that says none is of a release that learns roots only with its certificate.
func (a *Authority) Trust(node string, said []string) *weftv1.Trust {
	if len(said) == 0 {
		return nil
	}
	r := a.roots()
	n, known := a.Node(node)
	renew := known && r.phase() == PhaseRenewing && n.Key.Root != r.issuing.hash
	want := r.hashes()
	if !renew && slices.Equal(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(said))) {
		return nil
	}
	within := time.Duration(len(a.Nodes())) * time.Second / renewalsPerSecond
	return &weftv1.Trust{Roots: r.told(), Renew: renew, WithinMilli: uint32(within.Milliseconds())}
}

// OnRoots calls fn when other roots count. fn runs in a goroutine of Run and must
// be quick.
func (a *Authority) OnRoots(fn func()) {
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.rooted = append(a.live.rooted, fn)
}

// keepTrust writes what nodes say, and takes a rotation's step when it can be
// taken, until ctx ends.
func (a *Authority) keepTrust(ctx context.Context) error {
	tick := time.NewTicker(rotationCheck)
	defer tick.Stop()
	for {
		if err := a.writeTrust(ctx); err != nil && ctx.Err() == nil {
			a.config.Log.Warn("trust of nodes not written", note.Err, err, note.Retry, rotationCheck)
		}
		if err := a.advance(ctx); err != nil && ctx.Err() == nil {
			a.config.Log.Warn("rotation of the CA not advanced", note.Err, err, note.Retry, rotationCheck)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-a.acks.wake:
		}
	}
}

// rotationCheck is how often a rotation is looked at when nothing is heard.
const rotationCheck = 5 * time.Second

func (a *Authority) writeTrust(ctx context.Context) error {
	for {
		var txn store.Txn
		a.acks.mu.Lock()
		for node, hash := range a.acks.said {
			if len(txn.Then) == acksAtOnce {
				break
			}
			txn.Then = append(txn.Then, store.Write{Key: trustPrefix + node, Value: []byte(hash)})
		}
		a.acks.mu.Unlock()
		if len(txn.Then) == 0 {
			return nil
		}
		if err := a.swap(ctx, func() (store.Txn, error) { return txn, nil }); err != nil {
			return err
		}
		a.acks.mu.Lock()
		for _, w := range txn.Then {
			if node := w.Key[len(trustPrefix):]; a.acks.said[node] == string(w.Value) {
				delete(a.acks.said, node)
			}
		}
		a.acks.mu.Unlock()
	}
}
