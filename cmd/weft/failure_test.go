package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestDescribeError(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    codes.Code
		message string
		want    string
	}{
		{"a server whose etcd is silent", codes.DeadlineExceeded, "etcd: list: the embedded etcd does not answer: context deadline exceeded", "cannot answer now: etcd: list: the embedded etcd does not answer: context deadline exceeded"},
		{"an agent that is silent", codes.DeadlineExceeded, "the agent of node n1 did not answer in time", "cannot answer now: the agent of node n1 did not answer in time"},
		{"a server that gave up itself", codes.DeadlineExceeded, "context deadline exceeded", "the server cannot answer now: context deadline exceeded"},
		{"nobody listens", codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 192.0.2.1:7443: connect: connection refused"`, "no answer from the server: dial tcp"},
		{"a server that starts", codes.Unavailable, "this server is starting; try again, or another", "the server cannot answer now: this server is starting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (&cli{timeout: 10 * time.Second, config: t.TempDir() + "/none", env: func(string) string { return "" }}).describeError(status.Error(c.code, c.message)); !strings.Contains(got, c.want) {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestOurOwnClock: how long was waited is what is printed, not what is configured.
func TestOurOwnClock(t *testing.T) {
	err := &late{status.Error(codes.DeadlineExceeded, "context deadline exceeded"), 3040 * time.Millisecond}
	c := &cli{timeout: 10 * time.Second, config: t.TempDir() + "/none", env: func(string) string { return "" }}
	if got, want := c.describeError(err), "no answer from the server within 3s (--timeout)"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if status.Code(err) != codes.DeadlineExceeded {
		t.Error("it lost its code")
	}
}
