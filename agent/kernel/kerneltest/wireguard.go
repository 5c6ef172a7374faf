package kerneltest

import (
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/agent/userspace"
)

// private says in the environment that Main has done its work.
const private = "KERNELTEST_PRIVATE_RUN"

// Main runs a package's tests with a folder /var/run/wireguard of their own: the
// sockets of WireGuard devices lie there by name, whatever their network namespace.
func Main(m *testing.M) {
	if os.Getuid() == 0 && os.Getenv(private) == "" {
		runtime.LockOSThread() // the namespace is the thread's until exec makes it the process's
		if err := privateRun(); err != nil {
			panic("kerneltest: a private /var/run/wireguard: " + err.Error())
		}
	}
	os.Exit(m.Run())
}

func privateRun() error {
	dir, err := os.Readlink("/var/run")
	if err != nil {
		dir = "/var/run"
	}
	dir += "/wireguard"
	if err := errors.Join(
		os.MkdirAll(dir, 0o755),
		unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("wireguard", dir, "tmpfs", 0, "mode=755"),
	); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), private+"=1"))
}

// Private is the secret half of the key pair of a seed.
func Private(seed byte) [32]byte {
	private := sha256.Sum256([]byte{seed})
	private[0] &= 248 // as WireGuard gives it back (RFC 7748, section 5)
	private[31] = private[31]&127 | 64
	return private
}

// Key is the public half of the key pair of a seed.
func Key(seed byte) datapath.WGKey {
	private := Private(seed)
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		panic(err) // any 32 bytes are a key
	}
	return datapath.WGKey(k.PublicKey().Bytes())
}

// PSK is what stands for the pre-shared key of a seed.
func PSK(seed byte) (id [32]byte) {
	key := preshared(seed)
	return sha256.Sum256(key[:])
}

func preshared(seed byte) [32]byte { return sha256.Sum256([]byte{seed, 'p'}) }

// Keyring is a kernel.Keyring that has the keys of the first seeds.
type Keyring struct {
	privates, preshared map[[32]byte][32]byte
}

// Seeds is how many a Keyring has.
const Seeds = 32

// NewKeyring makes one.
func NewKeyring() Keyring {
	k := Keyring{map[[32]byte][32]byte{}, map[[32]byte][32]byte{}}
	for seed := range byte(Seeds) {
		k.privates[Key(seed)] = Private(seed)
		k.preshared[PSK(seed)] = preshared(seed)
	}
	return k
}

// Private implements kernel.Keyring.
func (k Keyring) Private(pub datapath.WGKey) ([32]byte, bool) {
	key, ok := k.privates[pub]
	return key, ok
}

// Preshared implements kernel.Keyring.
func (k Keyring) Preshared(id [32]byte) ([32]byte, bool) {
	key, ok := k.preshared[id]
	return key, ok
}

// Userspace is a kernel.Userspace whose devices are made by this process, in one
// network namespace. Its package's tests run by Main.
type Userspace struct {
	ns netns.NsHandle

	mu    sync.Mutex
	devs  map[string]*userspace.Device
	heard []string
}

// NewUserspace makes one for the namespace of the calling thread, until the test ends.
func NewUserspace(t testing.TB) *Userspace {
	t.Helper()
	if os.Getuid() == 0 && os.Getenv(private) == "" {
		t.Fatal("kerneltest: tests with WireGuard need a TestMain that calls kerneltest.Main")
	}
	ns, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	u := &Userspace{ns: ns, devs: map[string]*userspace.Device{}}
	t.Cleanup(func() {
		for dev := range u.devs {
			_ = u.Stop(context.Background(), dev)
		}
		ns.Close()
	})
	return u
}

// Start implements kernel.Userspace.
func (u *Userspace) Start(_ context.Context, dev string) (err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := u.devs[dev]; d != nil {
		select {
		case <-d.Done():
			d.Close()
		default:
			return fs.ErrExist
		}
	}
	return u.inside(func() error {
		d, err := userspace.Open(dev, userspace.Config{Bind: bindIn{userspace.NewBind(), u}, Heard: u.hear})
		if err == nil {
			u.devs[dev] = d
		}
		return err
	})
}

// Stop implements kernel.Userspace.
func (u *Userspace) Stop(_ context.Context, dev string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if d := u.devs[dev]; d != nil {
		d.Close()
		delete(u.devs, dev)
	}
	return nil
}

// Mend implements kernel.Userspace.
func (*Userspace) Mend(string) (process, line string) { return "a process of this test", "end it" }

// Requests returns what was asked of all devices since the last call: the lines of
// each request, in hexadecimal keys, without those of secrets.
func (u *Userspace) Requests() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.heard
	u.heard = nil
	return out
}

func (u *Userspace) hear(request []byte) {
	var kept []string
	for line := range strings.Lines(string(request)) {
		if !strings.HasPrefix(line, "private_key=") && !strings.HasPrefix(line, "preshared_key=") {
			kept = append(kept, line)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.heard = append(u.heard, strings.Join(kept, ""))
}

// inside runs f on a thread in the namespace.
func (u *Userspace) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(u.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// bindIn opens sockets in the namespace, whichever goroutine asks.
type bindIn struct {
	conn.Bind
	u *Userspace
}

func (b bindIn) Open(port uint16) (fns []conn.ReceiveFunc, actual uint16, err error) {
	err = b.u.inside(func() error {
		fns, actual, err = b.Bind.Open(port)
		return err
	})
	return fns, actual, err
}
