package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/weft-net/weft/agent/datapath"
)

// Keyring finds the secrets of WireGuard by what stands for them.
type Keyring interface {
	Private(pub datapath.WGKey) ([32]byte, bool)
	Preshared(id [32]byte) ([32]byte, bool) // by its SHA-256
}

// Userspace has WireGuard devices made by processes where the kernel makes none. A
// device is there as long as its process is.
type Userspace interface {
	// Start makes a device, in the network namespace of the Kernel, by a process that
	// outlives this one, and returns when it can be configured.
	Start(ctx context.Context, dev string) error
	// Stop ends the process and returns when the device is gone. One that is not
	// there is success.
	Stop(ctx context.Context, dev string) error
	// Mend says what process has a device, and what a person types if it hangs.
	Mend(dev string) (process, line string)
}

// Who makes WireGuard devices.
const (
	InKernel    = "kernel"
	InUserspace = "userspace"
)

const (
	// uapiDir is where processes that make WireGuard devices listen
	// (wireguard.com/xplatform, "Cross-platform Userspace Implementation").
	uapiDir = "/var/run/wireguard"
	tunPath = "/dev/net/tun"

	// wgPatience bounds one look at a device, whose process may hang.
	wgPatience = 5 * time.Second
)

// wireguard is what configures devices of both kinds. It is safe for concurrent use.
type wireguard struct {
	keyring   Keyring
	userspace Userspace
	only      string // InKernel or InUserspace; empty: either

	mu       sync.Mutex
	client   *wgctrl.Client
	inKernel bool             // the client was made when the kernel had WireGuard
	askings  map[string]*asks // by device
}

// asks are the requests to one device: one at a time, so that a process that hangs
// costs one goroutine.
type asks struct {
	turn  chan struct{} // holds one while a request is under way
	since atomic.Int64  // Unix nanoseconds of its start; 0: none is
	uapi  *uapi         // of who has the turn; nil: none is open
}

// hang tells whether a request is under way that should have ended.
func (a *asks) hang() bool {
	since := a.since.Load()
	return since != 0 && time.Since(time.Unix(0, since)) > wgPatience
}

func (w *wireguard) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.askings {
		select {
		case a.turn <- struct{}{}:
			a.hangUp()
			<-a.turn
		default: // it goes with the process that hangs, or with ours
		}
	}
	if w.client == nil {
		return nil
	}
	return w.client.Close()
}

// WireGuard tells who makes WireGuard devices here: InKernel, InUserspace, or nobody,
// which is empty.
func (k *Kernel) WireGuard(ctx context.Context) (kind string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if k.wg.only != InUserspace {
		switch has, err := k.hasWireGuard(); {
		case has:
			return InKernel, err
		case err != nil || k.wg.only == InKernel:
			return "", err
		}
	}
	if k.wg.userspace == nil {
		return "", nil
	}
	tun, err := os.OpenFile(tunPath, os.O_RDWR, 0)
	if err != nil {
		return "", nil // a container without the device: nobody
	}
	return InUserspace, tun.Close()
}

// hasWireGuard asks the kernel for a device with an MTU that none can have
// (RTM_NEWLINK, dev_validate_mtu in net/core/dev.c), so that it says whether it knows
// the type, loads the module if it must, and makes nothing.
func (k *Kernel) hasWireGuard() (bool, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "weft-wg-probe", math.MaxInt32
	switch err := k.route.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs}); {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return true, nil
	case err == nil:
		return true, k.route.LinkDel(&netlink.Wireguard{LinkAttrs: attrs})
	case errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	default:
		return false, fmt.Errorf("kernel: ask for WireGuard; the agent needs CAP_NET_ADMIN: %w", err)
	}
}

// typeOf is the type of a device as package datapath names it. A WireGuard device that
// a process makes is a TUN device that has a socket.
func typeOf(l netlink.Link) string {
	if _, ok := l.(*netlink.Tuntap); ok && datapath.IsOurs(l.Attrs().Name, datapath.LinkWG) {
		if fi, err := os.Lstat(uapiSocket(l.Attrs().Name)); err == nil && fi.Mode()&fs.ModeSocket != 0 {
			return datapath.LinkWG
		}
	}
	return l.Type()
}

func uapiSocket(dev string) string { return filepath.Join(uapiDir, dev+".sock") }

// connected returns a client; one that was made before the kernel had WireGuard is
// replaced once it has.
func (k *Kernel) connected(inKernel bool) (*wgctrl.Client, error) {
	k.wg.mu.Lock()
	defer k.wg.mu.Unlock()
	if k.wg.client != nil && (k.wg.inKernel || !inKernel) {
		return k.wg.client, nil
	}
	var fresh *wgctrl.Client
	err := inside(k.ns, func() (err error) {
		fresh, err = wgctrl.New() // bound to the namespace of the thread
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("generic netlink socket: %w", err)
	}
	if k.wg.client != nil {
		_ = k.wg.client.Close()
	}
	k.wg.client, k.wg.inKernel = fresh, inKernel
	return fresh, nil
}

// hasKernel tells whether a device of the kernel's own has been seen, or none yet has.
func (w *wireguard) hasKernel() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.client == nil || w.inKernel
}

// errHangs says that an earlier request to a device has no answer yet.
var errHangs = errors.New("it does not answer")

// hangs is that of one device, which is the cause of whatever does not come about in it.
type hangs struct {
	dev string
	say string
}

// Error implements error.
func (h hangs) Error() string { return errHangs.Error() + h.say }

// Unwrap makes it errHangs.
func (hangs) Unwrap() error { return errHangs }

// Culprit is the object that is to blame.
func (h hangs) Culprit() datapath.Key { return datapath.Link{Name: h.dev}.Key() }

// hanging says what to do about a device that does not answer.
func (w *wireguard) hanging(dev string, inKernel bool) error {
	if inKernel || w.userspace == nil {
		return hangs{dev, "; look at the kernel's log: dmesg"}
	}
	process, line := w.userspace.Mend(dev)
	return hangs{dev, ": " + process + " hangs; " + line + ", and the device is made anew"}
}

// ask makes one request to a device, and waits for it until ctx ends.
func (k *Kernel) ask(ctx context.Context, dev string, inKernel bool, request func(*wgctrl.Client) error) error {
	client, err := k.connected(inKernel)
	if err != nil {
		return err
	}
	return k.taken(ctx, dev, inKernel, func(*asks) error { return request(client) })
}

// taken makes a request when it is its turn.
func (k *Kernel) taken(ctx context.Context, dev string, inKernel bool, request func(*asks) error) error {
	a := k.wg.asks(dev)
	err := a.take(ctx, func() error { return request(a) })
	if errors.Is(err, errHangs) {
		return k.wg.hanging(dev, inKernel)
	}
	return err
}

// take makes a request when it is its turn, or says errHangs.
func (a *asks) take(ctx context.Context, request func() error) error {
	if a.hang() {
		return errHangs
	}
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return errHangs
	}
	a.since.Store(time.Now().UnixNano())
	done := make(chan error, 1)
	go func() {
		err := request()
		a.since.Store(0)
		<-a.turn
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errHangs
	}
}

func (w *wireguard) asks(dev string) *asks {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.askings == nil {
		w.askings = map[string]*asks{}
	}
	if w.askings[dev] == nil {
		w.askings[dev] = &asks{turn: make(chan struct{}, 1)}
	}
	return w.askings[dev]
}
