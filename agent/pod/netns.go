package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// NSID tells one network namespace from all others. An inode number is given
// again soon after its namespace has died; the cookie never is, until the next
// boot (net/core/net_namespace.c, Linux 5.14; 0 where the kernel has none).
type NSID struct {
	Dev    uint64 `json:"dev"`
	Ino    uint64 `json:"ino"`
	Cookie uint64 `json:"cookie,omitempty"`
}

// Same tells whether both are the same namespace.
func (n NSID) Same(o NSID) bool {
	return n.Dev == o.Dev && n.Ino == o.Ino && (n.Cookie == 0 || o.Cookie == 0 || n.Cookie == o.Cookie)
}

// Namespaces looks at network namespaces.
type Namespaces interface {
	// Identify says which namespace is at a path. A path where none is, or no
	// longer, is fs.ErrNotExist.
	Identify(path string) (NSID, error)
	// Own is the agent's namespace.
	Own() NSID
}

// hostNamespaces are the namespaces of this machine.
type hostNamespaces struct{ own NSID }

const ownNetNS = "/proc/thread-self/ns/net"

// HostNamespaces looks at the namespaces of this machine; the calling thread's is
// the agent's own.
func HostNamespaces() (Namespaces, error) {
	own, err := stat(ownNetNS)
	if err != nil {
		return nil, fmt.Errorf("pod: look at the agent's own network namespace: %w", err)
	}
	return hostNamespaces{own}, nil
}

// Own implements Namespaces.
func (h hostNamespaces) Own() NSID { return h.own }

// Identify implements Namespaces.
func (h hostNamespaces) Identify(path string) (NSID, error) {
	id, err := stat(path)
	if err != nil || id.Same(h.own) {
		return id, err
	}
	id.Cookie = cookie(path)
	return id, nil
}

// stat identifies a namespace without its cookie. A file that is left when the
// namespace was unmounted from it is not a namespace.
func stat(path string) (NSID, error) {
	var st unix.Stat_t
	var sfs unix.Statfs_t
	if err := errors.Join(unix.Stat(path, &st), unix.Statfs(path, &sfs)); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return NSID{}, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		return NSID{}, fmt.Errorf("%s: %w", path, err)
	}
	if sfs.Type != unix.NSFS_MAGIC && sfs.Type != unix.PROC_SUPER_MAGIC {
		return NSID{}, fmt.Errorf("%s is not a namespace: %w", path, fs.ErrNotExist)
	}
	return NSID{Dev: st.Dev, Ino: st.Ino}, nil
}

// cookie enters the namespace on a thread of its own to ask for its cookie. It is
// 0 when that fails: the inode must do then.
func cookie(path string) uint64 {
	answer := make(chan uint64)
	go func() {
		runtime.LockOSThread()
		c, back := cookieHere(path)
		if back {
			runtime.UnlockOSThread()
		} // else the thread ends with this goroutine: it stands in a pod
		answer <- c
	}()
	return <-answer
}

func cookieHere(path string) (value uint64, back bool) {
	home, err := os.Open(ownNetNS)
	if err != nil {
		return 0, true
	}
	defer home.Close()
	target, err := os.Open(path)
	if err != nil {
		return 0, true
	}
	defer target.Close()
	if unix.Setns(int(target.Fd()), unix.CLONE_NEWNET) != nil {
		return 0, true
	}
	value = socketCookie()
	return value, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil
}

func socketCookie() uint64 {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(s)
	c, err := unix.GetsockoptUint64(s, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return c
}
