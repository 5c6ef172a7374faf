package identity

import (
	"cmp"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Lives of users' certificates.
const (
	minUserLife = time.Minute
	maxUserLife = 10 * 365 * 24 * time.Hour
)

// User is a person, or a program, that may call.
type User struct {
	Name        string
	Role        Role
	CreatedUnix int64
	EndsUnix    int64 // of the certificate that ends last
	RevokedUnix int64 // 0: it is not
	Keys        int   // with a certificate that has not ended
}

// UserSpec says what a user is to be.
type UserSpec struct {
	Name string
	Role string
	TTL  time.Duration // of the certificate; 0 means 365 d
}

// Granted is a certificate, and what its holder shall trust.
type Granted struct {
	Certificate []byte   // X.509, DER
	Roots       [][]byte // X.509, DER, the newest first
	User        User
}

func (s UserSpec) check() error {
	var bad kind.FieldErrors
	if err := intent.ValidName(s.Name); err != nil {
		bad = append(bad, kind.FieldError{Field: "name", Problem: err.Error()})
	}
	if _, ok := ParseRole(s.Role); !ok {
		bad = append(bad, kind.FieldError{Field: "role", Problem: fmt.Sprintf("%.40q is none; accepted: viewer (reads), operator (also writes resources), admin (also users, tokens, CA, backups, servers), dialer (a kube-apiserver: dials through tunnels, nothing else)", s.Role)})
	}
	return errors.Join(listed(bad), checkLife(s.TTL))
}

// listed is a list of errors, or nil.
func listed(bad kind.FieldErrors) error {
	if len(bad) == 0 {
		return nil
	}
	return bad
}

func checkLife(ttl time.Duration) error {
	if ttl != 0 && (ttl < minUserLife || ttl > maxUserLife) {
		return kind.FieldErrors{{Field: "ttl_seconds", Problem: fmt.Sprintf("%d is out of bounds; accepted: %d to %d, 0 for 365 d", ttl/time.Second, minUserLife/time.Second, maxUserLife/time.Second)}}
	}
	return nil
}

// CreateUser records a user under the key of a certificate request (PKCS #10,
// DER). A name that is there is refused, revoked or not: what is written in
// records must not change its meaning.
func (a *Authority) CreateUser(ctx context.Context, s UserSpec, request []byte) (Granted, error) {
	if err := s.check(); err != nil {
		return Granted{}, err
	}
	csr, err := parseRequest(s.Name, request)
	if err != nil {
		return Granted{}, err
	}
	role, _ := ParseRole(s.Role)
	var out Granted
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		held, revision, err := read[user](ctx, a.store, userKey(s.Name))
		if err != nil {
			return txn, err
		}
		if revision != 0 {
			return txn, status.Errorf(codes.AlreadyExists, "there is a user %s already (%s, %s); choose another name, or for its next certificate: weft user renew %s",
				s.Name, held.role(), stands(held.RevokedUnix), s.Name)
		}
		u := user{Schema: schema.Identity.Version(), Name: s.Name, Role: role, CreatedUnix: time.Now().Unix()}
		out, err = a.grant(&u, csr, s.TTL)
		if err != nil {
			return txn, err
		}
		return txn, put(&txn, userKey(s.Name), 0, u)
	})
	if err != nil {
		return Granted{}, a.unlessStatus(err)
	}
	a.config.Log.Info("user created", note.User, s.Name, note.Role, role)
	a.note(journal.Event{Object: "User/" + s.Name, Reason: "UserCreated", Message: "role " + string(role)})
	return out, nil
}

func stands(revoked int64) string {
	if revoked == 0 {
		return "not revoked"
	}
	return "revoked at " + utc(revoked)
}

// RenewUser gives a user its next certificate. caller is who asks: a user renews
// itself, an admin everybody.
func (a *Authority) RenewUser(ctx context.Context, caller Peer, name string, ttl time.Duration, request []byte) (Granted, error) {
	name = cmp.Or(name, caller.Name)
	if caller.Name != name && caller.Role != RoleAdmin {
		return Granted{}, status.Errorf(codes.PermissionDenied, "%s may not renew user %s; the rule: its own name, or role admin", caller, name)
	}
	if err := checkLife(ttl); err != nil {
		return Granted{}, err
	}
	csr, err := parseRequest(name, request)
	if err != nil {
		return Granted{}, err
	}
	var out Granted
	err = a.swap(ctx, func() (txn store.Txn, err error) {
		u, revision, err := read[user](ctx, a.store, userKey(name))
		switch {
		case err != nil:
			return txn, err
		case revision == 0:
			return txn, status.Errorf(codes.NotFound, "there is no user %s; make it: weft user create %s --role viewer|operator|admin|dialer", name, name)
		case u.RevokedUnix != 0:
			return txn, status.Errorf(codes.FailedPrecondition, "user %s was revoked at %s, for good; make another one: weft user create NAME --role %s", name, utc(u.RevokedUnix), u.role())
		}
		if out, err = a.grant(&u, csr, ttl); err != nil {
			return txn, err
		}
		return txn, put(&txn, userKey(name), revision, u)
	})
	if err != nil {
		return Granted{}, a.unlessStatus(err)
	}
	a.config.Log.Info("user renewed", note.User, name, note.Until, utc(out.User.EndsUnix))
	return out, nil
}

// grant signs a user's certificate, and notes its key.
func (a *Authority) grant(u *user, csr *x509.CertificateRequest, ttl time.Duration) (Granted, error) {
	roots := a.roots()
	cert, err := roots.issuing.sign(time.Now(), userTemplate(u.Name, u.role()), csr.PublicKey, cmp.Or(ttl, userLife))
	if err != nil {
		return Granted{}, err
	}
	u.add(Key{Hash: keyHash(cert.RawSubjectPublicKeyInfo), CreatedUnix: time.Now().Unix(), EndsUnix: cert.NotAfter.Unix(), Root: roots.issuing.hash})
	return Granted{Certificate: cert.Raw, Roots: roots.told(), User: u.public(time.Now())}, nil
}

// userTemplate is the certificate of a user: see organizationAdmin for why an
// admin's says other than the rest.
func userTemplate(name string, role Role) x509.Certificate {
	organization := organizationUser
	if role == RoleAdmin {
		organization = organizationAdmin
	}
	return x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{organization}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// RevokeUser ends a user's right to speak, on every server, and cuts its streams.
// The last admin with a good certificate is refused: nobody could make another.
func (a *Authority) RevokeUser(ctx context.Context, name string) error {
	err := a.swap(ctx, func() (txn store.Txn, err error) {
		entries, _, err := a.store.List(ctx, userKey(""))
		if err != nil {
			return txn, err
		}
		now := time.Now()
		var found *user
		var admins []store.Entry
		for _, e := range entries {
			u, err := decode[user](e)
			if err != nil {
				return txn, err
			}
			if u.Name == name {
				found = &u
				txn.If = append(txn.If, store.Cond{Key: e.Key, Revision: e.Revision})
			} else if p := u.public(now); p.Role == RoleAdmin && p.RevokedUnix == 0 && p.Keys > 0 {
				admins = append(admins, e)
			}
		}
		switch {
		case found == nil:
			return txn, status.Errorf(codes.NotFound, "there is no user %q; weft user ls shows who is", name)
		case found.RevokedUnix != 0:
			return store.Txn{}, nil
		case found.role() == RoleAdmin && len(admins) == 0:
			return txn, status.Errorf(codes.FailedPrecondition, "user %s is the last admin; make another one first: weft user create NAME --role admin", name)
		case found.role() == RoleAdmin: // the one that stays must stay meanwhile
			txn.If = append(txn.If, store.Cond{Key: admins[0].Key, Revision: admins[0].Revision})
		}
		found.RevokedUnix = now.Unix()
		revision := txn.If[0].Revision
		txn.If = txn.If[1:]
		return txn, put(&txn, userKey(name), revision, found)
	})
	if err != nil {
		return a.unlessStatus(err)
	}
	a.config.Log.Info("user revoked", note.User, name)
	a.note(journal.Event{Object: "User/" + name, Reason: "UserRevoked", Message: "its streams were cut"})
	return nil
}

// Users lists the users by name, the revoked among them, as Run last read it.
func (a *Authority) Users() []User {
	now := time.Now()
	var list []User
	for _, u := range a.users() {
		list = append(list, u.public(now))
	}
	return list
}

func (a *Authority) users() []user {
	entries, _ := a.book.Snapshot()
	var list []user
	for _, e := range entries {
		if !strings.HasPrefix(e.Key, userKey("")) {
			continue
		}
		if u, err := decode[user](e); err == nil {
			list = append(list, u)
		}
	}
	slices.SortFunc(list, func(a, b user) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// public is a user without its keys.
func (u user) public(now time.Time) User {
	out := User{Name: u.Name, Role: u.role(), CreatedUnix: u.CreatedUnix, RevokedUnix: u.RevokedUnix}
	for _, k := range u.Keys {
		out.EndsUnix = max(out.EndsUnix, k.EndsUnix)
		if out.CreatedUnix == 0 || k.CreatedUnix < out.CreatedUnix {
			out.CreatedUnix = k.CreatedUnix
		}
		if k.EndsUnix > now.Unix() {
			out.Keys++
		}
	}
	return out
}

// unlessStatus makes what the store says a gRPC status; what is one stays.
func (a *Authority) unlessStatus(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if _, ok := kind.Fields(err); ok {
		return err
	}
	return status.Errorf(codes.Unavailable, "the store does not answer; try again, or another server: %v", err)
}
