package userspace

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequestBounds: all of a large fabric is one request; what goes on for ever is not.
func TestRequestBounds(t *testing.T) {
	peer := "public_key=" + strings.Repeat("a", 64) + "\npreshared_key=" + strings.Repeat("b", 64) +
		"\nendpoint=[fd00:1111:2222:3333:4444:5555:6666:7777]:51820\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n" +
		strings.Repeat("allowed_ip=fd42:4242:4242:1111:2222:3333:4444:5555/128\n", 4)
	for _, tt := range []struct {
		peers int
		ok    bool
	}{{0, true}, {1, true}, {1000, true}, {5000, true}, {50_000, false}} {
		all := "set=1\n" + strings.Repeat(peer, tt.peers) + "\n"
		op, body, err := request(bufio.NewReaderSize(strings.NewReader(all), maxSetOfLine))
		if (err == nil) != tt.ok || tt.ok && (op != "set=1" || len(body) != tt.peers*len(peer)) {
			t.Errorf("%d peers, %d bytes: %q, %d bytes, %v", tt.peers, len(all), op, len(body), err)
		}
	}
	if _, _, err := request(bufio.NewReaderSize(strings.NewReader("set=1\n"+strings.Repeat("x", 2*maxSetOfLine)), maxSetOfLine)); err == nil {
		t.Error("a line without an end was taken")
	}
}

// TestRequestTime: a request has its time from its first byte on, and who says nothing
// has longer; of several at once some wait.
func TestRequestTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wait  time.Duration // before what is said
		says  string
		after time.Duration // all in all
	}{
		{"silent", 0, "", idleTime},
		{"begun late", 4 * time.Minute, "s", 4*time.Minute + requestTime},
		{"begun at once", 0, "set=1\nlisten_port=1\n", requestTime},
		{"unknown", time.Minute, "put=1\n\n", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ours, theirs := net.Pipe()
				done := make(chan struct{})
				go func() {
					(&Device{}).serve(theirs, make(chan struct{}, 1))
					close(done)
				}()
				time.Sleep(tt.wait)
				if _, err := fmt.Fprint(ours, tt.says); err != nil {
					t.Fatal(err)
				}
				<-done
				if took := time.Since(began); took != tt.after {
					t.Errorf("the connection ends after %v; want %v", took, tt.after)
				}
			})
		})
	}
}
