package members

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A server whose disk is full cannot say so any more: its etcd ends. It says so
// before, and the others keep the word when it is gone.
const (
	lowDisk   = 128 << 20 // bytes: two segments of etcd's log, which it reserves in one piece
	roomAgain = 192 << 20 // bytes: so that the word does not come and go
	diskEvery = 5 * time.Second
)

// FreeBytes is how much room there is for us on the disk of a folder.
func FreeBytes(folder string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, fmt.Errorf("members: room on the disk of %s: %w", folder, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// watchDisk keeps what is known of this server's disk, until ctx ends.
func (r *Room) watchDisk(ctx context.Context) error {
	if r.cfg.Free == nil {
		return nil
	}
	for {
		if free, err := r.cfg.Free(); err == nil && r.setLow(free) {
			r.moved()
		}
		if !pause(ctx, diskEvery) {
			return nil
		}
	}
}

// setLow returns whether it is news.
func (r *Room) setLow(free uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.low
	r.low = free < lowDisk || was && free < roomAgain
	return r.low != was
}

// trace is what stays of this server.
func (r *Room) trace() trace {
	t := r.cfg.Server.trace()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.LowDisk = r.low
	return t
}

func lowDiskProblem(s Status) Problem {
	return Problem{
		Subject: "server " + s.Name + " disk",
		Cause:   fmt.Sprintf("the disk of server %s%s is nearly full: less than %d MiB are free below its --data-dir", s.Name, at(s.Address), lowDisk>>20),
		Remedy:  "make room there: without any its etcd ends, loses nothing, and comes back by itself once there is room; the other servers go on",
	}
}
