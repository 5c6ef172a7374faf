package etcd

import (
	"context"
	"log/slog"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// Config says which etcd to use. Without Endpoints it is one in this process.
type Config struct {
	DataDir string // of the server; an embedded etcd lives in its folder "etcd"

	Endpoints []string    // https://host:port, http://host:port or unix:///path
	CAFile    string      // trusts this CA instead of the system's
	CertFile  string      // with KeyFile: a client certificate
	KeyFile   string      //
	User      string      // with Password: etcd's own authentication
	Password  note.Secret //

	// Peer makes the embedded member one of several, or ready to be. Without it
	// the member is alone and nobody can reach it.
	Peer *Peer

	Timeout time.Duration // of one request; default 5 s
	Log     *slog.Logger  // default: silence
}

// Defaults and settings of an embedded server.
const (
	defaultTimeout = 5 * time.Second
	startTimeout   = 60 * time.Second // a large history is read from a slow disk
	readyTimeout   = 10 * time.Second // from then on, it has one entry to write
	closeTimeout   = 10 * time.Second

	surrenderedTimeout = time.Second // one that gave up may wait for a part of it that is no more
	quotaBytes         = 2 << 30
	defragMegabytes    = 100 // free space that is given back at start
	compactRetention   = "1h"
	// A lone member waits for an election timeout when it starts, and there is no
	// network between members: a fifth of etcd's defaults, which several have.
	tickMillis         = 20
	electionMillis     = 200
	peerTickMillis     = 100
	peerElectionMillis = 1000

	progressInterval = 5 * time.Second // how far a quiet watch lags behind at most
)

// Peer is how an embedded member reaches the others, and is reached. Its files are
// read again when they change, but for CAFile.
type Peer struct {
	Name      string // of this member, and its server
	Listen    string // host:port
	Advertise string // https://host:port, as the others dial it

	CAFile, CertFile, KeyFile string // of mutual TLS
	// ServerName is a name that the certificate of every server holds and no other
	// certificate of that CA: it keeps nodes from playing members.
	ServerName string

	// Join lists the members of the cluster to join, this one among them; for a
	// folder that is empty.
	Join []store.Member
}

// Open embeds or dials, as the configuration says.
func Open(ctx context.Context, c Config) (*Store, error) {
	if len(c.Endpoints) > 0 {
		return Dial(ctx, c)
	}
	return Embed(ctx, c)
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
