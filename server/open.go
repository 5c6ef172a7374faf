package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/etcd"
)

// peerPort is where members of the embedded etcd reach each other.
const peerPort = "7445"

// site is this server before its store is open.
type site struct {
	Config
	own     members.Own
	names   []string // by which others dial it, the advertised first
	address string   // host:port of the TLS port, as advertised

	believes []string // roots that the embedded etcd of several read, by hash
	journal  *journal.Journal
}

func newSite(c Config, tcp net.Listener) (*site, error) {
	s := &site{Config: c}
	var err error
	if s.own, err = members.LoadOwn(c.DataDir); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.recollect()
	if err := s.name(); err != nil {
		return nil, err
	}
	listening, ok := tcp.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("server: --listen: %v is no TCP address", tcp.Addr())
	}
	s.names = c.names(listening.AddrPort().Addr())
	s.address = net.JoinHostPort(s.names[0], fmt.Sprint(listening.Port))
	return s, s.fits()
}

// recollect makes up for a members.json that is gone: a member of several that
// began alone would wait for ever, and call its files damaged.
func (s *site) recollect() {
	if s.own.Mode != "" || len(s.Etcd.Endpoints) > 0 || !s.hasData() {
		return
	}
	if name, among := identity.PeerName(s.DataDir); among {
		s.own.Name, s.own.Mode, s.own.Joined = name, members.Clustered, s.Join.Server != ""
		s.Log.Warn("members.json made anew", note.Why, "it was not there, and the data folder is that of one server of several", note.Server, name)
	}
}

// name settles what this server is called: as it was, else as it is told.
func (s *site) name() error {
	switch {
	case s.own.Name == "":
		s.own.Name = cmp.Or(s.Name, hostName())
	case s.Name != "" && s.Name != s.own.Name:
		return fmt.Errorf("server: the data folder %s is server %s's, and --name says %s: a server keeps its name; to change it, remove it (weft server remove %s) and join anew with an empty folder",
			s.DataDir, s.own.Name, s.Name, s.own.Name)
	}
	return nil
}

// fits refuses flags that do not go with what the data folder holds.
func (s *site) fits() error {
	switch external := len(s.Etcd.Endpoints) > 0; {
	case s.ClusterInit && s.own.Joined:
		return fmt.Errorf("server: --cluster-init begins a cluster, and this server joined one as %s: leave the flag away; to make it a cluster of its own, see --cluster-reset", s.own.Name)
	case external && s.own.Mode != "" && s.own.Mode != members.Elsewhere && s.hasData():
		return fmt.Errorf("server: %s holds an embedded etcd, and --etcd-endpoints names one elsewhere: they are two fabrics; move data by weft backup, or give another --data-dir", s.DataDir)
	case !external && s.own.Mode == members.Elsewhere:
		return fmt.Errorf("server: %s belongs to a server on an etcd elsewhere, and --etcd-endpoints is not given; give it as before, or another --data-dir", s.DataDir)
	case s.Join.Server == "":
		return nil
	case s.Join.Server == s.address || s.isSelf(s.Join.Server):
		return fmt.Errorf("server: --server %s is this server itself: name another one, or start a fabric without --server", s.Join.Server)
	}
	return s.sameFabric()
}

func (s *site) isSelf(address string) bool {
	host, port, err := net.SplitHostPort(address)
	_, own, _ := net.SplitHostPort(s.address)
	return err == nil && port == own && slices.Contains(s.names, host)
}

// sameFabric refuses a token of another fabric than the data folder's.
func (s *site) sameFabric() error {
	if s.Join.Token.CAHash == "" {
		return nil
	}
	for _, name := range []string{"server-token", "agent-token"} {
		path := filepath.Join(s.DataDir, name)
		held, err := join.LoadToken(path)
		if err == nil && held.CAHash != s.Join.Token.CAHash {
			return fmt.Errorf("server: the data folder %s is of fabric %.16s, and the token of fabric %.16s: to leave the first for the second, stop its agents' use of this server and give an empty --data-dir",
				s.DataDir, held.CAHash, s.Join.Token.CAHash)
		}
	}
	return nil
}

// hasData says whether an embedded etcd has begun here.
func (s *site) hasData() bool {
	logs, err := filepath.Glob(filepath.Join(s.DataDir, "etcd", "member", "wal", "*.wal"))
	return err == nil && len(logs) > 0
}

// etcdConfig is the store without others.
func (s *site) etcdConfig() etcd.Config {
	return etcd.Config{
		DataDir: s.DataDir, Endpoints: s.Etcd.Endpoints, CAFile: s.Etcd.CAFile, CertFile: s.Etcd.CertFile,
		KeyFile: s.Etcd.KeyFile, User: s.Etcd.User, Password: s.Etcd.Password, Log: s.Log,
	}
}

// open opens the store: it joins others first if it must, and makes a lone server
// the first of several if it is told.
func (s *site) open(ctx context.Context) (*etcd.Store, error) {
	if err := s.noneLost(); err != nil {
		return nil, err
	}
	config := s.etcdConfig()
	joining := s.Join.Server != "" && !s.hasData()
	if len(config.Endpoints) > 0 {
		if joining {
			if err := s.takeKey(ctx); err != nil {
				return nil, err
			}
		}
		s.own.Mode = members.Elsewhere
		return etcd.Open(ctx, config)
	}
	switch {
	case joining:
		return s.enter(ctx, config)
	case s.own.Mode == members.Clustered:
		return s.again(ctx, config)
	case s.ClusterInit:
		return s.init(ctx, config)
	}
	s.own.Mode = members.Alone
	return etcd.Open(ctx, config)
}

// joining is this server as it asks another to take it in.
func (s *site) joining(mode string) (members.Joining, error) {
	j := members.Joining{
		Server: s.Join.Server, Token: s.Join.Token, Name: s.own.Name, Address: s.address, Mode: mode,
		Version: note.Version, Now: time.Now, Log: s.Log,
	}
	if j.Token.CAHash == "" {
		return j, errors.New("server: --server needs the server token of that fabric: --token-file FILE, a copy of <data-dir>/server-token of a server")
	}
	return j, members.CheckToken(j.Token)
}

// ask asks, and compares this server's flags with what the fabric runs with.
func (s *site) ask(ctx context.Context, j members.Joining) (key, authority []byte, err error) {
	r, err := j.Ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	var stored kind.ClusterConfigSpec
	if _, err := kind.Decode(r.GetClusterConfig(), &stored); err != nil {
		return nil, nil, fmt.Errorf("server: ClusterConfig of server %s: %w; it may be of a newer release (%s)", r.GetServer(), err, r.GetVersion())
	}
	sown, err := decodeSeed(r.GetSeed())
	if err == nil {
		_, err = compare(stored.WithDefaults(), sown, s.Seed)
	}
	if err != nil {
		return nil, nil, err
	}
	s.Log.Info("server taken in", note.Fabric, r.GetFabric(), note.Server, r.GetServer(), note.Conn, j.Server)
	return r.GetServerKey(), r.GetAuthority(), nil
}

// takeKey fetches server.key for a further server on an etcd elsewhere.
func (s *site) takeKey(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.DataDir, "server.key")); err == nil {
		return nil
	}
	j, err := s.joining("external")
	if err != nil {
		return err
	}
	key, authority, err := s.ask(ctx, j)
	if err != nil {
		return err
	}
	s.own.Joined = true
	return errors.Join(identity.Receive(s.DataDir, key, authority, s.own.Name, s.names), s.keepToken())
}

// keepToken leaves the server token where the first server has it.
func (s *site) keepToken() error {
	path := filepath.Join(s.DataDir, "server-token")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return s.Join.Token.Save(path)
}

// peer is how this server's etcd reaches the others.
func (s *site) peer() *etcd.Peer {
	listen := s.PeerListen
	if listen == "" {
		host, _, _ := net.SplitHostPort(s.Listen)
		listen = net.JoinHostPort(host, peerPort)
	}
	_, port, _ := net.SplitHostPort(listen)
	files := identity.PeerPaths(s.DataDir)
	return &etcd.Peer{
		Name: s.own.Name, Listen: listen, Advertise: "https://" + net.JoinHostPort(s.names[0], port),
		CAFile: files.CA, CertFile: files.Cert, KeyFile: files.Key, ServerName: identity.ServerName,
	}
}

// enter makes this server a member of another's etcd.
func (s *site) enter(ctx context.Context, config etcd.Config) (*etcd.Store, error) {
	j, err := s.joining("embedded")
	if err != nil {
		return nil, err
	}
	key, authority, err := s.ask(ctx, j)
	if err != nil {
		return nil, err
	}
	if err := identity.Receive(s.DataDir, key, authority, s.own.Name, s.names); err != nil {
		return nil, err
	}
	tls, err := identity.PeerTLS(s.DataDir)
	if err != nil {
		return nil, err
	}
	config.Peer = s.peer()
	if config.Peer.Join, err = j.Enter(ctx, tls, config.Peer.Advertise); err != nil {
		return nil, err
	}
	if s.believes, err = identity.PeerRoots(s.DataDir); err != nil {
		return nil, err
	}
	s.own.Joined, s.own.Mode, s.own.At = true, members.Clustered, strings.TrimPrefix(config.Peer.Advertise, "https://")
	if err := errors.Join(s.keepToken(), s.own.Save(s.DataDir)); err != nil {
		return nil, err
	}
	opened, err := etcd.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	return opened, s.awaitVote(ctx, opened)
}

// voteEvery is how often a learner looks whether it has its vote.
const voteEvery = 100 * time.Millisecond

// awaitVote returns when this member is a full one. It closes the store if it
// will never be.
func (s *site) awaitVote(ctx context.Context, opened *etcd.Store) error {
	told := time.Now()
	failed := opened.Failed()
	for {
		all, err := opened.Members(ctx)
		if err != nil {
			return errors.Join(err, opened.Close())
		}
		if slices.ContainsFunc(all, func(m store.Member) bool { return m.Self && !m.Learner }) {
			return nil
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			s.Log.Warn("waiting for a vote in etcd", note.Do, "the leader gives it once this server has caught up (weft server list)")
		}
		select {
		case err := <-failed:
			return errors.Join(err, opened.Close())
		case <-time.After(voteEvery):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), opened.Close())
		}
	}
}

// noTwin refuses a copy of a data folder whose server still runs where it was: two
// that are one member of etcd would both have its vote.
func (s *site) noTwin(ctx context.Context) error {
	at := strings.TrimPrefix(s.peer().Advertise, "https://")
	if s.own.At == "" || s.own.At == at {
		return nil
	}
	config, err := identity.PeerTLS(s.DataDir)
	if err != nil {
		return err
	}
	if !members.IsThere(ctx, s.own.Name, s.own.At, config) {
		return nil // it moved
	}
	return fmt.Errorf("server: %s is a copy of the data folder of server %s, which runs at %s: to make this machine another server, start it with an empty --data-dir, --server and --token-file; to move server %s here, stop it there first; nothing was changed",
		s.DataDir, s.own.Name, s.own.At, s.own.Name)
}

// again starts a member that is one of several.
func (s *site) again(ctx context.Context, config etcd.Config) (*etcd.Store, error) {
	if err := identity.RenewPeer(s.DataDir, s.own.Name, s.names); err != nil {
		return nil, err
	}
	if err := s.noTwin(ctx); err != nil {
		return nil, err
	}
	var err error
	if s.believes, err = identity.PeerRoots(s.DataDir); err != nil {
		return nil, err
	}
	config.Peer = s.peer()
	s.own.At = strings.TrimPrefix(config.Peer.Advertise, "https://")
	stop := s.catchUp(ctx)
	opened, err := etcd.Open(ctx, config)
	stop()
	if err != nil {
		return nil, err
	}
	if err := s.awaitVote(ctx, opened); err != nil {
		return nil, err
	}
	if opened, err = s.believe(ctx, opened, config); err != nil {
		return nil, err
	}
	return opened, s.move(ctx, opened, config.Peer.Advertise)
}

// move tells the others where this member is now. Without a quorum it is tried at
// the next start: they find this one as long as it dials them.
func (s *site) move(ctx context.Context, opened *etcd.Store, url string) error {
	all, err := opened.Members(ctx)
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	for _, m := range all {
		if m.Self && !slices.Equal(m.PeerURLs, []string{url}) {
			s.Log.Info("member moved", note.Addr, url, note.Of, strings.Join(m.PeerURLs, ","))
			if err := opened.MovePeer(ctx, url); err != nil {
				s.Log.Warn("member not moved", note.Addr, url, note.Err, err)
			}
		}
	}
	return nil
}

// init makes a lone server, new or old, the first of several: what secures the
// others' way to it comes from its own store, which is opened alone for that.
func (s *site) init(ctx context.Context, config etcd.Config) (*etcd.Store, error) {
	alone, err := etcd.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	_, err = found(ctx, alone, s.Config)
	if err == nil {
		err = s.sow(ctx, alone)
	}
	if err == nil {
		err = identity.Found(ctx, alone, s.DataDir, s.own.Name, s.names)
	}
	if err == nil {
		err = alone.MovePeer(ctx, s.peer().Advertise)
	}
	if err = errors.Join(err, alone.Close()); err != nil {
		return nil, err
	}
	s.own.Mode = members.Clustered
	if err := s.own.Save(s.DataDir); err != nil {
		return nil, err
	}
	return s.again(ctx, config)
}
