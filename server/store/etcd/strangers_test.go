package etcd

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// A watch that somebody holds ends because the store is closed, and not because
// etcd has waited for it long enough.
func TestCloseSendsStrangersAway(t *testing.T) {
	dir, ended := t.TempDir(), make(chan error, 1)
	s, err := open(t.Context(), Config{DataDir: dir}, func(c *embed.Config) {
		c.GRPCAdditionalServerOptions = append(c.GRPCAdditionalServerOptions, grpc.ChainStreamInterceptor(
			func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
				err := handler(server, stream)
				ended <- context.Cause(stream.Context())
				return err
			}))
	})
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + filepath.Join(dir, "etcd", "client.sock")}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if r := <-stranger.Watch(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithCreatedNotify()); !r.Created {
		t.Fatalf("no watch: %v", r.Err())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if why := <-ended; !errors.Is(why, errClosing) {
		t.Errorf("the watch ended by %v", why)
	}
}
