package uplink

import (
	"time"

	"github.com/weft-net/weft/proto/note"
)

// noteworthy is how much the clocks' distance changes before what waits for a time
// of day is looked at again.
const noteworthy = time.Minute

// now is the servers' time, as far as one of them has told it: they judge this
// node's certificate, so by it is said when to renew. Before the first word it is
// this machine's.
func (u *Uplink) now() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cfg.Now().Add(u.line.apart)
}

// tells notes how far apart a server's clock is; one of an earlier release does not
// say.
func (u *Uplink) tells(unixMilli int64) {
	if unixMilli == 0 {
		return
	}
	u.mu.Lock()
	was := u.line.apart
	u.line.apart = time.UnixMilli(unixMilli).Sub(u.cfg.Now())
	apart := u.line.apart
	u.mu.Unlock()
	if (apart - was).Abs() > noteworthy {
		u.cfg.Log.Warn("server's clock differs", note.Apart, apart.Round(time.Second))
		wake(u.renewed)
	}
}

// named notes what the server in use calls itself.
func (u *Uplink) named(server string) {
	if len(server) > maxServerName {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.line.name = server
}

// maxServerName is in bytes: a DNS name's (RFC 1035, section 2.3.4).
const maxServerName = 255
