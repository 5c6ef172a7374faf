package identity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const serverTokenFile = "server-token"

func serverTokenKey(id string) string { return store.Identity + "server-token/" + id }

// keepServerToken writes the token by which a further server joins. It does not
// expire, and opens everything: the holder gets the key of the fabric's CA.
func (a *Authority) keepServerToken(ctx context.Context) error {
	path := filepath.Join(a.config.DataDir, serverTokenFile)
	held, err := join.LoadToken(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("identity: %w; move it away and start again: another one is made (it was not touched)", err)
	case !a.roots().knows(held.CAHash):
		return otherFabric(path)
	default:
		return nil
	}
	made := join.NewServerToken(a.roots().issuing.cert)
	t := token{Schema: schema.Identity.Version(), Hash: secretHash(made.Secret), Token: Token{
		ID: made.ID, Description: "for servers, in " + path, CreatedUnix: time.Now().Unix(),
	}}
	var txn store.Txn
	if err := put(&txn, serverTokenKey(t.ID), 0, t); err != nil {
		return err
	}
	if _, err := a.store.Commit(ctx, txn); err != nil {
		return fmt.Errorf("identity: store the server token: %w", err)
	}
	if err := made.Save(path); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	a.config.Log.Info("server token written", note.Path, path)
	return nil
}

// Handover is what makes a server one of this fabric.
type Handover struct {
	ServerKey []byte // content of server.key
	Authority []byte // the CA as the store has it
}

// HandOver trades a server token for the fabric's secrets. Errors are gRPC
// statuses.
func (a *Authority) HandOver(ctx context.Context, text string, c Caller) (Handover, error) {
	t, err := join.ParseToken(text)
	switch {
	case err != nil:
		return Handover{}, status.Error(codes.InvalidArgument, err.Error())
	case !a.roots().knows(t.CAHash):
		return Handover{}, status.Error(codes.PermissionDenied, "the token is of another fabric; take <data-dir>/server-token of a server of this one")
	case !t.ForServer():
		return Handover{}, status.Error(codes.PermissionDenied, "this is an agents' token; a server joins with a server token: <data-dir>/server-token of a server")
	}
	known, revision, err := read[token](ctx, a.store, serverTokenKey(t.ID))
	if err != nil {
		return Handover{}, status.Errorf(codes.Unavailable, "the store does not answer; try again, or another server: %v", err)
	}
	if revision == 0 || !known.opens(t.Secret) {
		return Handover{}, status.Error(codes.PermissionDenied, "the server token is not known; take <data-dir>/server-token of a server of this fabric")
	}
	if err := a.admitServer(ctx, c); err != nil {
		return Handover{}, err
	}
	key, err := os.ReadFile(filepath.Join(a.config.DataDir, serverKeyFile))
	if err != nil {
		return Handover{}, status.Errorf(codes.Internal, "this server cannot read its server.key: %v", err)
	}
	entry, err := a.store.Get(ctx, caKey)
	if err != nil {
		return Handover{}, status.Errorf(codes.Unavailable, "the store does not answer; try again, or another server: %v", err)
	}
	return Handover{ServerKey: key, Authority: entry.Value}, nil
}
