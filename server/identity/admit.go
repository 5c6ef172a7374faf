package identity

import (
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// claim is who asks for a certificate, with what.
type claim struct {
	node      string
	keyHash   string
	machine   string
	secret    note.Secret // of the token; unused by renew
	now       time.Time
	grace     time.Duration
	ephemeral bool
}

// admission is what a claim is worth.
type admission struct {
	node  Node
	fresh bool // a use of the token is spent
}

// admit decides on a join. t is nil for a token that is not there, known is nil
// for a name that is not recorded. It is pure; errors are gRPC statuses.
func admit(c claim, t *token, known *Node) (admission, error) {
	if t == nil || !t.opens(c.secret) {
		return admission{}, status.Error(codes.PermissionDenied, "the token is not known: it was revoked, or mistyped; get one with weft token create")
	}
	if known != nil && known.RenamedTo != "" && known.Key.Hash == c.keyHash {
		return admission{}, known.movedOn()
	}
	if known != nil && known.RevokedUnix == 0 && known.Key.Hash == c.keyHash && !known.overdue(c) {
		return admission{node: *known}, nil // it asks again: the answer was lost
	}
	if err := t.allows(c); err != nil {
		return admission{}, err
	}
	if known != nil && known.RenamedTo == "" && !t.Replace {
		if err := known.keeps(c); err != nil {
			return admission{}, err
		}
	}
	return admission{fresh: true, node: Node{
		Schema: schema.Identity.Version(), Name: c.node, Machine: c.machine, Token: t.ID, JoinedUnix: c.now.Unix(), Ephemeral: t.Ephemeral || c.ephemeral,
		Key: Key{Hash: c.keyHash, CreatedUnix: c.now.Unix()},
	}}, nil
}

// allows says whether a token may be spent on a claim.
func (t token) allows(c claim) error {
	switch {
	case t.ExpiresUnix != 0 && c.now.Unix() >= t.ExpiresUnix:
		return status.Errorf(codes.PermissionDenied, "token %s expired at %s (this server's clock says %s); make one with weft token create",
			t.ID, utc(t.ExpiresUnix), utc(c.now.Unix()))
	case t.Uses != 0 && t.Used >= t.Uses:
		return status.Errorf(codes.PermissionDenied, "token %s is used up (%d of %d); make one with weft token create", t.ID, t.Used, t.Uses)
	case len(t.Nodes) > 0 && !slices.Contains(t.Nodes, c.node):
		return status.Errorf(codes.PermissionDenied, "token %s is not for node %s; make one with weft token create --node %s", t.ID, c.node, c.node)
	}
	return nil
}

// keeps says whether a recorded name withstands a claim. A revoked name is free
// for a new key, but not for the one that was revoked.
func (n Node) keeps(c claim) error {
	line := "weft token create --node " + n.Name + " --replace"
	switch {
	case n.RevokedUnix != 0 && n.Key.Hash == c.keyHash && !n.Expired:
		return status.Errorf(codes.PermissionDenied, "node %s was revoked at %s with this key; to let it join again: %s", n.Name, utc(n.RevokedUnix), line)
	case n.RevokedUnix == 0 && n.Key.Hash != c.keyHash:
		return status.Errorf(codes.AlreadyExists, "node %s is recorded with another key; if it was reinstalled or replaced: %s", n.Name, line)
	}
	return nil
}

// renewable says whether a name may have its next certificate. It is pure; errors
// are gRPC statuses.
func renewable(c claim, known *Node) error {
	if known == nil {
		return status.Errorf(codes.NotFound, "node %s is not recorded; let it join with a token: weft token create --node %s", c.node, c.node)
	}
	line := "weft token create --node " + c.node + " --replace"
	switch {
	case known.RenamedTo != "" && known.Key.Hash == c.keyHash:
		return known.movedOn()
	case known.RenamedTo != "":
		return status.Errorf(codes.NotFound, "node %s is not recorded; let it join with a token: weft token create --node %s", c.node, c.node)
	case known.Key.Hash != c.keyHash:
		return status.Errorf(codes.PermissionDenied, "node %s is recorded with another key; if it was reinstalled or replaced: %s", c.node, line)
	case known.Expired:
		return status.Errorf(codes.NotFound, "%s; let it join again with a token: weft token create --ephemeral", known.expired())
	case known.RevokedUnix != 0:
		return status.Errorf(codes.PermissionDenied, "node %s was revoked at %s; to let it join again: %s", c.node, utc(known.RevokedUnix), line)
	case known.overdue(c):
		return status.Errorf(codes.PermissionDenied, "the certificate of node %s ended at %s, more than %v ago (this server's clock says %s); let it join again: %s",
			c.node, utc(known.Key.EndsUnix), c.grace, utc(c.now.Unix()), line)
	}
	return nil
}

// expired says what became of an ephemeral node that stayed away.
func (n Node) expired() string {
	return fmt.Sprintf("node %s was ephemeral, stayed away, and was deleted at %s", n.Name, utc(n.RevokedUnix))
}

// overdue says that a node's last certificate ended too long ago.
func (n Node) overdue(c claim) bool {
	return n.Key.EndsUnix != 0 && c.now.After(time.Unix(n.Key.EndsUnix, 0).Add(c.grace))
}

func utc(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
