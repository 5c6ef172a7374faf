package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/note"
	"golang.org/x/sys/unix"
)

// CNIMode is the mode of cni.sock.
const CNIMode = 0o600

// Bounds on the service: a node's pods all come at once after a reboot.
const (
	// cniRunning is how many requests are worked on at once; more than a node's
	// disk and kernel do side by side only wait in other places.
	cniRunning = 64
	// cniWaiting is how many connections may wait for that; others are told to
	// come again.
	cniWaiting = 1024
	// cniRead is how long a shim may take to send its one document.
	cniRead = 2 * time.Second
)

// CNIHandler does what one request asks for, before ctx ends: then there is just
// time left for its words to reach the shim. Package pod has it.
type CNIHandler interface {
	Serve(ctx context.Context, req cniwire.Request) cniwire.Response
}

// CNI answers on cni.sock: one request and one response a connection, for the
// agent's own user and root only.
type CNI struct {
	Handler CNIHandler
	Log     *slog.Logger
}

// Serve answers on a unix listener until ctx ends, then waits for what was begun.
func (c CNI) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	running, waiting := make(chan struct{}, cniRunning), make(chan struct{}, cniWaiting)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("local: CNI socket: %w", err)
			}
			c.Log.Warn("CNI connection not accepted", note.Err, err)
			pause(ctx, 100*time.Millisecond) // out of files: the shims wait in the queue
			continue
		}
		select {
		case waiting <- struct{}{}:
		default:
			c.answer(conn, cniwire.Response{Error: cniwire.Errorf(cniwire.CodeTryAgain, "local: %d commands wait already", cniWaiting)})
			continue
		}
		wg.Go(func() {
			defer func() { <-waiting }()
			c.serve(context.WithoutCancel(ctx), conn, running)
		})
	}
}

// serve reads a request, waits for a free place and answers. The wait counts: the
// shim gives up when its verb's time is over, wherever it was spent.
func (c CNI) serve(ctx context.Context, conn net.Conn, running chan struct{}) {
	began := time.Now()
	req, err := c.receive(conn)
	if err != nil {
		c.Log.Warn("CNI request refused", note.Err, err)
		c.answer(conn, cniwire.Response{Error: cniwire.AsError(err)})
		return
	}
	ctx, cancel := context.WithDeadline(ctx, began.Add(req.Verb.Timeout()-cniwire.Margin))
	defer cancel()
	select {
	case running <- struct{}{}:
	case <-ctx.Done():
		c.answer(conn, cniwire.Response{Error: cniwire.Errorf(cniwire.CodeTryAgain, "local: %d commands before this one still run", cniRunning)})
		return
	}
	resp := c.Handler.Serve(ctx, req)
	<-running
	if e := resp.Error; e != nil {
		c.Log.Warn("CNI command failed", note.Op, req.Verb, note.Pod, req.ContainerID+"/"+req.IfName, note.Err, e, note.Took, time.Since(began))
	}
	c.answer(conn, resp)
}

// receive reads the one document of a peer that may speak.
func (c CNI) receive(conn net.Conn) (cniwire.Request, error) {
	if err := mayCommand(conn); err != nil {
		return cniwire.Request{}, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(cniRead)); err != nil {
		return cniwire.Request{}, cniwire.Errorf(cniwire.CodeIO, "local: %v", err)
	}
	return cniwire.ReadRequest(conn)
}

// answer writes the response and closes. A shim that has gone is no concern of
// ours: the runtime will send DEL.
func (c CNI) answer(conn net.Conn, resp cniwire.Response) {
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(cniRead)); err != nil {
		return
	}
	if err := cniwire.WriteResponse(conn, resp); err != nil {
		c.Log.Debug("CNI answer not delivered", note.Err, err)
	}
}

// mayCommand lets root and the agent's own user in. The socket's mode says so
// too; credentials also hold for a descriptor that was handed on.
func mayCommand(conn net.Conn) error {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return cniwire.Errorf(cniwire.CodeIO, "local: %T is no unix socket", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return cniwire.Errorf(cniwire.CodeIO, "local: %v", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err == nil {
		err = credErr
	}
	if err != nil {
		return cniwire.Errorf(cniwire.CodeIO, "local: who is there: %v", err)
	}
	if uid := int(cred.Uid); uid != 0 && uid != os.Geteuid() {
		return cniwire.Errorf(cniwire.CodeIO, "local: user %d may not attach pods; the runtime must be root", uid)
	}
	return nil
}

// pause waits for a time or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
