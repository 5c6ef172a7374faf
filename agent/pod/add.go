package pod

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/kernel"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/note"
)

// undoWait is how long a failed ADD may take to remove what it made.
const undoWait = 2 * time.Second

// addition is an ADD whose input was checked.
type addition struct {
	id   ID
	conf plugin
	wish wish
	prev *types100.Result
	nsid NSID
	node Node
	path string // of the namespace
}

// Add attaches a pod and returns the CNI result. When it fails the kernel is as
// before; a record that reached the disk stays, so that a second try gets the
// same addresses, until DEL, GC or the end of its namespace.
func (k *Keeper) Add(ctx context.Context, req cniwire.Request) (json.RawMessage, error) {
	a, err := k.checkAdd(req)
	if err != nil {
		return nil, err
	}
	done, err := k.turns.take(ctx, a.id)
	if err != nil {
		return nil, err
	}
	defer done()
	cut, err := k.clearWay(ctx, a)
	if err != nil {
		return nil, err
	}
	e, err := k.claim(a, cut)
	if err != nil {
		return nil, err
	}
	text, err := render(result(e.Record, a.wish.dns, a.prev), a.conf.CNIVersion)
	if err == nil {
		err = k.record(e)
	}
	if err != nil {
		k.unclaim(e)
		return nil, err
	}
	if err = k.connect(ctx, e); err != nil {
		return nil, err
	}
	if err = k.finish(e); err != nil {
		k.disconnect(ctx, e)
		return nil, err
	}
	k.forgetFlows(ctx, e.Record, true)
	k.Log.Info("pod attached", note.Pod, e.Who(), note.Dev, e.HostDev, note.Addr, e.Addrs)
	k.OnChange()
	return text, nil
}

// checkAdd refuses what cannot be done before anything is touched.
func (k *Keeper) checkAdd(req cniwire.Request) (addition, error) {
	id, err := identify(req)
	if err != nil {
		return addition{}, err
	}
	a := addition{id: id, path: req.NetNS}
	if a.conf, err = decodePlugin(req.Config); err != nil {
		return addition{}, err
	}
	if err = a.conf.checkVersion(); err != nil {
		return addition{}, err
	}
	if err = strict(req.Config); err != nil {
		return addition{}, err
	}
	if a.wish, err = a.conf.wish(req.Args); err != nil {
		return addition{}, err
	}
	if a.prev, err = a.conf.previous(); err != nil {
		return addition{}, err
	}
	if made(a.prev, req.NetNS, req.IfName) {
		return addition{}, cniwire.Errorf(cniwire.CodeConfig,
			"pod: an earlier plugin has made %s; weft-cni makes the pod's interface: put it first in the chain", req.IfName)
	}
	if a.nsid, err = k.target(req.NetNS); err != nil {
		return addition{}, err
	}
	if k.Elsewhere != "" {
		return addition{}, k.elsewhere(cniwire.CodeConfig)
	}
	var ok bool
	if a.node, ok = k.Node(); !ok || len(a.node.Lease) == 0 || a.node.MTU == 0 {
		return addition{}, cniwire.Errorf(cniwire.CodeTryAgain,
			"pod: this node has no lease yet; look: weft get nodes, journalctl -u weft-agent")
	}
	if err = k.portsForPods(a.wish.hostPorts, a.node); err != nil {
		return addition{}, err
	}
	return a, nil
}

// elsewhere refuses to give addresses that another plugin gives.
func (k *Keeper) elsewhere(code cniwire.Code) error {
	return cniwire.Errorf(code, "pod: the addresses of this node's lease are given by the plugin that reads %s (--subnet-file); configure that one, or start weft-agent without --subnet-file", k.Elsewhere)
}

// target identifies the namespace of an ADD or CHECK. The agent's own is refused:
// the CNI library would notice only afterwards.
func (k *Keeper) target(path string) (NSID, error) {
	if path == "" {
		return NSID{}, cniwire.Errorf(cniwire.CodeEnvironment, "pod: CNI_NETNS is empty")
	}
	id, err := k.Namespaces.Identify(path)
	if err != nil {
		return NSID{}, cniwire.Errorf(cniwire.CodeNetNS, "pod: CNI_NETNS: %v", err)
	}
	if id.Same(k.Namespaces.Own()) {
		return NSID{}, cniwire.Errorf(cniwire.CodeNetNS, "pod: CNI_NETNS %s is the node's own namespace; a pod needs one of its own", path)
	}
	return id, nil
}

// clearWay looks at an earlier record of the same attachment. One whose ADD was
// cut off is returned, so that its addresses are used again; one whose namespace
// is gone is given back; a live one is an error, as the specification wants it.
func (k *Keeper) clearWay(ctx context.Context, a addition) (*entry, error) {
	k.mu.Lock()
	e, unreadable := k.entries[a.id], k.asides[a.id.HostDev()]
	k.mu.Unlock()
	switch {
	case unreadable.path != "":
		return nil, cniwire.Errorf(cniwire.CodeTryAgain, "pod: the record of %v is not understood (%s: %s); DEL it first", a.id, unreadable.path, unreadable.cause)
	case e == nil:
		return nil, nil
	case e.phase == adding:
		if err := k.Kernel.Detach(ctx, e.HostDev); err != nil {
			return nil, again("remove what an earlier ADD left", e.Record, err)
		}
		return e, nil
	case e.phase == ready && k.alive(e.Record):
		return nil, cniwire.Errorf(cniwire.CodeEnvironment, "pod: %s is attached already, with %v; DEL it first", e.Who(), e.Addrs)
	}
	return nil, k.remove(ctx, a.id)
}

// record writes an entry's record and remembers whether that can be done.
func (k *Keeper) record(e *entry) error {
	err := k.shelf.write(e.Record)
	k.mu.Lock()
	k.writeErr = err
	k.mu.Unlock()
	if err != nil {
		return cniwire.Errorf(cniwire.CodeIO, "%v; nothing was changed, see to the disk of %s", err, k.Dir)
	}
	return nil
}

// connect makes the kernel match the record: the veth first, then the host's end
// through the loop.
func (k *Keeper) connect(ctx context.Context, e *entry) error {
	err := k.attach(ctx, e.Record)
	if errors.Is(err, kernel.ErrTaken) {
		err = cniwire.Errorf(cniwire.CodeEnvironment, "pod: attach %s: %v; the pod has an interface of that name", e.Who(), err)
	} else if err != nil {
		err = again("attach", e.Record, err)
	} else {
		k.mark(e, func() { e.attached = true })
		err = k.sync(ctx, e.Record, k.keys(e.Record))
	}
	if err != nil {
		k.disconnect(ctx, e)
	}
	return err
}

// sync has the loop plan anew and see to some objects of an endpoint.
func (k *Keeper) sync(ctx context.Context, r Record, keys []datapath.Key) error {
	ctx, cancel := context.WithTimeout(ctx, k.SyncWait)
	defer cancel()
	if err := k.Loop.Sync(ctx, keys); err != nil {
		return again("program the host's end of", r, err)
	}
	return nil
}

// disconnect rolls an ADD back to its record.
func (k *Keeper) disconnect(ctx context.Context, e *entry) {
	k.mark(e, func() { e.attached = false })
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWait)
	defer cancel()
	if err := k.Kernel.Detach(ctx, e.HostDev); err != nil {
		k.Log.Warn("failed ADD not rolled back", note.Pod, e.Who(), note.Dev, e.HostDev, note.Err, err)
	}
}

// finish marks an ADD as done.
func (k *Keeper) finish(e *entry) error {
	if err := k.shelf.promote(e.HostDev); err != nil {
		return cniwire.Errorf(cniwire.CodeIO, "%v", err)
	}
	k.mark(e, func() { e.phase = ready })
	return nil
}

// mark changes an entry.
func (k *Keeper) mark(e *entry, change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

// again is an error that the runtime shall meet with another try.
func again(what string, r Record, err error) error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) && len(many.Unwrap()) > 0 {
		err = many.Unwrap()[0] // one for each object, often the same
	}
	return cniwire.Errorf(cniwire.CodeTryAgain, "pod: %s %s (%s): %v", what, r.Who(), r.HostDev, err)
}
