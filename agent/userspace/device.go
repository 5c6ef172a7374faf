package userspace

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/weft-net/weft/agent/detached"
	"github.com/weft-net/weft/proto/note"
)

// dir is where WireGuard's tools look for sockets; wireguard-go's package ipc has it
// too, and does not tell it.
const dir = "/var/run/wireguard"

// Config makes a Device. The zero value is useful.
type Config struct {
	Log *slog.Logger // nil: none
	// Bind opens the UDP sockets; nil: in the namespace of the process.
	Bind conn.Bind
	// Patience is how long to wait for a process that has the device and is about to
	// end; 0: not at all.
	Patience time.Duration
	// Heard is called with each request that changes the device, secrets included,
	// before it is obeyed; nil: nobody listens.
	Heard func(request []byte)
}

// Device is a WireGuard device of this process.
type Device struct {
	name string
	cfg  Config
	lock *os.File
	uapi net.Listener
	wg   *device.Device

	moves *moves

	askers sync.WaitGroup
	done   chan struct{} // closed when no request is taken any more
	closed sync.Once
	hush   func() error // closes the socket, once: wireguard-go would close its numbers twice

	mu   sync.Mutex
	port string // last set, where wireguard-go forgets it; see serve
	open map[net.Conn]bool
	told told
}

// Open makes a device in the network namespace of the calling thread. Its link is
// down, and it has no key.
func Open(name string, c Config) (*Device, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Bind == nil {
		c.Bind = NewBind()
	}
	if err := validName(name); err != nil {
		return nil, err
	}
	lock, err := hold(name, c.Patience)
	if err != nil {
		return nil, err
	}
	d := &Device{name: name, cfg: c, lock: lock, done: make(chan struct{}), open: map[net.Conn]bool{}, told: told{}}
	if err := d.make(); err != nil {
		release(name, lock)
		return nil, err
	}
	go d.accept()
	d.follow()
	return d, nil
}

// validName refuses what is no name of a device, before it is part of a path (Linux,
// dev_valid_name in net/core/dev.c; % is dev_alloc_name's, and would make a device of
// another name).
func validName(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/:%", r) }
	if name == "" || len(name) >= unix.IFNAMSIZ || name[0] == '.' || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("userspace: %.60q is no name of a device: 1 to %d letters, digits or signs, none of them blank, /, : or %%, and no . to begin with", name, unix.IFNAMSIZ-1)
	}
	return nil
}

// follow has the sockets follow the host's addresses, until the device is closed.
func (d *Device) follow() {
	b, ok := d.cfg.Bind.(*bind)
	if !ok || d.moves == nil {
		return
	}
	d.askers.Add(1)
	go func() {
		defer d.askers.Done()
		d.moves.run(b.moved)
	}()
}

// make has the socket stand before the link is there: a link with our name and no
// socket is somebody else's.
func (d *Device) make() error {
	socket, err := ipc.UAPIOpen(d.name)
	if err != nil {
		return fmt.Errorf("userspace: socket %s: %w; another process may have a device of this name, in another network namespace", socketPath(d.name), err)
	}
	defer socket.Close() // the listener has its own
	if d.uapi, err = ipc.UAPIListen(d.name, socket); err != nil {
		return errors.Join(fmt.Errorf("userspace: socket %s: %w", socketPath(d.name), err), os.Remove(socketPath(d.name)))
	}
	d.hush = sync.OnceValue(d.uapi.Close)
	link, err := tun.CreateTUN(d.name, device.DefaultMTU)
	if err != nil {
		return errors.Join(fmt.Errorf("userspace: TUN device %s: %w; it needs /dev/net/tun, CAP_NET_ADMIN and a free name", d.name, err), d.hush())
	}
	d.wg = device.NewDevice(newSteady(link), d.cfg.Bind, d.logger())
	if d.moves, err = openMoves(); err == nil {
		err = d.wg.Up()
	}
	if err != nil {
		d.wg.Close()
		if d.moves != nil {
			d.moves.close()
		}
		return errors.Join(fmt.Errorf("userspace: UDP sockets of %s: %w", d.name, err), d.hush())
	}
	return nil
}

// logger has wireguard-go say what it does only to who looks for it: it writes a line
// for each handshake that fails.
func (d *Device) logger() *device.Logger {
	say := func(format string, args ...any) {
		d.cfg.Log.Debug("WireGuard said", note.Dev, d.name, note.Why, fmt.Sprintf(format, args...))
	}
	return &device.Logger{Verbosef: device.DiscardLogf, Errorf: say}
}

// Done is closed when the device has ended: its link or its socket was removed.
func (d *Device) Done() <-chan struct{} { return d.done }

// Close ends the device and its link, and waits for its goroutines.
func (d *Device) Close() {
	d.closed.Do(func() {
		_ = d.hush()
		d.mu.Lock()
		for c := range d.open {
			_ = c.Close()
		}
		d.mu.Unlock()
		<-d.done
		d.moves.close()
		d.askers.Wait()
		d.wg.Close()
		release(d.name, d.lock)
	})
}

func socketPath(name string) string { return filepath.Join(dir, name+".sock") }

func lockPath(name string) string { return filepath.Join(dir, name+".lock") }

// hold takes the lock of a device. The kernel drops the link of a process that dies a
// moment before its lock.
func hold(name string, patience time.Duration) (*os.File, error) {
	lock, err := detached.Hold(lockPath(name), patience)
	if err != nil {
		return nil, fmt.Errorf("userspace: device %s: %w", name, err)
	}
	return lock, nil
}

// release lets go of it.
func release(name string, lock *os.File) { detached.Release(lockPath(name), lock) }

// steady is a TUN device of which only the MTU changes: wireguard-go closes its UDP
// sockets while a link is down, and opens them when it comes up, with nobody there to
// hear that it could not.
type steady struct {
	tun.Device
	events chan tun.Event
}

func newSteady(d tun.Device) *steady {
	s := &steady{Device: d, events: make(chan tun.Event)}
	go func() {
		defer close(s.events)
		for e := range d.Events() {
			if e&tun.EventMTUUpdate != 0 {
				s.events <- tun.EventMTUUpdate
			}
		}
	}()
	return s
}

// Events implements tun.Device.
func (s *steady) Events() <-chan tun.Event { return s.events }
