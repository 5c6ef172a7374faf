package members

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// serving is a server of a fabric that listens on this machine, by TLS and gRPC.
type serving struct {
	*Room
	Allocator
	address string
	grpc    *grpc.Server
	service *Service
	stop    func()
	local   *local
	agents  *agents
}

// local answers for the allocator: with its errors in turn, then with a prefix.
type local struct {
	errs  []error
	hangs bool
	calls []string
}

func (l *local) Acquire(ctx context.Context, node string, carried []netip.Prefix) ([]netip.Prefix, error) {
	l.calls = append(l.calls, fmt.Sprint("acquire ", node, " ", carried))
	if l.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24"), netip.MustParsePrefix("fd42:42:0:1::/64")}, nil
}

func (l *local) Release(_ context.Context, node string) error {
	l.calls = append(l.calls, "release "+node)
	return nil
}

func (l *local) Guard(context.Context, []kind.Object, []string) (store.Txn, error) {
	return store.Txn{}, nil
}

// agents answers for the streams of one server.
type agents struct {
	here  string // the node that has one
	hangs bool
	err   error
	calls []string
}

var errNotHere = errors.New("not here")

func (a *agents) ask(ctx context.Context, node, method string, request []byte) ([]byte, error) {
	a.calls = append(a.calls, node+" "+method+" "+string(request))
	switch {
	case node != a.here:
		return nil, errNotHere
	case a.hangs:
		<-ctx.Done()
		return nil, status.Error(codes.DeadlineExceeded, "the agent of node n1 did not answer in time")
	}
	return []byte("answer"), a.err
}

// certificate is one that both ends show and trust.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(c)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, RootCAs: roots, ClientCAs: roots, ServerName: "127.0.0.1",
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}

// among starts servers one after the other: the first leads.
func among(t *testing.T, names ...string) []*serving {
	t.Helper()
	return amongMembers(t, func(string) Roster { return nil }, names...)
}

// amongMembers has them be members of an etcd, too.
func amongMembers(t *testing.T, roster func(server string) Roster, names ...string) []*serving {
	t.Helper()
	m, config := storetest.New(), certificate(t)
	var out []*serving
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &serving{address: l.Addr().String(), grpc: grpc.NewServer(grpc.Creds(credentials.NewTLS(config))), local: &local{}, agents: &agents{}}
		s.Room = New(Config{Server: Server{Name: name, Address: s.address, Version: "test"}, Store: m, DialTLS: config, Roster: roster(name)})
		s.Allocator = Allocator{Local: s.local, Room: s.Room}
		s.service = &Service{Room: s.Room, Local: s.local, Agents: Agents{Ask: s.agents.ask, NotHere: errNotHere}}
		weftv1.RegisterMembersServer(s.grpc, s.service)
		go func() { _ = s.grpc.Serve(l) }()
		t.Cleanup(s.grpc.Stop)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		s.stop = sync.OnceFunc(func() { cancel(); <-done })
		t.Cleanup(s.stop)
		out = append(out, s)
		s.await(t, "a leader", func() bool { leader, _ := s.Leader(); return leader.Name != "" })
	}
	for _, s := range out {
		s.await(t, "all servers", func() bool { return len(s.Servers()) == len(names) })
	}
	return out
}

// await waits for something that a record brings.
func (s *serving) await(t *testing.T, what string, there func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		changed := s.next()
		if there() {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// TestAnotherServerAllocates: what the leader answers comes over the wire as what
// it is.
func TestAnotherServerAllocates(t *testing.T) {
	all := among(t, "s1", "s2")
	leader, other := all[0], all[1]
	for _, c := range []struct {
		name  string
		errs  []error
		calls int
		is    error
		want  string
	}{
		{"a lease", nil, 1, nil, "[10.42.1.0/24 fd42:42:0:1::/64] <nil>"},
		{"just deposed", []error{lease.ErrDeposed}, 2, nil, "[10.42.1.0/24 fd42:42:0:1::/64] <nil>"},
		{"full", []error{fmt.Errorf("ipam: 10.42.0.0/24 is full: %w", ipam.ErrFull)}, 1, ipam.ErrFull, "[] ipam: 10.42.0.0/24 is full: " + ipam.ErrFull.Error() + " (said server s1, which leads)"},
		{"refused", []error{errors.New("node n1 was deleted")}, 1, nil, "[] node n1 was deleted (said server s1, which leads)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			leader.local.errs, leader.local.calls = c.errs, nil
			got, err := other.Acquire(t.Context(), "n1", []netip.Prefix{netip.MustParsePrefix("10.42.7.0/24")})
			if text := fmt.Sprint(got, " ", err); text != c.want || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
			if want := slices.Repeat([]string{"acquire n1 [10.42.7.0/24]"}, c.calls); !slices.Equal(leader.local.calls, want) {
				t.Errorf("the leader was asked %v, want %v", leader.local.calls, want)
			}
		})
	}
	if err := other.Release(t.Context(), "n1"); err != nil || leader.local.calls[len(leader.local.calls)-1] != "release n1" {
		t.Error(err, leader.local.calls)
	}
	if len(other.local.calls) != 0 {
		t.Errorf("done by one that does not lead: %v", other.local.calls)
	}
}

// TestHandedOnOnce: who does not lead refuses, whoever asks, and names whom it
// takes for the leader.
func TestHandedOnOnce(t *testing.T) {
	all := among(t, "s1", "s2")
	err := all[0].over(t.Context(), all[1].cfg.Server, func(ctx context.Context, c weftv1.MembersClient) error {
		_, err := c.Acquire(ctx, &weftv1.MembersAcquireRequest{Node: "n1"})
		return err
	})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "server s2 does not lead; it takes s1 for the leader") {
		t.Error(err)
	}
	if len(all[0].local.calls)+len(all[1].local.calls) != 0 {
		t.Error("somebody allocated", all[0].local.calls, all[1].local.calls)
	}
}

// TestALeaderThatHangs is named, in time.
func TestALeaderThatHangs(t *testing.T) {
	all := among(t, "s1", "s2")
	all[0].local.hangs = true
	_, err := all[1].Acquire(t.Context(), "n1", nil)
	if err == nil || !strings.Contains(err.Error(), "members: lease of node n1: server s1, which leads, does not answer at "+all[0].address) {
		t.Error(err)
	}
}

// TestAskAt: a question to a node goes to the server that is named, once, and its
// answer comes back as the agent gave it; the error names the server.
func TestAskAt(t *testing.T) {
	all := among(t, "s1", "s2", "s3")
	s1, s2, s3 := all[0], all[1], all[2]
	s2.agents.here = "n1"
	ask := func(server, node string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		answer, err := s1.AskAt(ctx, server, Question{Node: node, Method: "SetLogLevel", Request: []byte("debug"), Asker: "admin ops"})
		return strings.ReplaceAll(fmt.Sprint(string(answer), " ", status.Code(err), " ", status.Convert(err).Message()), s2.address, "S2")
	}
	for _, c := range []struct {
		name, server, node string
		set                agents
		calls              int
		want               string
	}{
		{"answered", "s2", "n1", agents{}, 1, "answer OK "},
		{"refused by the agent", "s2", "n1", agents{err: status.Error(codes.InvalidArgument, `level: "x"`)}, 1, ` InvalidArgument level: "x"`},
		{"the agent is late", "s2", "n1", agents{hangs: true}, 1, " DeadlineExceeded the agent of node n1 did not answer in time"},
		{"not there any more", "s2", "n2", agents{}, 1, " Unavailable node n2 just left server s2 for another; ask again in a moment"},
		{"a server that is unknown", "s9", "n1", agents{}, 0, " Unavailable node n1 speaks with server s9, which is not known here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.set.here = "n1"
			*s2.agents = c.set
			if got := ask(c.server, c.node); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if want := slices.Repeat([]string{c.node + " SetLogLevel debug"}, c.calls); !slices.Equal(s2.agents.calls, want) {
				t.Errorf("asked %v", s2.agents.calls)
			}
			if len(s1.agents.calls)+len(s3.agents.calls) > 0 {
				t.Error("another one was asked", s1.agents.calls, s3.agents.calls)
			}
		})
	}
	s2.grpc.Stop()
	if got := ask("s2", "n1"); !strings.HasPrefix(got, " Unavailable node n1 speaks with server s2 at S2, which does not answer: ") || !strings.HasSuffix(got, "; on the node: weft status --local") {
		t.Error(got)
	}
}
