package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// callTimeout bounds one Join or Renew.
const callTimeout = 5 * time.Second

// refusedError says that a server understood us and said no: trying again soon,
// or elsewhere, gives the same.
type refusedError struct {
	what   string
	cause  string
	remedy string
}

func (e refusedError) Error() string {
	return fmt.Sprintf("uplink: %s refused: %s; %s", e.what, e.cause, e.remedy)
}

// enrol joins or renews, whichever id needs, and saves what comes. It does
// nothing if somebody else just did that.
func (u *Uplink) enrol(ctx context.Context, id identity) error {
	u.enrolling.Lock()
	defer u.enrolling.Unlock()
	if u.identity().cert != id.cert {
		return nil
	}
	got, err := u.ask(ctx, id)
	if err != nil {
		return err
	}
	u.tells(got.serverUnix * 1000)
	next, err := id.accept(got)
	if err != nil {
		return err
	}
	if err := next.save(u.dir); err != nil {
		return err
	}
	next.former = ""
	u.stale.Store(false)
	u.setIdentity(next)
	u.cfg.Log.Info("certificate received", note.Node, id.node, note.Until, next.cert.NotAfter)
	if id.former != "" && u.cfg.OnChange != nil {
		u.cfg.OnChange() // its intent counts from now on
	}
	return nil
}

// signed is what a server gives.
type signed struct {
	cert       []byte
	roots      [][]byte
	serverUnix int64 // the server's clock; 0: it does not say
	ephemeral  *bool // nil: it does not say
}

// ask renews, or joins with a token if there is no certificate. An ephemeral node
// whose name is gone because it stayed away joins again, if it still has a token.
func (u *Uplink) ask(ctx context.Context, id identity) (signed, error) {
	if id.cert != nil {
		got, err := u.call(ctx, id, id.tls(u.now, false), u.renew)
		if !id.ephemeral || !errors.As(err, new(forgottenError)) {
			return got, err
		}
		if _, none := u.token(); none != nil {
			return got, err
		}
		u.cfg.Log.Info("node joins again", note.Node, id.node, note.Why, err)
	}
	token, err := u.token()
	if err != nil {
		return signed{}, err
	}
	return u.call(ctx, id, join.PinnedTLS(token, u.now), u.join(token))
}

// call asks whichever server answers.
func (u *Uplink) call(ctx context.Context, id identity, cfg *tls.Config, do func(context.Context, weftv1.JoinClient, []byte) (signed, error)) (got signed, err error) {
	cfg.NextProtos = []string{"h2"}
	err = u.overGRPC(ctx, cfg, func(ctx context.Context, cc *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		csr, err := id.request()
		if err == nil {
			got, err = do(ctx, weftv1.NewJoinClient(cc), csr)
		}
		return err
	})
	return got, err
}

// forgottenError is a refusal because the servers have no such node.
type forgottenError struct{ refusedError }

func (e forgottenError) Unwrap() error { return e.refusedError }

var errServerToken = refusedError{"join", "this is a server token, which opens the whole fabric and belongs on no node", "give the agent <data-dir>/agent-token of a server, or a token of: weft token create"}

func (u *Uplink) token() (join.Token, error) {
	if u.cfg.Token == nil {
		return join.Token{}, refusedError{"join", "this node has not joined yet, and there is no token", "give --token-file or --token; a server has one in <data-dir>/agent-token"}
	}
	t, err := u.cfg.Token()
	if err != nil {
		return join.Token{}, refusedError{"join", err.Error(), "this node has not joined yet and needs its token"}
	}
	if t.ForServer() {
		return join.Token{}, errServerToken
	}
	return t, nil
}

func (u *Uplink) join(t join.Token) func(context.Context, weftv1.JoinClient, []byte) (signed, error) {
	return func(ctx context.Context, c weftv1.JoinClient, csr []byte) (signed, error) {
		r, err := c.Join(ctx, &weftv1.JoinRequest{
			Token: t.Reveal(), Node: u.cfg.Node, CertificateRequest: csr, Machine: u.cfg.Machine, Labels: u.cfg.Labels, Ephemeral: u.cfg.Ephemeral,
		})
		switch status.Code(err) {
		case codes.OK:
			got := signed{r.GetCertificate(), r.GetRoots(), r.GetServerUnix(), r.Ephemeral}
			if got.ephemeral == nil {
				got.ephemeral = &u.cfg.Ephemeral
			}
			return got, nil
		case codes.AlreadyExists:
			return signed{}, refusal("join", err, "if the name is another machine's, choose one with --node-name")
		case codes.PermissionDenied, codes.InvalidArgument, codes.Unauthenticated, codes.FailedPrecondition:
			return signed{}, refusal("join", err, "")
		}
		return signed{}, fmt.Errorf("uplink: join: %w", err)
	}
}

func (u *Uplink) renew(ctx context.Context, c weftv1.JoinClient, csr []byte) (signed, error) {
	r, err := c.Renew(ctx, &weftv1.RenewRequest{Node: u.cfg.Node, CertificateRequest: csr})
	switch status.Code(err) {
	case codes.OK:
		return signed{r.GetCertificate(), r.GetRoots(), r.GetServerUnix(), r.Ephemeral}, nil
	case codes.PermissionDenied, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.Unauthenticated:
		if id := u.identity(); id.former != "" {
			said, remedy, _ := strings.Cut(status.Convert(err).Message(), "; ")
			return signed{}, id.misnamed(u.dir, said, remedy)
		}
		refused := refusal("renewal of the certificate", err,
			"remove "+u.dir.Path(certName)+" and start with that token; if the node was deleted on purpose: weft-agent cleanup")
		if status.Code(err) == codes.NotFound {
			return signed{}, forgottenError{refused}
		}
		return signed{}, refused
	}
	return signed{}, fmt.Errorf("uplink: renew the certificate: %w", err)
}

// refusal is what a server said, with what else to do here. The server's sentence
// ends with a remedy of its own after a semicolon, if it knows one.
func refusal(what string, err error, also string) refusedError {
	cause, remedy, told := strings.Cut(status.Convert(err).Message(), "; ")
	switch {
	case !told && also == "":
		remedy = "get a token from: weft token create"
	case !told:
		remedy = also
	case also != "":
		remedy += "; " + also
	}
	return refusedError{what, cause, remedy}
}

// overGRPC is reach for calls of gRPC's.
func (u *Uplink) overGRPC(ctx context.Context, cfg *tls.Config, f func(context.Context, *grpc.ClientConn) error) error {
	_, err := u.reach(ctx, cfg, func(ctx context.Context, conn *tls.Conn, l link) error {
		cc, err := client(conn, l.host())
		if err != nil {
			return err
		}
		defer cc.Close()
		return f(ctx, cc)
	})
	return err
}

// reach connects to a server that is not held back, and runs f on it. The server
// is returned also when f fails.
func (u *Uplink) reach(ctx context.Context, cfg *tls.Config, f func(context.Context, *tls.Conn, link) error) (server string, err error) {
	ts, err := u.targets(ctx, u.order.list(time.Now()))
	if err != nil {
		return "", err
	}
	c, err := u.race(ctx, ts)
	if err != nil {
		return "", err
	}
	conn, err := u.secure(ctx, c.conn, cfg, len(ts) > 1)
	if err != nil {
		u.order.failed(c.target.server)
		return c.target.server, err
	}
	defer conn.Close()
	if err = f(ctx, conn, link{c.target.server, c.target.via, localOf(conn), ipOf(conn.RemoteAddr()), conn.ConnectionState().PeerCertificates}); err != nil && !ours(err) {
		u.order.failed(c.target.server)
	}
	return c.target.server, err
}
