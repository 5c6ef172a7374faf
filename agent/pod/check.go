package pod

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/intent"
)

// Check tells whether an attachment is as its ADD left it: the record against the
// runtime's memory, the pod's end, the host's end.
func (k *Keeper) Check(ctx context.Context, req cniwire.Request) error {
	id, err := identify(req)
	if err != nil {
		return err
	}
	p, err := decodePlugin(req.Config)
	if err != nil {
		return err
	}
	prev, err := p.previous()
	if err != nil {
		return err
	}
	done, err := k.turns.take(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	e := k.entry(id)
	switch {
	case e == nil:
		return cniwire.Errorf(cniwire.CodeUnknownContainer, "pod: no record of %v", id)
	case e.phase != ready:
		return cniwire.Errorf(cniwire.CodeTryAgain, "pod: the ADD of %s was cut off; DEL it", e.Who())
	}
	nsid, err := k.target(req.NetNS)
	if err != nil {
		return err
	}
	if !nsid.Same(e.NSID) {
		return cniwire.Errorf(cniwire.CodeNetNS, "pod: CNI_NETNS %s is not the namespace that %s was added to", req.NetNS, e.Who())
	}
	if err = agrees(prev, e.Record); err != nil {
		return err
	}
	if _, err = k.Kernel.CheckAttached(ctx, e.attachment()); err != nil {
		return cniwire.Errorf(cniwire.CodeInternal, "pod: %s (%s): %v", e.Who(), e.HostDev, err)
	}
	return k.sync(ctx, e.Record, k.keys(e.Record))
}

// Status tells whether an ADD could succeed now, in the words of STATUS: code 50
// if not, 51 if it could but pods may have limited connectivity.
func (k *Keeper) Status(req cniwire.Request) error {
	if err := strict(req.Config); err != nil {
		return err
	}
	if k.Elsewhere != "" {
		return k.elsewhere(cniwire.CodeNotAvailable)
	}
	n, ok := k.Node()
	if !ok || len(n.Lease) == 0 || n.MTU == 0 {
		return cniwire.Errorf(cniwire.CodeNotAvailable, "pod: this node has no lease yet; look: weft get nodes, journalctl -u weft-agent")
	}
	if err := k.writable(); err != nil {
		return cniwire.Errorf(cniwire.CodeNotAvailable, "pod: records cannot be written: %v; see to the disk of %s", err, k.Dir)
	}
	if err := k.exhausted(n); err != nil {
		return cniwire.Errorf(cniwire.CodeNotAvailable, "pod: %v", err)
	}
	if k.Degraded == nil {
		return nil
	}
	if why := k.Degraded(); why != "" {
		return cniwire.Errorf(cniwire.CodeLimited, "pod: pods may have limited connectivity: %s; look: weft status", why)
	}
	return nil
}

// writable tries the disk again if it refused the last record.
func (k *Keeper) writable() error {
	k.mu.Lock()
	failed := k.writeErr
	k.mu.Unlock()
	if failed == nil {
		return nil
	}
	err := k.shelf.probe()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writeErr = err
	return err
}

// exhausted tells which family has no address left, resting ones not counted.
func (k *Keeper) exhausted(n Node) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	pool := ipam.Pool{Prefixes: n.open()}
	for _, is4 := range intent.Families(n.open()) {
		if _, err := pool.Pick(ipam.Request{Is4: is4, After: k.last[is4], Now: k.Now(), Used: k.taken}); err != nil {
			return fmt.Errorf("no address: %w", err)
		}
	}
	return nil
}
