package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/weft-net/weft/proto/note"
	"golang.org/x/sys/unix"
)

// aloneName is a socket in the abstract namespace, of which each network namespace
// has its own, and which goes with the process that holds it: unix(7).
const aloneName = "@weft-agent"

// aloneWait bounds the question who holds the name.
const aloneWait = time.Second

// alone takes this network namespace for the process until the answer is closed:
// two agents would remove each other's devices. A second is refused, told which
// the first is. The name has no permissions, so one that another user holds is no
// agent, and no reason to stay away.
func alone(log *slog.Logger) (io.Closer, error) {
	l, err := net.Listen("unix", aloneName)
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("agent: socket %s: %w", aloneName, err)
	}
	who, err := holder()
	if err == nil && int(who.Uid) != os.Geteuid() {
		log.Error("name of the agent's socket taken", note.Err, fmt.Sprintf("%s is held by process %d of user %d", aloneName, who.Pid, who.Uid),
			note.Do, "stop that process: until then a second agent would not be noticed")
		return io.NopCloser(nil), nil
	}
	pid := ""
	if err == nil && who.Pid > 0 { // 0: of another pid namespace
		pid = fmt.Sprintf(" (pid %d)", who.Pid)
	}
	return nil, fmt.Errorf("agent: this host's network is in use by another weft-agent%s; stop it first: there is one for each network namespace", pid)
}

// holder asks the kernel who listens (SO_PEERCRED of a connection to it).
func holder() (*unix.Ucred, error) {
	c, err := net.DialTimeout("unix", aloneName, aloneWait)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var who *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return who, errors.Join(err, cerr)
}
