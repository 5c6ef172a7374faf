package pod

import (
	"context"
	"errors"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/note"
)

// Del detaches a pod. It works from the record; without one it removes the device
// that the pod would have and succeeds. It can be repeated.
func (k *Keeper) Del(ctx context.Context, req cniwire.Request) error {
	id, err := identify(req)
	if err != nil {
		return err
	}
	done, err := k.turns.take(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	return k.remove(ctx, id)
}

// GC detaches what the runtime no longer knows of one network. A configuration
// without the key of valid attachments does nothing: it is not an empty list.
func (k *Keeper) GC(ctx context.Context, req cniwire.Request) error {
	p, err := decodePlugin(req.Config)
	if err != nil || p.Valid == nil {
		return err
	}
	var errs []error
	for _, e := range k.all() {
		if e.Network != p.Name || slices.Contains(*p.Valid, types.GCAttachment{ContainerID: e.ContainerID, IfName: e.IfName}) {
			continue
		}
		done, err := k.turns.take(ctx, e.ID())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, k.remove(ctx, e.ID()))
		done()
	}
	if err = errors.Join(errs...); err != nil {
		return cniwire.Errorf(cniwire.CodeTryAgain, "%v", err)
	}
	return nil
}

// remove takes an attachment out of the kernel, then gives its addresses back. As
// long as the kernel or the disk refuses, the record stands. The caller has the
// attachment's turn.
func (k *Keeper) remove(ctx context.Context, id ID) error {
	k.mu.Lock()
	e := k.entries[id]
	var from string
	if e != nil {
		from = e.suffix()
		e.attached = false
		if e.phase == ready {
			e.phase = leaving
		}
	}
	k.mu.Unlock()
	if e == nil {
		return k.removeUnknown(ctx, id)
	}
	// The loop goes first: once it has planned without the endpoint, nobody tries to
	// heal what goes now. Address and routes go with the device. When the loop is
	// stuck, host ports lead nowhere until it is not.
	if err := k.sync(ctx, e.Record, e.portKeys()); err != nil {
		k.Log.Warn("endpoint not cleaned up by the loop", note.Pod, e.Who(), note.Dev, e.HostDev, note.Err, err)
	}
	if err := k.Kernel.Detach(ctx, e.HostDev); err != nil {
		return again("detach", e.Record, err)
	}
	k.forgetFlows(ctx, e.Record, false)
	now := k.Now()
	if err := k.shelf.rest(e.HostDev, from, now); err != nil {
		return again("give back", e.Record, err)
	}
	k.mu.Lock()
	k.forget(e)
	k.restsSince(e.Record, now)
	k.mu.Unlock()
	k.Log.Info("pod detached", note.Pod, e.Who(), note.Dev, e.HostDev, note.Addr, e.Addrs)
	k.OnChange()
	return nil
}

// removeUnknown detaches a pod of which there is no record, or none that can be
// read: the name of its device follows from its ID.
func (k *Keeper) removeUnknown(ctx context.Context, id ID) error {
	dev := id.HostDev()
	if err := k.Kernel.Detach(ctx, dev); err != nil {
		return again("detach", Record{ContainerID: id.ContainerID, IfName: id.IfName, HostDev: dev}, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	a, ok := k.asides[dev]
	if !ok {
		return nil
	}
	if err := k.shelf.drop(dev, suffixUnreadable); err != nil {
		return cniwire.Errorf(cniwire.CodeTryAgain, "%v", err)
	}
	k.letGo(a)
	delete(k.asides, dev)
	return nil
}
