package members

import (
	"context"
	"fmt"
	"math"
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

// FreeApart is FreeBytes of a folder on another disk than data's; on the same one
// there is nothing to say of it apart.
func FreeApart(data, folder string) (uint64, error) {
	var one, other unix.Stat_t
	if err := unix.Stat(data, &one); err != nil {
		return 0, fmt.Errorf("members: %s: %w", data, err)
	}
	if err := unix.Stat(folder, &other); err != nil {
		return 0, fmt.Errorf("members: %s: %w", folder, err)
	}
	if one.Dev == other.Dev {
		return math.MaxUint64, nil
	}
	return FreeBytes(folder)
}

// watchDisks keeps what is known of this server's disks, until ctx ends.
func (r *Room) watchDisks(ctx context.Context) error {
	for {
		news := false
		for _, d := range []struct {
			free func() (uint64, error)
			low  *bool
		}{{r.cfg.Free, &r.low.data}, {r.cfg.FreeBackups, &r.low.backups}} {
			if d.free == nil {
				continue
			}
			if free, err := d.free(); err == nil {
				news = r.setLow(d.low, free) || news
			}
		}
		if news {
			r.moved()
		}
		if !pause(ctx, diskEvery) {
			return nil
		}
	}
}

// low says which of our disks are nearly full.
type low struct{ data, backups bool }

// setLow returns whether it is news.
func (r *Room) setLow(low *bool, free uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := *low
	*low = free < lowDisk || was && free < roomAgain
	return *low != was
}

// trace is what stays of this server.
func (r *Room) trace() trace {
	t := r.cfg.Server.trace()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.LowDisk, t.LowBackups = r.low.data, r.low.backups
	return t
}

func lowDiskProblem(s Status) Problem {
	return Problem{
		Subject: "server " + s.Name + " disk",
		Cause:   fmt.Sprintf("the disk of server %s%s is nearly full: less than %d MiB are free below its --data-dir", s.Name, at(s.Address), lowDisk>>20),
		Remedy:  "make room there: without any its etcd ends, loses nothing, and comes back by itself once there is room; the other servers go on",
	}
}

func lowBackupsProblem(s Status) Problem {
	return Problem{
		Subject: "server " + s.Name + " backups",
		Cause:   fmt.Sprintf("the disk of server %s%s is nearly full: less than %d MiB are free below its --backup-dir", s.Name, at(s.Address), lowDisk>>20),
		Remedy:  "make room there before the next backup does not fit, or give another --backup-dir",
	}
}
