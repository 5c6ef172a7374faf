package backup

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/journal"
	"github.com/weft-net/weft/server/store"
)

// Marker stands at store.Restore while a restore is on its way.
type Marker struct {
	Schema      int    `json:"schema"`
	File        string `json:"file"`   // in the folder of Server
	Sum         string `json:"sha256"` // that names its contents
	Server      string `json:"server"`
	Aside       string `json:"aside"`          // backup of what was there, in the same folder
	Epoch       string `json:"epoch"`          // new
	From        uint64 `json:"from,omitempty"` // ordinal of the epoch that ends; 0: it is not known
	Ordinal     uint64 `json:"ordinal"`
	By          string `json:"by,omitempty"`    // operator
	Adopt       bool   `json:"adopt,omitempty"` // there is no file: agents are asked
	Lost        bool   `json:"lost,omitempty"`  // the store was never used: the one before is gone
	StartedUnix int64  `json:"startedUnix"`     // seconds since 1970

	revision int64
}

const markerSchema = 1

// Restored is what store.Restored holds of the last restore.
type Restored struct {
	Schema       int    `json:"schema"`
	TimeUnix     int64  `json:"timeUnix"` // seconds since 1970
	Ordinal      uint64 `json:"ordinal"`  // of the epoch that began
	File         string `json:"file"`
	Revision     int64  `json:"revision"`     // of the backup
	FileOrdinal  uint64 `json:"fileOrdinal"`  // of the backup's epoch
	FileTimeUnix int64  `json:"fileTimeUnix"` // of the backup
	By           string `json:"by,omitempty"` // operator
	Server       string `json:"server,omitempty"`
}

// Marked reads the marker. It answers false when nothing is being restored.
func Marked(ctx context.Context, s store.Store) (Marker, bool, error) {
	e, err := s.Get(ctx, store.Restore)
	if errors.Is(err, store.ErrNotFound) {
		return Marker{}, false, nil
	}
	if err != nil {
		return Marker{}, false, fmt.Errorf("backup: look for a restore: %w", err)
	}
	m := Marker{revision: e.Revision}
	if err := json.Unmarshal(e.Value, &m); err != nil || m.Schema > markerSchema || m.Epoch == "" {
		return m, true, fmt.Errorf("backup: %s cannot be read (%.80q): a later release is restoring; run that one to its end", store.Restore, e.Value)
	}
	return m, true, nil
}

// Begin saves what is in the store aside and marks the store: from now on nothing
// is served, and whoever decided in the old epoch can write no more. Finish does
// the rest. Of several that are asked for at once, on whichever servers, one begins;
// the others are refused (ErrUnderWay).
func (r *Room) Begin(ctx context.Context, file, by string) (Marker, error) {
	g, err := r.survey(ctx)
	if err != nil {
		return Marker{}, err
	}
	c, now, err := r.open(ctx, file)
	if err != nil {
		return Marker{}, err
	}
	aside, _, err := r.save(ctx, Aside)
	if errors.Is(err, errMoved) {
		return Marker{}, r.overtaken(ctx)
	}
	if err != nil {
		return Marker{}, fmt.Errorf("%w; nothing was restored", err)
	}
	m := Marker{
		Schema: markerSchema, File: file, Sum: c.sum, Server: r.Server, Aside: aside.Name,
		Epoch: NewEpoch(), From: now.Ordinal, Ordinal: max(now.Ordinal, c.Ordinal) + 1, By: by, StartedUnix: r.Now().Unix(),
	}
	if err := r.claim(ctx, g, &m); err != nil {
		return Marker{}, err
	}
	r.Log.Warn("restore began", note.Path, file, note.Epoch, m.Ordinal, note.Why, by)
	r.note(journal.Event{Kind: journal.Warning, Object: "Fabric", Reason: "RestoreBegan", Message: fmt.Sprintf("of %s on server %s; what was there is saved as %s", file, r.Server, m.Aside), Actor: by})
	return m, nil
}

// NewEpoch draws the id of an epoch: 128 random bits, hex.
func NewEpoch() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// open reads a file of the folder that may be restored into the store.
func (r *Room) open(ctx context.Context, file string) (contents, Fabric, error) {
	in, err := r.Folder.Open(file)
	if err != nil {
		return contents{}, Fabric{}, err
	}
	defer in.Close()
	c, err := read(in)
	if err != nil {
		return contents{}, Fabric{}, fmt.Errorf("backup: %s: %w; nothing was changed", file, err)
	}
	now, err := ReadFabric(ctx, r.Store)
	if err != nil {
		return contents{}, Fabric{}, err
	}
	if err := admit(now, c.Header); err != nil {
		return contents{}, Fabric{}, fmt.Errorf("backup: %s: %w; nothing was changed", file, err)
	}
	return c, now, nil
}

// Finish brings a marked store to its end: the differences that are left, then
// the new epoch. It may be called again after a crash anywhere. ErrElsewhere
// means that this server has not got the file.
func (r *Room) Finish(ctx context.Context, m Marker) error {
	file, err := r.find(m)
	if err != nil {
		return err
	}
	in, err := r.Folder.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	c, err := read(in)
	if err != nil {
		return fmt.Errorf("backup: %s: %w", file, err)
	}
	changes, err := r.changes(ctx, m, c)
	if err != nil {
		return fmt.Errorf("backup: restore %s: %w", file, err)
	}
	for _, txn := range transactions(changes, store.Cond{Key: store.Restore, Revision: m.revision}) {
		if _, err := r.Store.Commit(ctx, txn); err != nil {
			return fmt.Errorf("backup: restore %s: %w", file, err)
		}
	}
	txn, err := r.last(ctx, m, c)
	if err != nil {
		return err
	}
	if _, err := r.Store.Commit(ctx, txn); err != nil {
		return fmt.Errorf("backup: end of the restore of %s: %w", file, err)
	}
	r.Log.Warn("restore ended", note.Path, file, note.Epoch, m.Ordinal, note.Objects, len(changes))
	return errors.Join(r.Folder.Prune(Aside, asideKeep), r.Folder.Prune(Given, asideKeep))
}

// Event is what is told of a restore that has ended.
func (m Marker) Event() journal.Event {
	e := journal.Event{Kind: journal.Warning, Object: "Fabric", Reason: "Restored", Message: fmt.Sprintf("epoch %d began, of backup %s", m.Ordinal, m.File), Actor: m.By}
	switch {
	case m.Adopt:
		e.Reason, e.Message = "Adopted", fmt.Sprintf("epoch %d began, of what agents carry", m.Ordinal)
	case m.Lost:
		e.Message += ", in a new store"
	}
	return e
}

// changes are what is left to write of a restore.
func (r *Room) changes(ctx context.Context, m Marker, c contents) ([]Change, error) {
	if m.Lost {
		return compare(ctx, r.Store, c.values, stays)
	}
	return differences(ctx, r.Store, c)
}

// asideKeep is how many files stay of what restores replaced, and of what was
// sent for them.
const asideKeep = 5

// last is the transaction that ends a restore.
func (r *Room) last(ctx context.Context, m Marker, c contents) (store.Txn, error) {
	restored, err := json.Marshal(Restored{
		Schema: markerSchema, TimeUnix: r.Now().Unix(), Ordinal: m.Ordinal, File: m.File,
		Revision: c.Revision, FileOrdinal: c.Ordinal, FileTimeUnix: c.Time.Unix(),
		By: m.By, Server: m.Server,
	})
	if err != nil {
		return store.Txn{}, fmt.Errorf("backup: %w", err)
	}
	id := c.ID
	if e, err := r.Store.Get(ctx, keyID); err == nil {
		id = string(e.Value)
	} else if !errors.Is(err, store.ErrNotFound) {
		return store.Txn{}, fmt.Errorf("backup: %w", err)
	}
	txn := store.Txn{
		If:   []store.Cond{{Key: store.Restore, Revision: m.revision}},
		Then: append(Epoch(m.Epoch, m.Ordinal), store.Write{Key: store.Restore}, store.Write{Key: store.Restored, Value: restored}),
	}
	if id != "" {
		txn.Then = append(txn.Then, store.Write{Key: keyID, Value: []byte(id)})
	}
	epochs, err := r.epochs(ctx, m, c)
	if err != nil {
		return store.Txn{}, err
	}
	txn.Then = append(txn.Then, epochs)
	if m.Lost || m.Adopt {
		lost, err := r.lost(ctx, m, c)
		if err != nil {
			return store.Txn{}, err
		}
		txn.Then = append(txn.Then, lost)
	}
	direction, err := r.Store.Get(ctx, store.Direction)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Txn{}, fmt.Errorf("backup: %w", err)
	}
	txn.Then = append(txn.Then, Unsettled(r.Now(), cmp.Or(string(direction.Value), string(c.values[store.Direction])))...)
	return txn, nil
}

// Epoch is what names a new epoch.
func Epoch(id string, ordinal uint64) []store.Write {
	return []store.Write{
		{Key: keyEpoch, Value: []byte(id)},
		{Key: keyOrdinal, Value: strconv.AppendUint(nil, ordinal, 10)},
		{Key: store.Fence, Value: []byte(id)},
	}
}

// Unsettled says that leases younger than what is stored are to be learned, and
// that new ones are given from the other end of the ranges than in the epoch that
// is over.
func Unsettled(now time.Time, direction string) []store.Write {
	other := "down"
	if direction == "down" {
		other = "up"
	}
	return []store.Write{
		{Key: store.Settling, Value: strconv.AppendInt(nil, now.Unix(), 10)},
		{Key: store.Direction, Value: []byte(other)},
	}
}

// ErrElsewhere is what Finish answers on a server without the file.
var ErrElsewhere = errors.New("this server has not got the file of the restore")

// find is the name of the file in this server's folder.
func (r *Room) find(m Marker) (string, error) {
	if m.Adopt {
		return "", fmt.Errorf("%w: the store is being rebuilt from agents, and that was not finished; start server %s with --adopt", ErrElsewhere, m.Server)
	}
	if fileName.MatchString(m.File) {
		if sum, err := r.Folder.sumOf(m.File); err == nil && sum == m.Sum {
			return m.File, nil
		}
	}
	files, err := r.Folder.List()
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if sum, err := r.Folder.sumOf(f.Name); err == nil && sum == m.Sum {
			return f.Name, nil
		}
	}
	return "", fmt.Errorf("%w: %s of server %s; start that server, or copy the file from its backups into %s", ErrElsewhere, m.File, m.Server, r.Folder.Path)
}
