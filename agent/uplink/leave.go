package uplink

import (
	"context"
	"time"

	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
)

// leaveWithin bounds the goodbye of an ephemeral node: who stops it waits.
const leaveWithin = 3 * time.Second

// leave tells a server that an ephemeral node goes for good. One that does not say
// so is deleted when it has stayed away.
func (u *Uplink) leave(ctx context.Context) {
	id := u.identity()
	if !id.ephemeral && !u.cfg.Ephemeral || u.cfg.Leave == nil || id.cert == nil || id.former != "" || !u.cfg.Leave() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	err := u.overGRPC(ctx, id.tls(u.now, false), func(ctx context.Context, cc *grpc.ClientConn) error {
		csr, err := id.request()
		if err == nil {
			_, err = weftv1.NewJoinClient(cc).Leave(ctx, &weftv1.LeaveRequest{Node: id.node, CertificateRequest: csr})
		}
		return err
	})
	if err != nil {
		u.cfg.Log.Warn("no goodbye said", note.Node, id.node, note.Err, err, note.Do, "nothing: the node is deleted when it has stayed away for an hour")
		return
	}
	// If it comes back it joins anew, and with a new key: this one is revoked.
	for _, name := range []string{certName, keyName, ephemeralName} {
		if err := u.dir.Remove(name); err != nil {
			u.cfg.Log.Warn("identity not removed", note.Path, u.dir.Path(name), note.Err, err)
		}
	}
	u.cfg.Log.Info("node left", note.Node, id.node)
}
