package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"syscall"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/egress"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/relay"
	"github.com/weft-net/weft/tunnel"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// What is asked for over HTTP/1.1 has a rule of identity's as if it were a method.
const (
	methodTunnel = "/weft.v1.Egress/Tunnel"
	methodHop    = "/weft.v1.Egress/Hop"
	methodDial   = "/weft.v1.Egress/Dial"
)

// pathTunnel is where agents' tunnels come to.
const pathTunnel = "/v1/tunnel"

// openEgress makes the room where agents' tunnels end.
func (r *rooms) openEgress() {
	budget := tunnel.NewBudget(0)
	r.gate = egress.New(egress.Config{
		Server: r.site.own.Name, Mirror: r.mirror, Store: r.store, Log: r.Log,
		Others: peers{r.room, r.auth.DialTLS(r.site.own.Name)},
		Hold: func(ctx context.Context, req *http.Request) (string, context.Context, func(), error) {
			return hold(ctx, r.auth, req, methodTunnel)
		},
		Upgrade: func(w http.ResponseWriter, req *http.Request) (egress.Link, error) {
			c, err := tunnel.Upgrade(w, req, tunnel.Config{Budget: budget})
			if err != nil {
				return nil, err
			}
			return egress.Over(c), nil
		},
		Denied: r.denied, MaxOpen: shareOfFiles(),
	})
	weftv1.RegisterEgressServer(r.services.grpc, &egress.Service{Gate: r.gate, Asker: askerOf})
}

// shareOfFiles is how many dialled connections may be open: a fifth of the files that
// the process may have, for each can take two, and agents take two each.
func shareOfFiles() int {
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil {
		return 0
	}
	return int(min(max(files.Cur/5, 128), 16_384))
}

// hold lets in who shows a certificate on a request of HTTP, as a call of a method
// is let in, and says who it is. held ends with what let it in.
func hold(ctx context.Context, auth *identity.Authority, r *http.Request, method string) (name string, held context.Context, release func(), err error) {
	if r.TLS == nil {
		return "", nil, nil, status.Error(codes.Unauthenticated, "the connection is not of TLS")
	}
	from := &peer.Peer{AuthInfo: credentials.TLSInfo{State: *r.TLS, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}}
	held, release, err = auth.Hold(peer.NewContext(ctx, from), method)
	if err != nil {
		return "", nil, nil, err
	}
	p, err := identity.FromContext(held)
	if err != nil {
		release()
		return "", nil, nil, err
	}
	return p.Name, held, release, nil
}

// askerOf is who calls, as rules know it.
func askerOf(ctx context.Context) egress.Asker {
	p, err := identity.FromContext(ctx)
	if err != nil {
		return egress.Asker{}
	}
	return egress.Asker{User: p.Name, Role: string(p.Role), Front: "grpc"}
}

// denied writes down what a rule refused; what the same rule refuses the same user at
// the same node within a minute is counted.
// Who comes over a socket has no name but that of the machine's user.
func (r *rooms) denied(by egress.Asker, to egress.Request, node string, no *egress.Refusal) {
	from, _, err := net.SplitHostPort(by.From)
	if err != nil {
		from = by.From
	}
	act := journal.Act{
		At: time.Now(), User: cmp.Or(by.User, by.From, by.Front), Role: by.Role, From: from, Method: "weft.v1.Egress/Dial", Verb: "dial",
		Outcome: codes.PermissionDenied.String(), Message: to.String() + " over " + by.Front + ": " + no.Error(),
	}
	if node != "" {
		act.Objects = []string{"Node/" + node}
	}
	r.journal.DenyBy(node+" "+no.Rule, act)
}

// peers are the other servers, as the egress knows them.
type peers struct {
	room *members.Room
	tls  *tls.Config
}

// Names implements egress.Others.
func (p peers) Names() []string {
	var out []string
	others := p.room.Others()
	for _, s := range p.room.Servers() {
		if slices.Contains(others, s.Name) && (s.State == members.Ready || s.State == members.Learner) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Held implements egress.Others. A server of a release without tunnels holds none.
func (p peers) Held(ctx context.Context, server, node string) (held []*weftv1.Tunnel, err error) {
	err = p.room.Call(ctx, server, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		answer, err := weftv1.NewEgressClient(conn).ListHeld(ctx, &weftv1.ListHeldRequest{Node: node})
		held = answer.GetTunnels()
		return err
	})
	if status.Code(err) == codes.Unimplemented {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s", status.Convert(err).Message())
	}
	return held, nil
}

// Dial implements egress.Others.
func (p peers) Dial(ctx context.Context, server string) (egress.Conn, error) {
	all := p.room.Servers()
	i := slices.IndexFunc(all, func(s members.Status) bool { return s.Name == server })
	if i < 0 {
		return nil, fmt.Errorf("server %s is not known here", server)
	}
	config := p.tls.Clone()
	config.NextProtos = []string{"http/1.1"}
	c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", all[i].Address)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// web answers what comes over HTTP/1.1.
func (r *rooms) web(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.Method == http.MethodConnect && req.Header.Get(egress.HeaderHop) != "":
		r.hop(w, req)
	case req.URL.Path == pathTunnel:
		r.gate.ServeTunnel(w, req)
	case req.URL.Path == relay.Path:
		r.relay.ServeHTTP(w, req)
	default:
		http.Error(w, "This is weft-server. Agents and operators speak gRPC here (weft, grpcurl), and\n"+
			"agents hold their tunnels at "+pathTunnel+" and "+relay.Path+".", http.StatusNotFound)
	}
}

// hop takes a dial that another server hands on.
func (r *rooms) hop(w http.ResponseWriter, req *http.Request) {
	_, held, release, err := hold(context.WithoutCancel(req.Context()), r.auth, req, methodHop)
	if err != nil {
		code := http.StatusForbidden
		if status.Code(err) == codes.Unavailable {
			code = http.StatusServiceUnavailable
		}
		http.Error(w, status.Convert(err).Message(), code)
		return
	}
	defer release()
	r.gate.ServeHop(w, req, held)
}
