package server

import (
	"context"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/admin"
	"github.com/weft-net/weft/server/identity"
)

// users answers about identity's users.
type users struct {
	weftv1.UnimplementedUsersServer
	auth *identity.Authority
}

// Create implements weftv1.UsersServer.
func (u users) Create(ctx context.Context, r *weftv1.UsersCreateRequest) (*weftv1.UsersCreateResponse, error) {
	g, err := u.auth.CreateUser(ctx, identity.UserSpec{Name: r.GetName(), Role: r.GetRole(), TTL: seconds(r.GetTtlSeconds())}, r.GetCertificateRequest())
	if err != nil {
		return nil, admin.Answer(err)
	}
	return &weftv1.UsersCreateResponse{Certificate: g.Certificate, Roots: g.Roots, Status: userStatus(g.User)}, nil
}

// List implements weftv1.UsersServer.
func (u users) List(context.Context, *weftv1.UsersListRequest) (*weftv1.UsersListResponse, error) {
	out := &weftv1.UsersListResponse{}
	for _, user := range u.auth.Users() {
		out.Users = append(out.Users, userStatus(user))
	}
	return out, nil
}

// Revoke implements weftv1.UsersServer.
func (u users) Revoke(ctx context.Context, r *weftv1.UsersRevokeRequest) (*weftv1.UsersRevokeResponse, error) {
	if err := u.auth.RevokeUser(ctx, r.GetName()); err != nil {
		return nil, admin.Answer(err)
	}
	return &weftv1.UsersRevokeResponse{}, nil
}

// Renew implements weftv1.UsersServer.
func (u users) Renew(ctx context.Context, r *weftv1.UsersRenewRequest) (*weftv1.UsersRenewResponse, error) {
	caller, err := identity.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	g, err := u.auth.RenewUser(ctx, caller, r.GetName(), seconds(r.GetTtlSeconds()), r.GetCertificateRequest())
	if err != nil {
		return nil, admin.Answer(err)
	}
	return &weftv1.UsersRenewResponse{Certificate: g.Certificate, Roots: g.Roots, Status: userStatus(g.User)}, nil
}

func userStatus(u identity.User) *weftv1.UserStatus {
	return &weftv1.UserStatus{
		Name: u.Name, Role: string(u.Role), CreatedUnix: u.CreatedUnix, EndsUnix: u.EndsUnix, RevokedUnix: u.RevokedUnix, Keys: uint32(u.Keys),
	}
}

// seconds reads a duration without overflow; what is negative stays so.
func seconds(n int64) time.Duration {
	const longest = 100 * 365 * 24 * time.Hour
	return time.Duration(max(min(n, int64(longest/time.Second)), -1)) * time.Second
}

// authority answers about identity's CA.
type authority struct {
	weftv1.UnimplementedAuthorityServer
	auth *identity.Authority
}

// RotateCA implements weftv1.AuthorityServer.
func (a authority) RotateCA(ctx context.Context, r *weftv1.RotateCARequest) (*weftv1.RotateCAResponse, error) {
	do := a.auth.RotateCA
	if r.GetFinish() {
		do = a.auth.FinishRotation
	}
	out, err := do(ctx, r.GetForce())
	if err != nil {
		return nil, admin.Answer(err)
	}
	return &weftv1.RotateCAResponse{Status: authorityStatus(a.auth.Rotation()), LeftOut: out}, nil
}

// Status implements weftv1.AuthorityServer.
func (a authority) Status(context.Context, *weftv1.AuthorityStatusRequest) (*weftv1.AuthorityStatusResponse, error) {
	return &weftv1.AuthorityStatusResponse{Status: authorityStatus(a.auth.Rotation())}, nil
}

func authorityStatus(r identity.Rotation) *weftv1.AuthorityStatus {
	out := &weftv1.AuthorityStatus{
		Phase: string(r.Phase), Nodes: uint32(r.Nodes), Trusting: uint32(r.Trusting), Waiting: r.Waiting,
		Renewed: uint32(r.Renewed), Lagging: r.Lagging, Restart: r.Restart, Issuing: rootStatus(r.Issuing),
	}
	if !r.Since.IsZero() {
		out.SinceUnix = r.Since.Unix()
	}
	if r.Next != (identity.Root{}) {
		out.Next = rootStatus(r.Next)
	}
	for _, o := range r.Old {
		out.Old = append(out.Old, rootStatus(o))
	}
	return out
}

func rootStatus(r identity.Root) *weftv1.RootStatus {
	return &weftv1.RootStatus{Hash: r.Hash, CreatedUnix: r.Created.Unix(), EndsUnix: r.Ends.Unix()}
}
