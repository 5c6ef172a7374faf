package members

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/ipam"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/lease"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// forwardWithin bounds a question to the leader, the wait for one included.
const forwardWithin = 2 * time.Second

// Local allocates here: lease.Allocator.
type Local interface {
	Acquire(ctx context.Context, node string, carried []netip.Prefix) ([]netip.Prefix, error)
	Release(ctx context.Context, node string) error
	Guard(ctx context.Context, set []kind.Object, gone []string) (store.Txn, error)
}

// Allocator allocates where the leader is.
type Allocator struct {
	Local
	Room *Room
	// Held answers with the lease of a node that needs no other, as this server
	// knows it; nil: it knows none.
	Held func(node string) ([]netip.Prefix, bool)
}

// Acquire is Local's, done by the leader. A node that has its lease, as nearly all
// have that come, needs no leader.
func (a Allocator) Acquire(ctx context.Context, node string, carried []netip.Prefix) ([]netip.Prefix, error) {
	if _, self := a.Room.Fence(); !self && a.Held != nil {
		if held, ok := a.Held(node); ok {
			return held, nil
		}
	}
	var got []netip.Prefix
	err := a.Room.ask(ctx, "lease of node "+node, func(ctx context.Context) (err error) {
		got, err = a.Local.Acquire(ctx, node, carried)
		return err
	}, func(ctx context.Context, leader weftv1.MembersClient) error {
		r, err := leader.Acquire(ctx, &weftv1.MembersAcquireRequest{Node: node, Carried: texts(carried)})
		if err == nil {
			got, err = prefixes(r.GetPrefixes())
		}
		return err
	})
	return got, err
}

// Release is Local's, done by the leader.
func (a Allocator) Release(ctx context.Context, node string) error {
	return a.Room.ask(ctx, "lease of node "+node, func(ctx context.Context) error {
		return a.Local.Release(ctx, node)
	}, func(ctx context.Context, leader weftv1.MembersClient) error {
		_, err := leader.Release(ctx, &weftv1.MembersReleaseRequest{Node: node})
		return err
	})
}

// ask has something done by the leader: here, or over there and never further. A
// leader that was just deposed is not the end: the next one is asked, while there
// is time.
func (r *Room) ask(ctx context.Context, what string, here func(context.Context) error, there func(context.Context, weftv1.MembersClient) error) error {
	within, cancel := context.WithTimeout(ctx, forwardWithin)
	defer cancel()
	var last error
	for {
		changed := r.next()
		leader, self, err := r.awaitLeader(within)
		switch {
		case err != nil && last != nil:
			return last
		case err != nil:
			return fmt.Errorf("members: %s: %w", what, err)
		case self:
			err = here(ctx)
			if !errors.Is(err, lease.ErrDeposed) {
				return err
			}
		default:
			err = r.over(within, leader, there)
			if err == nil || !movedOn(err) {
				return told(what, leader, err)
			}
		}
		last = told(what, leader, err)
		select {
		case <-changed:
		case <-time.After(again):
		case <-within.Done():
			return last
		}
	}
}

// again is the pause before a leader is asked once more that does not answer.
const again = 200 * time.Millisecond

func (r *Room) over(ctx context.Context, server Server, there func(context.Context, weftv1.MembersClient) error) error {
	return r.call(ctx, server, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		return there(ctx, weftv1.NewMembersClient(conn))
	})
}

func (r *Room) call(ctx context.Context, server Server, there func(context.Context, grpc.ClientConnInterface) error) error {
	for first := true; ; first = false {
		conn, err := r.lines.to(server.Address)
		if err != nil {
			return err
		}
		err = there(ctx, conn)
		if !first || !r.lines.outlived(server.Address, conn, err) {
			return err
		}
	}
}

// movedOn says that whoever was asked does not lead, or is not there.
func movedOn(err error) bool {
	code := status.Code(err)
	return code == codes.FailedPrecondition || code == codes.Unavailable
}

// told puts an answer of another server into our words.
func told(what string, leader Server, err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	if s.Code() == codes.Unavailable || s.Code() == codes.DeadlineExceeded {
		return fmt.Errorf("members: %s: server %s, which leads, does not answer at %s: %s", what, leader.Name, leader.Address, s.Message())
	}
	if s.Code() == codes.ResourceExhausted {
		return fmt.Errorf("%s (said server %s, which leads)%w", s.Message(), leader.Name, silent{ipam.ErrFull})
	}
	return fmt.Errorf("%s (said server %s, which leads)", s.Message(), leader.Name)
}

// silent wraps an error that the text beside it says already.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

func (r *Room) names() string {
	var words []string
	for _, s := range r.Servers() {
		if s.State == Ready || s.State == Learner {
			words = append(words, s.Name)
		}
	}
	return cmp.Or(strings.Join(words, ", "), "none")
}

// lines are connections to other servers, one to each address.
type lines struct {
	tls *tls.Config

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

func (l *lines) to(address string) (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.conns[address]; c != nil {
		return c, nil
	}
	c, err := Dial(address, l.tls)
	if err != nil {
		return nil, err
	}
	if l.conns == nil {
		l.conns = map[string]*grpc.ClientConn{}
	}
	l.conns[address] = c
	return c, nil
}

// outlived drops a line whose certificate is believed no more, for it was made
// before a rotation of the CA; the next line shows another.
func (l *lines) outlived(address string, c *grpc.ClientConn, err error) bool {
	if status.Code(err) != codes.Unauthenticated {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[address] == c {
		_ = c.Close()
		delete(l.conns, address)
	}
	return true
}

// keep closes the lines to addresses where no server is.
func (l *lines) keep(all []Status) {
	there := map[string]bool{}
	for _, s := range all {
		there[s.Address] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for address, c := range l.conns {
		if !there[address] {
			_ = c.Close()
			delete(l.conns, address)
		}
	}
}

func (l *lines) close() { l.keep(nil) }

// Dial prepares a connection to another server.
func Dial(address string, config *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: forwardWithin,
		}))
}

func texts(ps []netip.Prefix) []string {
	out := make([]string, 0, len(ps))
	for _, p := range ps {
		out = append(out, p.String())
	}
	return out
}

func prefixes(in []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, 0, len(in))
	for _, t := range in {
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, fmt.Errorf("members: %q is no prefix", t)
		}
		out = append(out, p)
	}
	return out, nil
}
