package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/metadata"
)

// TestInStepFromMemory: what is not known is not counted as out of step.
func TestInStepFromMemory(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 5, 0, 0, time.UTC)
	c := &cli{now: func() time.Time { return now }}
	for seen, want := range map[uint32]string{
		0: "- of 4 nodes in step", 4: "4 of 4 nodes in step", 1: "1 of 4 nodes in step, of the others it is not known",
	} {
		got := c.fabricText(&output{}, &report{StatusGetResponse: &weftv1.StatusGetResponse{Nodes: 4, NodesInStep: seen, SilentSinceUnix: now.Unix() - 12, Server: "s2"}})
		if !strings.Contains(got, "   "+want+"   ") || !strings.HasPrefix(got, "MEMORY   the store answers nobody since 08:04:48 (12s): this is what server s2 remembers") {
			t.Errorf("%d: %s", seen, got)
		}
	}
}

// TestAnAnswerFromMemorySaysSo, once, unless it is laid out with that.
func TestAnAnswerFromMemorySaysSo(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 5, 0, 0, time.UTC)
	header := metadata.Pairs(memoryHeader, "1795248288 s2")
	for _, c := range []struct {
		name   string
		header metadata.MD
		answer any
		want   string
	}{
		{"remembered", header, &weftv1.UsersListResponse{}, "MEMORY   the store answers nobody since 08:04:48 (12s): this is what server s2 remembers of then, and sees now"},
		{"it says so itself", header, &weftv1.StatusGetResponse{}, ""},
		{"from the store", nil, &weftv1.UsersListResponse{}, ""},
		{"of a server that cannot count", metadata.Pairs(memoryHeader, "x"), &weftv1.UsersListResponse{}, ""},
	} {
		var out bytes.Buffer
		one := &cli{now: func() time.Time { return now }, err: &out}
		one.warnMemory(c.header, c.answer)
		one.warnMemory(c.header, c.answer)
		if got := strings.TrimSpace(out.String()); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// TestStatusAtAGlance is the whole of what status lays out for a large fabric.
func TestStatusAtAGlance(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 5, 0, 0, time.UTC)
	ago := func(d time.Duration) int64 { return now.Add(-d).Unix() }
	c := &cli{now: func() time.Time { return now }}
	got := c.fabricText(&output{}, &report{StatusGetResponse: &weftv1.StatusGetResponse{
		Fabric: "prod", EpochOrdinal: 3, Revision: 18412, Nodes: 12, NodesInStep: 11,
		Servers: []*weftv1.ServerStatus{
			{Name: "s1", Address: "198.51.100.10:7443", Leader: true, Version: "0.3.1"},
			{Name: "s2", Address: "203.0.113.20:7443", Version: "0.3.1"},
		},
		Etcd:       &weftv1.EtcdStatus{Mode: "embedded", Members: 3, SizeBytes: 38 << 20, QuotaBytes: 2 << 30},
		Backups:    &weftv1.BackupStatus{LastUnix: ago(6*time.Hour + 5*time.Minute), IntervalSeconds: 43200, Keep: 5},
		CaEndsUnix: time.Date(2035, 3, 1, 0, 0, 0, 0, time.UTC).Unix(),
		FirstToEnd: &weftv1.CertificateEnd{Holder: "user ops", EndsUnix: now.Add(12*24*time.Hour + time.Hour).Unix(), Remedy: "weft user renew ops"},
		Paths:      []*weftv1.PathCount{{Transport: "direct", Pairs: 15}, {Transport: "vxlan", Pairs: 51}},
		Problems: []*weftv1.Problem{
			{
				Node: "n7", SinceUnix: now.Add(-4*time.Hour - 52*time.Minute - 53*time.Second).Unix(),
				Cause:  "Docker drops forwarded pod traffic\n(table ip filter, chain FORWARD, policy drop)",
				Remedy: "weft-agent --integrate-firewall, or:\niptables -I DOCKER-USER -i 'wf+' -j ACCEPT",
			},
			{Node: "n9", SinceUnix: ago(130 * time.Second), Cause: "3 revisions behind, agent last heard 2m ago", Remedy: "look: systemctl status weft-agent"},
		},
	}})
	want := `fabric   prod  epoch 3  revision 18412   11 of 12 nodes in step   2 PROBLEMS
servers  s1 198.51.100.10:7443 leader 0.3.1   s2 203.0.113.20:7443 0.3.1
etcd     3 members, 38 MiB of 2 GiB, last backup 6 h ago (02:00, keeps 5)
certs    CA until 2035-03-01; first to end: user ops in 12 d -> weft user renew ops
paths    66 pairs: 15 direct, 51 vxlan
NODE  SINCE     PROBLEM                                        DO
n7    03:12:07  Docker drops forwarded pod traffic             weft-agent --integrate-firewall, or:
                (table ip filter, chain FORWARD, policy drop)  iptables -I DOCKER-USER -i 'wf+' -j ACCEPT
n9    2m10s     3 revisions behind, agent last heard 2m ago    look: systemctl status weft-agent
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestServerText: what is not known of a server leaves no hole.
func TestServerText(t *testing.T) {
	for _, c := range []struct {
		server *weftv1.ServerStatus
		silent bool
		want   string
	}{
		{&weftv1.ServerStatus{Name: "s1", Address: "192.0.2.1:7443", Leader: true, Version: "0.3.1", State: "Ready"}, false, "s1 192.0.2.1:7443 leader 0.3.1"},
		{&weftv1.ServerStatus{Name: "s2", Address: "192.0.2.2:7443", Version: "0.3.1", State: "Unreachable"}, true, "s2 192.0.2.2:7443 UNREACHABLE 0.3.1"},
		{&weftv1.ServerStatus{Name: "s4", State: "Joining"}, false, "s4 - joining"},
		{&weftv1.ServerStatus{Name: "s4", State: "Lost"}, false, "s4 -"},
	} {
		if got := serverText(c.server, c.silent); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestEtcdTextOtherwise: an etcd elsewhere is named as such; a backup of an earlier
// day has its day.
func TestEtcdTextOtherwise(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 5, 0, 0, time.UTC)
	c := &cli{now: func() time.Time { return now }}
	for want, got := range map[string]string{
		"external, 1 member, 512 B": etcdText(&weftv1.EtcdStatus{Mode: "external", Members: 1, SizeBytes: 512}),
		"-":                         etcdText(nil),
		", last backup 3 d ago (2026-11-18 02:00, not on schedule)": c.backupText(&weftv1.BackupStatus{LastUnix: time.Date(2026, 11, 18, 2, 0, 0, 0, time.UTC).Unix()}),
		", no backup yet (keeps 5)":                                 c.backupText(&weftv1.BackupStatus{IntervalSeconds: 60, Keep: 5}),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
