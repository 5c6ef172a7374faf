package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"maps"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Bounds of what an unknown caller may send, in bytes.
const (
	maxRequest = 8 << 10 // a PKCS #10 request of ECDSA is 250
	maxMachine = 128     // a machine id is 32
)

// Join implements weftv1.JoinServer.
func (a *Authority) Join(ctx context.Context, r *weftv1.JoinRequest) (*weftv1.JoinResponse, error) {
	t, err := a.shown(r.GetToken())
	if err != nil {
		return nil, err
	}
	c, public, err := a.claim(r.GetNode(), r.GetMachine(), r.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	c.secret, c.ephemeral = t.Secret, r.GetEphemeral()
	if err := validLabels(r.GetLabels()); err != nil {
		return nil, err
	}
	var cert *x509.Certificate
	var admitted admission
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		txn, cert, admitted, err = a.joining(ctx, c, t.ID, public)
		return txn, err
	})
	if err != nil {
		return nil, a.refuse("join refused", c.node, err)
	}
	if admitted.fresh {
		a.config.Log.Info("node joined", note.Node, c.node, note.Token, t.ID, note.Machine, c.machine)
		a.config.Note(journal.Event{Object: "Node/" + c.node, Reason: "NodeJoined", Message: "with token " + t.ID, Actor: "node " + c.node})
	}
	return &weftv1.JoinResponse{
		Certificate: cert.Raw, Roots: a.roots().told(), ServerUnix: a.config.Now().Unix(), Ephemeral: &admitted.node.Ephemeral,
	}, nil
}

// joining decides on a join from what the store holds now.
func (a *Authority) joining(ctx context.Context, c claim, id string, public any) (store.Txn, *x509.Certificate, admission, error) {
	var txn store.Txn
	t, tokenRevision, err := read[token](ctx, a.store, tokenKey(id))
	if err != nil {
		return txn, nil, admission{}, err
	}
	n, nodeRevision, err := read[Node](ctx, a.store, nodeKey(c.node))
	if err != nil {
		return txn, nil, admission{}, err
	}
	admitted, err := admit(c, present(t, tokenRevision), present(n, nodeRevision))
	if err != nil {
		return txn, nil, admission{}, err
	}
	cert, err := a.certify(&admitted.node, public)
	if err != nil {
		return txn, nil, admission{}, err
	}
	if err := put(&txn, nodeKey(c.node), nodeRevision, admitted.node); err != nil {
		return txn, nil, admission{}, err
	}
	if admitted.fresh && t.Uses > 0 {
		t.Used++
		err = put(&txn, tokenKey(id), tokenRevision, t)
	} else {
		// Not written, so that nodes that join at once with one token do not race;
		// but a token that is revoked meanwhile counts no more.
		txn.If = append(txn.If, store.Cond{Key: tokenKey(id), Revision: tokenRevision})
	}
	if err == nil {
		err = a.putObject(ctx, &txn, c, t.Labels)
	}
	return txn, cert, admitted, err
}

// putObject makes the Node object of a name that joins, with the token's labels.
// One that is there keeps what operators said.
func (a *Authority) putObject(ctx context.Context, txn *store.Txn, c claim, labels map[string]string) error {
	key := kind.Key(kind.Node, "", c.node)
	entry, err := a.store.Get(ctx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	meta := kind.Metadata{Name: c.node, Labels: labels, CreatedUnix: c.now.Unix()}
	var spec kind.NodeSpec
	if entry.Revision != 0 {
		old, err := kind.Decode(entry.Value, &spec)
		if err != nil {
			return err
		}
		meta = old.Metadata
		meta.Labels = maps.Clone(labels)
		if meta.Labels == nil {
			meta.Labels = map[string]string{}
		}
		maps.Copy(meta.Labels, old.Metadata.Labels)
		if maps.Equal(meta.Labels, old.Metadata.Labels) {
			return nil // a write would wake every agent
		}
	}
	value, err := kind.Encode(kind.Node, meta, spec)
	if err != nil {
		return err
	}
	txn.If = append(txn.If, store.Cond{Key: key, Revision: entry.Revision})
	txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
	return nil
}

// Renew implements weftv1.JoinServer.
func (a *Authority) Renew(ctx context.Context, r *weftv1.RenewRequest) (*weftv1.RenewResponse, error) {
	c, public, err := a.claim(r.GetNode(), "", r.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	var cert *x509.Certificate
	var ephemeral bool
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		n, revision, err := read[Node](ctx, a.store, nodeKey(c.node))
		if err != nil {
			return txn, err
		}
		if err := renewable(c, present(n, revision)); err != nil {
			return txn, err
		}
		n.Former = "" // its agent is here under this name
		ephemeral = n.Ephemeral
		if cert, err = a.certify(&n, public); err != nil {
			return txn, err
		}
		return txn, put(&txn, nodeKey(c.node), revision, n)
	})
	if err != nil {
		return nil, a.refuse("renewal refused", c.node, err)
	}
	return &weftv1.RenewResponse{Certificate: cert.Raw, Roots: a.roots().told(), ServerUnix: a.config.Now().Unix(), Ephemeral: &ephemeral}, nil
}

// Leave implements weftv1.JoinServer.
func (a *Authority) Leave(ctx context.Context, r *weftv1.LeaveRequest) (*weftv1.LeaveResponse, error) {
	c, _, err := a.claim(r.GetNode(), "", r.GetCertificateRequest())
	if err != nil {
		return nil, err
	}
	n, revision, err := read[Node](ctx, a.store, nodeKey(c.node))
	switch {
	case err != nil:
	case revision == 0 || n.RenamedTo != "" || n.RevokedUnix != 0:
		return &weftv1.LeaveResponse{}, nil // it is gone already
	case n.Key.Hash != c.keyHash:
		err = status.Errorf(codes.PermissionDenied, "node %s is recorded with another key", c.node)
	case !n.Ephemeral || a.config.Leave == nil:
		err = status.Errorf(codes.FailedPrecondition, "node %s did not join as ephemeral; to delete it: weft delete node %s", c.node, c.node)
	default:
		err = a.config.Leave(ctx, c.node)
	}
	if err != nil {
		return nil, a.refuse("goodbye refused", c.node, err)
	}
	a.note(journal.Event{Object: "Node/" + c.node, Reason: "NodeLeft", Message: "it was ephemeral, and said goodbye", Actor: "node " + c.node})
	return &weftv1.LeaveResponse{}, nil
}

// certify signs a node's next certificate, and notes in its record what it was
// given: of which root it is, and the newest root that goes along.
func (a *Authority) certify(n *Node, public any) (*x509.Certificate, error) {
	r := a.roots()
	cert, err := r.issuing.sign(a.config.Now(), nodeTemplate(n.Name), public, a.config.NodeLife)
	if err == nil {
		n.Key.EndsUnix, n.Key.Root, n.Key.Told = cert.NotAfter.Unix(), r.issuing.hash, r.hashes()[0]
	}
	return cert, err
}

// claim reads what an unknown caller sent. The request's signature proves that it
// holds the key.
func (a *Authority) claim(node, machine string, request []byte) (claim, any, error) {
	bad := func(format string, args ...any) (claim, any, error) {
		return claim{}, nil, status.Errorf(codes.InvalidArgument, format, args...)
	}
	if err := intent.ValidName(node); err != nil {
		return bad("the node's name %v (--node-name)", err)
	}
	if len(machine) > maxMachine {
		return bad("the machine id has %d bytes; at most %d", len(machine), maxMachine)
	}
	csr, err := parseRequest(node, request)
	if err != nil {
		return claim{}, nil, err
	}
	c := claim{node: node, machine: machine, keyHash: keyHash(csr.RawSubjectPublicKeyInfo), now: a.config.Now(), grace: a.config.Grace}
	return c, csr.PublicKey, nil
}

func nodeTemplate(name string) x509.Certificate {
	return x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{organizationNode}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// refuse logs a refusal, and turns what is no status into one.
func (a *Authority) refuse(message, node string, err error) error {
	if _, ok := status.FromError(err); !ok {
		a.config.Log.Warn(message, note.Node, node, note.Err, err)
		return silent(err)
	}
	a.config.Log.Info(message, note.Node, node, note.Err, err)
	a.config.Note(journal.Event{Kind: journal.Warning, Object: "Node/" + node, Reason: "JoinRefused", Message: status.Convert(err).Message()})
	return err
}

// present is a record, or nil for the revision of absence.
func present[T any](record T, revision int64) *T {
	if revision == 0 {
		return nil
	}
	return &record
}

// parseRequest reads a certificate request, PKCS #10 in DER. Its signature proves
// that who sent it holds the key. Errors are gRPC statuses.
func parseRequest(name string, request []byte) (*x509.CertificateRequest, error) {
	bad := func(format string, args ...any) (*x509.CertificateRequest, error) {
		return nil, status.Errorf(codes.InvalidArgument, format, args...)
	}
	if len(request) > maxRequest {
		return bad("the certificate request has %d bytes; at most %d", len(request), maxRequest)
	}
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return bad("the certificate request is not PKCS #10 in DER: %v", err)
	}
	switch key := csr.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return bad("the certificate request has a key on curve %s; P-256 and Ed25519 are accepted", key.Curve.Params().Name)
		}
	default:
		return bad("the certificate request has a key of kind %v; ECDSA P-256 and Ed25519 are accepted", csr.PublicKeyAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return bad("the certificate request is not signed by its key")
	}
	if cn := csr.Subject.CommonName; cn != "" && cn != name {
		return bad("the certificate request is for %q, and the request for %s", cn, name)
	}
	return csr, nil
}
