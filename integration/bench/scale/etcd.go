package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// serveEtcd is an etcd as a process of its own, with its client on a socket, until
// standard input ends. Its settings are those of weft's embedded one.
func serveEtcd(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want: etcd FOLDER")
	}
	c := embed.NewConfig()
	c.Dir = filepath.Join(args[0], "data")
	client, peer := url.URL{Scheme: "unix", Path: filepath.Join(args[0], "client.sock")}, url.URL{Scheme: "unix", Path: filepath.Join(args[0], "peer.sock")}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs = 20, 200
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	<-e.Server.ReadyNotify()
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// load is what etcd was asked to write below weft's prefix.
type load struct {
	puts, txns, bytes int64
}

func (l load) minus(m load) load { return load{l.puts - m.puts, l.txns - m.txns, l.bytes - m.bytes} }

// meter counts what is written, by one watch.
type meter struct {
	client            *clientv3.Client
	stop              context.CancelFunc
	puts, txns, bytes atomic.Int64
}

func newMeter(ctx context.Context, socket string) (*meter, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + socket}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(), MaxCallRecvMsgSize: 1 << 30})
	if err != nil {
		return nil, err
	}
	m := &meter{client: c}
	ctx, m.stop = context.WithCancel(ctx)
	go func() {
		for ctx.Err() == nil {
			var last int64
			for r := range c.Watch(ctx, "/weft/v1/", clientv3.WithPrefix(), clientv3.WithFragment()) {
				for _, e := range r.Events {
					m.puts.Add(1)
					m.bytes.Add(int64(len(e.Kv.Key) + len(e.Kv.Value)))
					if e.Kv.ModRevision != last {
						last = e.Kv.ModRevision
						m.txns.Add(1)
					}
				}
			}
		}
	}()
	return m, nil
}

func (m *meter) read() load { return load{m.puts.Load(), m.txns.Load(), m.bytes.Load()} }

// close waits a moment and no longer: etcd's client can lose count of its watches
// when their server was restarted, and its Close then waits for ever.
func (m *meter) close() {
	m.stop()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = m.client.Close()
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}
