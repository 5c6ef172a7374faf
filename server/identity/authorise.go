package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/join"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Role is what a certificate entitles to.
type Role string

// Roles. The empty one has no certificate.
const (
	RoleNode     Role = "node"
	RoleOperator Role = "operator"
)

const organizationPrefix = "weft:"

// organization is how a certificate's subject says its role.
func (r Role) organization() string { return organizationPrefix + string(r) }

// Peer is who calls.
type Peer struct {
	Role Role
	Name string
}

// rules say which services a role may call. What no rule names is for operators.
var rules = []struct {
	service string
	roles   []Role // the empty role: anybody
}{
	{"grpc.health.v1.Health", []Role{""}},
	{"weft.v1.Join", []Role{""}},
	{"weft.v1.NodeSync", []Role{RoleNode}},
}

// allowed answers who may call a method: "/weft.v1.Join/Renew".
func allowed(method string) []Role {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	for _, r := range rules {
		if r.service == service {
			return r.roles
		}
	}
	return []Role{RoleOperator}
}

// authorise answers who calls, if it may. Nobody is asked for a certificate where
// anybody may call.
func (a *Authority) authorise(ctx context.Context, method string) (Peer, *x509.Certificate, error) {
	roles := allowed(method)
	if slices.Contains(roles, "") {
		return Peer{}, nil, nil
	}
	cert := presented(ctx)
	if cert == nil {
		return Peer{}, nil, status.Errorf(codes.Unauthenticated, "%s needs a client certificate with role %s; operators: weft --config admin.yaml, or grpcurl $(weft grpcurl-flags)", method, roles[0])
	}
	p, err := a.Identify(cert)
	if err != nil {
		return Peer{}, nil, err
	}
	if !slices.Contains(roles, p.Role) {
		return Peer{}, nil, status.Errorf(codes.PermissionDenied, "%s %s may not call %s; the rule: role %s", p.Role, p.Name, method, roles[0])
	}
	return p, cert, nil
}

// presented is the certificate of a call's connection, or nil.
func presented(ctx context.Context) *x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return nil
	}
	return info.State.PeerCertificates[0]
}

// Identify answers whom a certificate speaks for, now. It verifies all of it, so
// that it need not matter how the connection was made. Errors are gRPC statuses.
func (a *Authority) Identify(cert *x509.Certificate) (Peer, error) {
	now := time.Now()
	p, err := a.named(cert, cert.NotBefore)
	if err != nil {
		return Peer{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if err := join.Valid(cert, now); err != nil {
		return Peer{}, status.Errorf(codes.Unauthenticated, "the certificate of %s %s, by this server's clock: %v", p.Role, p.Name, err)
	}
	if a.book.Revision() == 0 {
		return Peer{}, status.Error(codes.Unavailable, "this server is starting; try again, or another")
	}
	if err := a.recorded(p, keyHash(cert.RawSubjectPublicKeyInfo)); err != nil {
		return Peer{}, status.Errorf(codes.PermissionDenied, "%s %s: %v", p.Role, p.Name, err)
	}
	return p, nil
}

// named verifies that a certificate is ours, and reads whom it names.
func (a *Authority) named(cert *x509.Certificate, at time.Time) (Peer, error) {
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: a.ca.pool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Peer{}, fmt.Errorf("the client certificate %q is not of this fabric: %w", cert.Subject.CommonName, err)
	}
	for _, role := range []Role{RoleNode, RoleOperator} {
		if slices.Equal(cert.Subject.Organization, []string{role.organization()}) {
			return Peer{Role: role, Name: cert.Subject.CommonName}, nil
		}
	}
	return Peer{}, fmt.Errorf("the client certificate %q has no role", cert.Subject.CommonName)
}

// recorded says whether the book has a key for a name, and does not revoke it.
func (a *Authority) recorded(p Peer, hash string) error {
	if p.Role == RoleNode {
		n, ok := a.Node(p.Name)
		switch {
		case !ok:
			return errors.New("it is not recorded; let it join: weft token create --node " + p.Name)
		case n.Key.Hash != hash:
			return errors.New("its key was replaced: the name is recorded with another one")
		case n.RevokedUnix != 0:
			return fmt.Errorf("it was revoked at %s", utc(n.RevokedUnix))
		}
		return nil
	}
	entry, _ := a.book.Get(operatorKey(p.Name))
	o, err := decode[operator](entry)
	switch {
	case err != nil || !slices.ContainsFunc(o.Keys, func(k Key) bool { return k.Hash == hash }):
		return errors.New("its key is not recorded; get new credentials from a server's admin.yaml")
	case o.RevokedUnix != 0:
		return fmt.Errorf("it was revoked at %s", utc(o.RevokedUnix))
	}
	return nil
}

type peerKey struct{}

// FromContext answers who made a call that the interceptors let pass.
func FromContext(ctx context.Context) (Peer, error) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	if !ok {
		return Peer{}, status.Error(codes.Unauthenticated, "the caller showed no certificate")
	}
	return p, nil
}

// NodeFromContext answers with the node that calls.
func NodeFromContext(ctx context.Context) (string, error) {
	p, err := FromContext(ctx)
	if err == nil && p.Role != RoleNode {
		err = status.Errorf(codes.PermissionDenied, "%s %s is no node", p.Role, p.Name)
	}
	return p.Name, err
}

// Unary is the interceptor that authorises calls.
func (a *Authority) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	p, cert, err := a.authorise(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	if cert != nil {
		ctx = context.WithValue(ctx, peerKey{}, p)
	}
	return handler(ctx, request)
}
