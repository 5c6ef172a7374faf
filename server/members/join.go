package members

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Times of joining.
const (
	callWithin = 10 * time.Second // one call
	joinWithin = 2 * time.Minute  // all tries: others may be joining, or starting
	joinAgain  = time.Second
)

// Joining is a server that asks another to take it in.
type Joining struct {
	Server  string // host:port of the other
	Token   join.Token
	Name    string
	Address string // host:port, where agents will reach this one
	Mode    string // of its store: embedded or external
	Known   bool   // it is a server already
	Version string
	Now     func() time.Time
	Log     *slog.Logger
}

// CheckToken refuses what no server can join with.
func CheckToken(t join.Token) error {
	if !t.ForServer() {
		return errors.New("members: this is an agents' token, and a server joins with a server token: <data-dir>/server-token of a server of the fabric (--token-file)")
	}
	return nil
}

// Ask fetches what makes this machine a server of the fabric. Nothing changes by
// it, here or there.
func (j Joining) Ask(ctx context.Context) (*weftv1.MembersJoinResponse, error) {
	config := join.PinnedTLS(j.Token, j.Now)
	config.NextProtos = []string{"h2"}
	var answer *weftv1.MembersJoinResponse
	err := j.retry(ctx, config, func(ctx context.Context, c weftv1.MembersClient) (err error) {
		answer, err = c.Join(ctx, &weftv1.MembersJoinRequest{
			Token: j.Token.Reveal(), Name: j.Name, Version: j.Version, ClockUnix: j.Now().Unix(), Mode: j.Mode, Address: j.Address, Known: j.Known,
		})
		return err
	})
	return answer, err
}

// Enter asks for a place in the embedded etcd, with a server's certificate, and
// answers with all members, this one among them.
func (j Joining) Enter(ctx context.Context, config *tls.Config, peerURL string) ([]store.Member, error) {
	var out []store.Member
	err := j.retry(ctx, config, func(ctx context.Context, c weftv1.MembersClient) error {
		r, err := c.Add(ctx, &weftv1.MembersAddRequest{Name: j.Name, PeerUrl: peerURL})
		for _, m := range r.GetMembers() {
			out = append(out, store.Member{Name: m.GetName(), PeerURLs: m.GetPeerUrls()})
		}
		return err
	})
	return out, err
}

// retry calls until the other server says yes or no.
func (j Joining) retry(ctx context.Context, config *tls.Config, call func(context.Context, weftv1.MembersClient) error) error {
	within, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	conn, err := Dial(j.Server, config)
	if err != nil {
		return fmt.Errorf("members: server %s: %w", j.Server, err)
	}
	defer conn.Close()
	client := weftv1.NewMembersClient(conn)
	for first := true; ; first = false {
		one, done := context.WithTimeout(within, callWithin)
		err := call(one, client)
		done()
		if err == nil {
			return nil
		}
		s := status.Convert(err)
		switch s.Code() {
		case codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.Canceled:
		default:
			return fmt.Errorf("members: server %s does not take this one in: %s", j.Server, s.Message())
		}
		if first && !j.Known {
			j.Log.Warn("server not joined yet", note.Conn, j.Server, note.Err, s.Message(), note.Retry, joinAgain)
		}
		if !pause(within, joinAgain) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("members: server %s did not take this one in within %v: %s", j.Server, joinWithin, s.Message())
		}
	}
}

// Answers says whether a server of the fabric answers at an address.
func Answers(ctx context.Context, address string, config *tls.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, forwardWithin)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// IsThere says whether the server of a name answers at an address: another life of
// it, where it was before.
func IsThere(ctx context.Context, name, address string, config *tls.Config) bool {
	named := config.Clone()
	named.VerifyConnection = func(s tls.ConnectionState) error {
		if err := config.VerifyConnection(s); err != nil {
			return err
		}
		if got := s.PeerCertificates[0].Subject.CommonName; got != name {
			return fmt.Errorf("members: server %q answers at %s, not %q", got, address, name)
		}
		return nil
	}
	return Answers(ctx, address, named)
}
