package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/join"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Organizations of certificates' subjects say what the holder is. Of a user the
// record says the role, so that a certificate is worth no more than its record.
const (
	organizationNode   = "weft:node"
	organizationServer = "weft:server"
	organizationUser   = "weft:user"
	// An admin's. The release before users wrote it for everybody; it takes no
	// other from people, so that it lets in admins and refuses the rest.
	organizationAdmin = "weft:operator"
)

// Peer is who calls.
type Peer struct {
	Role Role
	Name string
}

// String names a peer by what it is: node n1, server s1, admin ann.
func (p Peer) String() string { return string(p.Role) + " " + p.Name }

// authorise answers who calls, if it may. Nobody is asked for a certificate where
// anybody may call.
func (a *Authority) authorise(ctx context.Context, method string) (Peer, *x509.Certificate, error) {
	least, _ := leastRole(method)
	if least == "" {
		return Peer{}, nil, nil
	}
	cert := presented(ctx)
	if cert == nil {
		return Peer{}, nil, status.Errorf(codes.Unauthenticated, "%s needs a client certificate with %s; people: weft --config admin.yaml, or grpcurl $(weft grpcurl-flags)", method, said(least))
	}
	p, err := a.Identify(cert)
	if err != nil {
		return Peer{}, nil, err
	}
	if !p.Role.may(least) {
		return Peer{}, nil, status.Errorf(codes.PermissionDenied, "%s may not call %s; the rule: %s", p, method, said(least))
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

var errStarting = status.Error(codes.Unavailable, "this server is starting; try again, or another")

// Identify answers whom a certificate speaks for, now. It verifies all of it, so
// that it need not matter how the connection was made. Errors are gRPC statuses.
func (a *Authority) Identify(cert *x509.Certificate) (Peer, error) {
	now := a.config.Now()
	p, err := a.named(cert, cert.NotBefore)
	if err != nil {
		return Peer{}, a.unnamed(cert, err)
	}
	if err := join.Valid(cert, now); err != nil {
		return Peer{}, status.Errorf(codes.Unauthenticated, "the certificate of %s, by this server's clock: %v", p, err)
	}
	if a.book.Revision() == 0 {
		return Peer{}, errStarting
	}
	role, err := a.recorded(p, keyHash(cert.RawSubjectPublicKeyInfo))
	if err != nil {
		return Peer{}, status.Errorf(codes.PermissionDenied, "%s: %v", p, err)
	}
	p.Role = role
	return p, nil
}

// named verifies that a certificate is ours, and reads whom it names.
func (a *Authority) named(cert *x509.Certificate, at time.Time) (Peer, error) {
	r := a.roots()
	return a.proofs.find(cert, r, func() (Peer, error) { return r.named(cert, at) })
}

func (r *roots) named(cert *x509.Certificate, at time.Time) (Peer, error) {
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: r.pool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return Peer{}, fmt.Errorf("the client certificate %q is not of this fabric: %w", cert.Subject.CommonName, err)
	}
	return named(cert)
}

// named reads whom a certificate names, whoever signed it.
func named(cert *x509.Certificate) (Peer, error) {
	p := Peer{Name: cert.Subject.CommonName}
	switch organization := cert.Subject.Organization; {
	case slices.Equal(organization, []string{organizationNode}):
		p.Role = RoleNode
	case slices.Equal(organization, []string{organizationServer}):
		p.Role = RoleServer
	case slices.Equal(organization, []string{organizationUser}), slices.Equal(organization, []string{organizationAdmin}):
		p.Role = RoleViewer // until the record says more
	default:
		return Peer{}, fmt.Errorf("the client certificate %q has no role", p.Name)
	}
	return p, nil
}

// unnamed is the answer to a certificate that none of the roots that count has
// signed. One of a root that was dropped still says who it was: the record may have
// revoked it long before. The answer is a gRPC status.
func (a *Authority) unnamed(cert *x509.Certificate, why error) error {
	if !a.roots().dropped(cert) {
		return status.Error(codes.Unauthenticated, why.Error())
	}
	p, err := named(cert)
	if err != nil {
		return status.Error(codes.Unauthenticated, err.Error())
	}
	if a.book.Revision() == 0 {
		return errStarting
	}
	role, err := a.recorded(p, keyHash(cert.RawSubjectPublicKeyInfo))
	if err != nil {
		return status.Errorf(codes.PermissionDenied, "%s: %v", p, err)
	}
	p.Role = role
	remedy := "it renews by itself"
	if role.people() {
		remedy = "get new credentials from an admin: weft user renew " + p.Name + " -o FILE; or on a server: weft-server admin"
	}
	return status.Errorf(codes.Unauthenticated, "the certificate of %s is of a root that counts no more since the CA was rotated; %s", p, remedy)
}

// recorded says whether the book has a key for a name, and does not revoke it,
// and answers with the role that it has there.
func (a *Authority) recorded(p Peer, hash string) (Role, error) {
	switch p.Role {
	case RoleServer:
		return p.Role, a.serverRecorded(p.Name)
	case RoleNode:
		return p.Role, a.nodeRecorded(p.Name, hash)
	}
	entry, _ := a.book.Get(userKey(p.Name))
	u, err := decode[user](entry)
	switch {
	case err == nil && u.RevokedUnix != 0:
		return "", fmt.Errorf("it was revoked at %s", utc(u.RevokedUnix))
	case err != nil || !slices.ContainsFunc(u.Keys, func(k Key) bool { return k.Hash == hash }):
		return "", errors.New("its key is not recorded; get credentials from an admin (weft user create), or on a server: weft-server admin")
	}
	return u.role(), nil
}

func (a *Authority) nodeRecorded(name, hash string) error {
	n, ok := a.Node(name)
	switch {
	case !ok:
		return errors.New("it is not recorded; let it join: weft token create --node " + name)
	case n.RenamedTo != "" && n.Key.Hash == hash:
		return fmt.Errorf("it was renamed to %s; on the node: start weft-agent with --node-name %s", n.RenamedTo, n.RenamedTo)
	case n.Key.Hash != hash:
		return errors.New("its key was replaced: the name is recorded with another one")
	case n.Expired:
		return errors.New(n.expired())
	case n.RevokedUnix != 0:
		return fmt.Errorf("it was revoked at %s", utc(n.RevokedUnix))
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

// WithPeer is the context of a call that a server forwards for somebody whom it
// has identified.
func WithPeer(ctx context.Context, p Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

// NodeFromContext answers with the node that calls.
func NodeFromContext(ctx context.Context) (string, error) {
	p, err := FromContext(ctx)
	if err == nil && p.Role != RoleNode {
		err = status.Errorf(codes.PermissionDenied, "%s is no node", p)
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
		ctx = WithPeer(ctx, p)
	}
	return handler(ctx, request)
}
