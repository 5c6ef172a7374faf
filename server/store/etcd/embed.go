package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/proto/disk"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"google.golang.org/grpc"
)

// maxSocketPath is the room for a path in sockaddr_un, without its final zero
// (unix(7)).
const maxSocketPath = 107

// server is an etcd in this process.
type server struct {
	etcd      *embed.Etcd
	lock      io.Closer
	closing   *atomic.Bool
	failed    *surrender
	log       *slog.Logger
	peers     bool // it may have to wait for others
	strangers strangers
}

// Embed starts etcd below <DataDir>/etcd and returns when it takes requests.
func Embed(ctx context.Context, c Config) (*Store, error) {
	return open(ctx, c, func(*embed.Config) {})
}

// open is Embed, with settings of its own.
func open(ctx context.Context, c Config, change func(*embed.Config)) (*Store, error) {
	c = c.withDefaults()
	dir := filepath.Join(c.DataDir, "etcd")
	// etcd itself would wait for ever for another one to let go of its database.
	lock, err := disk.Hold(dir, "weft-server")
	if err != nil {
		return nil, err
	}
	s := &server{lock: lock, closing: &atomic.Bool{}, failed: newSurrender(dir), log: c.Log, peers: c.Peer != nil}
	config, err := s.settings(dir, c)
	if err == nil {
		err = inspect(dir)
	}
	if err == nil {
		change(config)
		err = s.start(ctx, config)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("etcd: start in %s: %w", dir, err)
	}
	opened := &Store{config: c, client: v3client.New(s.etcd.Server), server: s}
	if err := opened.forgetElections(ctx); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

// settings are those of production. Nobody reaches the peer socket; it is there
// because etcd must have one.
func (s *server) settings(dir string, c Config) (*embed.Config, error) {
	client, err := socket(dir, "client.sock")
	if err != nil {
		return nil, err
	}
	peer, err := socket(dir, "peer.sock")
	if err != nil {
		return nil, err
	}
	config := embed.NewConfig()
	config.Name = "weft"
	config.Dir = dir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.EnableGRPCGateway = false
	config.AuthToken = "" // no users: whoever enters the folder is root
	config.TickMs, config.ElectionMs = tickMillis, electionMillis
	config.AutoCompactionMode = embed.CompactorModePeriodic
	config.AutoCompactionRetention = compactRetention
	config.QuotaBackendBytes = quotaBytes
	config.BootstrapDefragThresholdMegabytes = defragMegabytes
	config.MaxTxnOps = store.MaxOps
	config.MaxRequestBytes = embed.DefaultMaxRequestBytes
	config.WatchProgressNotifyInterval = progressInterval
	config.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(s.strangers.Stream)}
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(c.Log, s.closing, s.failed))
	if c.Peer != nil {
		return config, c.Peer.among(config)
	}
	return config, nil
}

func socket(dir, name string) (url.URL, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return url.URL{}, err
	}
	if len(path) > maxSocketPath {
		return url.URL{}, fmt.Errorf("the path of its socket, %s, has %d bytes, and the kernel takes %d; choose a shorter --data-dir", path, len(path), maxSocketPath)
	}
	return url.URL{Scheme: "unix", Path: path}, nil
}

// start returns when etcd is ready. It runs in a goroutine of its own, which ends
// where etcd gives up.
func (s *server) start(ctx context.Context, config *embed.Config) error {
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				s.failed.tell(gaveUp(config.Dir, fmt.Errorf("its write-ahead log or snapshot makes no sense (%v)", p)))
			}
		}()
		e, err := embed.StartEtcd(config)
		started <- result{e, err}
	}()
	var ready, stopped <-chan struct{}
	var failed <-chan error
	for {
		select {
		case r := <-started:
			if r.err != nil {
				return r.err
			}
			s.etcd = r.etcd
			late.Reset(readyTimeout)
			ready, stopped, failed = s.etcd.Server.ReadyNotify(), s.etcd.Server.StopNotify(), s.etcd.Err()
		case <-stopped:
			return s.whyStopped(config.Dir)
		case <-ready:
			return nil
		case err := <-failed:
			return s.because(config.Dir, err)
		case err := <-s.failed.said:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			if s.peers && s.etcd != nil { // files are read; what is missing is others
				s.log.Warn("waiting for a quorum of servers", note.Of, len(s.etcd.Server.Cluster().Members()), note.Do, s.failed.whileWaiting())
				late.Reset(readyTimeout)
				continue
			}
			return gaveUp(config.Dir, s.lateness())
		}
	}
}

// ErrRemoved says that the other servers took this one out.
var ErrRemoved = errors.New("this server was removed from its fabric")

// because is why etcd failed: that its listeners end says nothing where all of it
// does.
func (s *server) because(dir string, err error) error {
	select {
	case <-s.etcd.Server.StoppingNotify():
		if s.peers && !s.closing.Load() {
			return s.whyStopped(dir)
		}
	default:
	}
	return err
}

// whyStopped is why etcd ended by itself. The one reason that it has, but for
// those that surrender tells, is that the others removed this member.
func (s *server) whyStopped(dir string) error {
	if s.failed.gave.Load() || !s.peers {
		return errors.New("it stopped by itself; its log says why")
	}
	return fmt.Errorf("%w (weft server remove); to let it join again, move %s away and start it with --server https://ANOTHER:7443 --token-file FILE, a copy of that server's <data-dir>/server-token",
		ErrRemoved, dir)
}

// lateness is why etcd is not ready in time. One that has opened its files answers
// at once, unless its log ends before its database does: it then waits for ever
// for what it wrote to come out of the log.
func (s *server) lateness() error {
	if s.etcd == nil {
		return fmt.Errorf("its files were not read within %v", startTimeout)
	}
	return fmt.Errorf("not ready %v after its files were read: the write-ahead log has lost its end, or the disk is very slow", readyTimeout)
}

// close stops etcd, and returns after closeTimeout at the latest.
func (s *server) close() error {
	s.closing.Store(true)
	s.strangers.sendAway()
	if s.etcd == nil {
		return s.lock.Close()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.etcd.Close()
	}()
	select {
	case <-done:
		return s.lock.Close()
	case <-time.After(s.patience()):
		if s.failed.gave.Load() {
			return nil // what it left behind waits for what has ended
		}
		return fmt.Errorf("etcd: not stopped after %v; it goes on until this process ends", closeTimeout)
	}
}

// patience is how long etcd may take to stop.
func (s *server) patience() time.Duration {
	if s.failed.gave.Load() {
		return surrenderedTimeout
	}
	return closeTimeout
}

// Failed delivers the error of an embedded etcd that gave up while it ran. For
// one elsewhere it never delivers. It is asked for once.
func (s *Store) Failed() <-chan error {
	if s.server == nil {
		return nil
	}
	go func() {
		for err := range s.server.etcd.Err() { // closed with it
			s.server.failed.tell(s.server.because(filepath.Join(s.config.DataDir, "etcd"), err))
		}
	}()
	go func() {
		<-s.server.etcd.Server.StopNotify()
		if !s.server.closing.Load() {
			s.server.failed.tell(s.server.whyStopped(filepath.Join(s.config.DataDir, "etcd")))
		}
	}()
	return s.server.failed.said
}

// Close ends all requests and watches, and an embedded etcd.
func (s *Store) Close() error {
	if s.server != nil {
		s.server.closing.Store(true)
	}
	err := s.client.Close()
	if errors.Is(err, context.Canceled) { // what the client always answers
		err = nil
	}
	if s.server == nil {
		return err
	}
	return errors.Join(err, s.server.close())
}
