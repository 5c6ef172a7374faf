package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/weft-net/weft/proto/cniwire"
)

// busyWait is between two tries to connect to a socket whose queue is full.
const busyWait = 10 * time.Millisecond

// call sends one request and waits for its answer, within the verb's time-out.
// Its errors are *types.Error.
func call(socket string, req cniwire.Request) (cniwire.Response, error) {
	deadline := time.Now().Add(req.Verb.Timeout())
	conn, err := dial(socket, deadline)
	if err != nil {
		return cniwire.Response{}, away(req.Verb, socket, err)
	}
	defer conn.Close()
	if err = exchange(conn, deadline, req); err != nil {
		return cniwire.Response{}, away(req.Verb, socket, err)
	}
	resp, err := cniwire.ReadResponse(conn)
	if e := cniwire.AsError(err); e != nil && e.Code == cniwire.CodeIO {
		return cniwire.Response{}, away(req.Verb, socket, e)
	} else if e != nil {
		return cniwire.Response{}, types.NewError(uint(e.Code), "weft-cni: the agent's answer: "+e.Msg, e.Details)
	}
	return resp, nil
}

// exchange writes the request and closes the writing half, which ends it.
func exchange(conn *net.UnixConn, deadline time.Time, req cniwire.Request) error {
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	err := cniwire.WriteRequest(conn, req)
	// An agent that refuses before it has read everything closes early: its answer
	// says why, the broken pipe does not.
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	if err = conn.CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		return err
	}
	return nil
}

// dial connects. A unix socket whose queue is full answers EAGAIN at once
// (unix(7)), also when the agent is merely busy with a whole node's pods.
func dial(socket string, deadline time.Time) (*net.UnixConn, error) {
	addr := &net.UnixAddr{Name: socket, Net: "unix"}
	for {
		conn, err := net.DialUnix("unix", nil, addr)
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return conn, err
		}
		time.Sleep(busyWait)
	}
}

// away is the error for an agent that does not answer: the runtime shall come
// again, and keep what it knows of the pod until then.
func away(verb cniwire.Verb, socket string, err error) error {
	var e *cniwire.Error
	if errors.As(err, &e) && e.Code != cniwire.CodeIO {
		return types.NewError(uint(e.Code), e.Msg, e.Details)
	}
	code := types.ErrTryAgainLater
	if verb == cniwire.Status {
		code = types.ErrPluginNotAvailable
	}
	return types.NewError(code, fmt.Sprintf("weft-cni: no answer from the agent at %s; look: systemctl status weft-agent", socket), err.Error())
}
