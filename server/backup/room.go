package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/store"
)

// stateKey holds what every server's status says of backups.
const stateKey = store.Fabric + "backup"

// Times of the schedule.
const (
	saveLimit  = 5 * time.Minute
	retryAfter = 5 * time.Minute  // after a backup that failed; less with a short interval
	lookAgain  = 20 * time.Second // a clock may be set, another server may have made one, or be removed
)

// Config is what a Room works with.
type Config struct {
	Store    Store
	Folder   Folder
	Interval time.Duration // of the schedule; 0: none
	Keep     int           // scheduled backups
	Server   string        // name of this one
	Version  string        // release
	Peers    Peers         // nil: there are no other servers
	Now      func() time.Time
	Log      *slog.Logger
	// Note is told of backups that were made, or not, and of restores that begin; it
	// must not block. Nil: nobody is.
	Note func(journal.Event)
}

// Room makes backups and restores them. It is safe for concurrent use.
type Room struct {
	Config
	saving sync.Mutex // one at a time: they need room on the disk
}

// New returns a Room.
func New(c Config) *Room {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Room{Config: c}
}

// State is how backups stand, the same on all servers.
type State struct {
	Schema   int           `json:"schema"`
	Last     *Made         `json:"last,omitempty"` // youngest
	Interval time.Duration `json:"interval"`       // of the schedule; 0: none
	Keep     int           `json:"keep"`
	Failure  *Failure      `json:"failure,omitempty"` // since the last that was made
	Gone     *Made         `json:"gone,omitempty"`    // the last that there was, when no server has one any more
}

// Made is one backup.
type Made struct {
	Server   string `json:"server"` // that has it
	Name     string `json:"name"`
	TimeUnix int64  `json:"timeUnix"` // seconds since 1970
}

// Failure is why there is no newer backup.
type Failure struct {
	Server    string `json:"server"`
	Cause     string `json:"cause"`
	SinceUnix int64  `json:"sinceUnix"` // seconds since 1970
}

const stateSchema = 1

// State reads how backups stand.
func (r *Room) State(ctx context.Context) (State, error) {
	s, _, err := r.state(ctx)
	return s, err
}

func (r *Room) state(ctx context.Context) (State, int64, error) {
	s := State{Schema: stateSchema, Interval: r.Interval, Keep: r.Keep}
	e, err := r.Store.Get(ctx, stateKey)
	if errors.Is(err, store.ErrNotFound) {
		return s, 0, nil
	}
	if err != nil {
		return s, 0, fmt.Errorf("backup: %w", err)
	}
	if err := json.Unmarshal(e.Value, &s); err != nil {
		return State{Schema: stateSchema, Interval: r.Interval, Keep: r.Keep}, e.Revision, nil // the next backup mends it
	}
	return s, e.Revision, nil
}

// change brings the state up to date. What is lost to a race is made good by the
// next backup.
func (r *Room) change(ctx context.Context, f func(*State)) {
	s, revision, err := r.state(ctx)
	if err == nil {
		s.Schema, s.Interval, s.Keep = stateSchema, r.Interval, r.Keep
		f(&s)
		var b []byte
		if b, err = json.Marshal(s); err == nil {
			_, err = r.Store.Commit(ctx, store.Txn{
				If:   []store.Cond{{Key: stateKey, Revision: revision}, {Key: store.Restore}},
				Then: []store.Write{{Key: stateKey, Value: b}},
			})
		}
	}
	if err != nil && !errors.Is(err, store.ErrConflict) {
		r.Log.Warn("state of backups not written", note.Err, err)
	}
}

// Save makes a backup now. That it failed stands in status until one is made.
func (r *Room) Save(ctx context.Context, why string) (File, error) {
	f, _, err := r.save(ctx, why)
	if err != nil && ctx.Err() == nil {
		r.failed(ctx, err)
	}
	if err == nil {
		r.note(journal.Event{Object: "Server/" + r.Server, Reason: "BackupSaved", Message: fmt.Sprintf("%s, of revision %d", f.Name, f.Header.Revision)})
	}
	return f, err
}

func (r *Room) note(e journal.Event) {
	if r.Note != nil {
		r.Note(e)
	}
}

func (r *Room) save(ctx context.Context, why string) (File, string, error) {
	r.saving.Lock()
	defer r.saving.Unlock()
	ctx, cancel := context.WithTimeout(ctx, saveLimit)
	defer cancel()
	now := r.Now()
	f, sum, err := r.Folder.Save(ctx, r.Store, why, Header{Version: r.Version, Server: r.Server, Time: now.UTC().Truncate(time.Second)})
	if err != nil {
		return File{}, "", err
	}
	r.Log.Info("backup was saved", note.Path, f.Name, note.Rev, f.Header.Revision, note.Took, r.Now().Sub(now))
	r.change(ctx, func(s *State) {
		s.Last = &Made{Server: r.Server, Name: f.Name, TimeUnix: now.Unix()}
		s.Failure, s.Gone = nil, nil
	})
	return f, sum, nil
}

// failed records why there is no newer backup.
func (r *Room) failed(ctx context.Context, err error) {
	r.note(journal.Event{Kind: journal.Warning, Object: "Server/" + r.Server, Reason: "BackupFailed", Message: strings.TrimPrefix(err.Error(), "backup: ")})
	r.change(ctx, func(s *State) {
		since := r.Now().Unix()
		if s.Failure != nil && s.Failure.Server == r.Server {
			since = s.Failure.SinceUnix
		}
		s.Failure = &Failure{Server: r.Server, Cause: err.Error(), SinceUnix: since}
	})
}

// Run makes backups on schedule until ctx ends. One server of a fabric runs it;
// when the last was made is known from the folder and from the store, so that it
// survives a restart and another server's turn.
func (r *Room) Run(ctx context.Context) error {
	if r.Interval <= 0 {
		<-ctx.Done()
		return nil
	}
	for wait := r.due(ctx); ; {
		t := time.NewTimer(min(wait, lookAgain))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		if wait = r.due(ctx); wait > 0 {
			continue
		}
		if err := r.scheduled(ctx); err != nil && ctx.Err() == nil {
			wait = min(retryAfter, r.Interval)
			r.Log.Error("backup was not saved", note.Err, err, note.Retry, wait)
			t.Reset(wait)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
		}
	}
}

// due is how long until the next backup on schedule. One that seems to be of
// tomorrow was made by a clock that was set back since: then it is time.
func (r *Room) due(ctx context.Context) time.Duration {
	r.reconcile(ctx)
	var last time.Time
	files, err := r.Folder.List()
	if err != nil {
		r.Log.Warn("backups not listed", note.Err, err)
	}
	for _, f := range files {
		if f.Err == nil && f.Why == Scheduled && f.Header.Time.After(last) {
			last = f.Header.Time
		}
	}
	if s, err := r.State(ctx); err == nil && s.Last != nil && time.Unix(s.Last.TimeUnix, 0).After(last) {
		last = time.Unix(s.Last.TimeUnix, 0)
	}
	since := r.Now().Sub(last)
	if since < 0 {
		return 0
	}
	return r.Interval - since
}

func (r *Room) scheduled(ctx context.Context) error {
	if _, err := r.Save(ctx, Scheduled); err != nil {
		return err
	}
	err := r.Folder.Prune(Scheduled, r.Keep)
	if err != nil && ctx.Err() == nil {
		r.failed(ctx, err)
	}
	return err
}
