package server

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/members"
	"github.com/weft-net/weft/server/store/etcd"
)

// catchUp asks the other servers for the CA as it is now, while the embedded etcd
// starts: this server may have slept through a rotation, and the others take its
// certificate no more. etcd reads the certificate again for each connection. stop
// ends it, and waits for that.
func (s *site) catchUp(ctx context.Context) (stop func()) {
	token, err := join.LoadToken(filepath.Join(s.DataDir, "server-token"))
	if err != nil {
		return func() {} // without it nobody can be asked; who starts etcd says what is wrong
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	var mu sync.Mutex // of the files
	for _, other := range s.own.Servers {
		asking.Go(func() {
			j := members.Joining{
				Server: other, Token: token, Name: s.own.Name, Address: s.address, Mode: "embedded", Known: true,
				Version: note.Version, Now: time.Now, Log: s.Log,
			}
			answer, err := j.Ask(ctx)
			if err != nil {
				return // it may be down; etcd waits for others, and says so
			}
			mu.Lock()
			defer mu.Unlock()
			later, err := identity.Succeed(s.DataDir, answer.GetAuthority(), s.own.Name, s.names)
			switch {
			case err != nil:
				s.Log.Error("CA not taken over", note.Of, other, note.Err, err)
			case later:
				s.Log.Info("CA was taken over", note.Of, other, note.Why, "it was rotated while this server was off")
			}
		})
	}
	return func() { cancel(); asking.Wait() }
}

// believe has the embedded etcd begin again if the CA is another than it read as it
// began: it reads its roots at no other time, and would go by those from before a
// rotation until somebody restarts this server.
func (s *site) believe(ctx context.Context, opened *etcd.Store, config etcd.Config) (*etcd.Store, error) {
	if _, err := identity.SucceedFrom(ctx, opened, s.DataDir, s.own.Name, s.names); err != nil {
		s.Log.Warn("CA not compared with the store's", note.Err, err) // the next start does
	}
	roots, err := identity.PeerRoots(s.DataDir)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	if slices.Equal(roots, s.believes) {
		return opened, nil
	}
	s.Log.Info("embedded etcd begins again", note.Why, "the CA was rotated while this server was off")
	if err := opened.Close(); err != nil {
		return nil, err
	}
	s.believes = roots
	if opened, err = etcd.Open(ctx, config); err != nil {
		return nil, err
	}
	return opened, s.awaitVote(ctx, opened)
}
