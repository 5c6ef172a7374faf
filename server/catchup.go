package server

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/members"
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
