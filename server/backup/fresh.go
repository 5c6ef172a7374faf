package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/server/store"
)

// Authority tells whether a key is of the fabric's CA.
func Authority(key string) bool {
	return key == caPrefix || strings.HasPrefix(key, caPrefix+"/") || strings.HasPrefix(key, caPrefix+"-")
}

// authorities are the CA's records of a backup.
func (c contents) authorities() map[string][]byte {
	out := map[string][]byte{}
	for key, value := range c.values {
		if Authority(key) {
			out[key] = value
		}
	}
	return out
}

// Fresh makes a store that was never used of a backup. The file must be in the
// folder already (Take), so that a server that starts goes on if this one is
// killed. opens says whether this server's key opens the CA. sealed is the CA as
// this server last knew it: it counts before the backup's, which may be of before
// a rotation.
func (r *Room) Fresh(ctx context.Context, file string, opens func(record []byte) error, sealed *Sealed) (Marker, error) {
	in, err := r.Folder.Open(file)
	if err != nil {
		return Marker{}, err
	}
	defer in.Close()
	c, err := read(in)
	if err != nil {
		return Marker{}, fmt.Errorf("backup: %s: %w; nothing was changed", file, err)
	}
	ca := c.authorities()
	ordinal := c.Ordinal
	if sealed != nil && sealed.ID == c.ID {
		ca, ordinal = sealed.Records, max(ordinal, sealed.Ordinal)
	}
	if err := opens(ca[caPrefix]); err != nil {
		return Marker{}, fmt.Errorf("backup: %s: %w; nothing was changed", file, err)
	}
	m := Marker{
		Schema: markerSchema, File: file, Sum: c.sum, Server: r.Server, Epoch: NewEpoch(), Ordinal: ordinal + 1, Lost: true,
		StartedUnix: r.Now().Unix(),
	}
	if err := r.mark(ctx, &m, ca, sealed); err != nil {
		return Marker{}, err
	}
	return m, nil
}

// mark marks a store that was never used, and gives it its CA.
func (r *Room) mark(ctx context.Context, m *Marker, ca map[string][]byte, sealed *Sealed) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	txn := store.Txn{
		If: []store.Cond{{Key: store.Restore}, {Key: store.Fence}, {Key: keyEpoch}, {Key: caPrefix}},
		Then: []store.Write{
			{Key: store.Restore, Value: b},
			{Key: store.Fence, Value: []byte("restoring " + m.Epoch)},
		},
	}
	if m.Adopt { // whoever has a certificate of before is readmitted
		restored, err := json.Marshal(Restored{Schema: markerSchema, TimeUnix: m.StartedUnix, Ordinal: m.Ordinal})
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		txn.Then = append(txn.Then, store.Write{Key: store.Restored, Value: restored})
	}
	if sealed != nil { // what came after the backup is in it
		writes, err := sealed.history()
		if err != nil {
			return err
		}
		txn.Then = append(txn.Then, writes...)
	}
	for key, value := range ca {
		txn.Then = append(txn.Then, store.Write{Key: key, Value: value})
	}
	m.revision, err = r.Store.Commit(ctx, txn)
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("backup: the store is in use: it holds a fabric; restore into that with weft backup restore: %w", err)
	}
	if err != nil {
		return fmt.Errorf("backup: begin the restore: %w", err)
	}
	r.Log.Warn("restore began", note.Path, m.File, note.Epoch, m.Ordinal, note.Why, "into a store that was never used")
	return nil
}

// Sealed is what a server keeps beside its server.key, so that a store which was
// lost altogether can be made again: who the fabric is, and its CA as the store
// has it, sealed.
type Sealed struct {
	Schema  int               `json:"schema"`
	Fabric  string            `json:"fabric"`
	ID      string            `json:"id"`
	Ordinal uint64            `json:"ordinal"`
	Epochs  map[string]uint64 `json:"epochs,omitempty"` // ordinals of those that were and that is, by id
	Losses  []uint64          `json:"losses,omitempty"` // as in Lost
	Records map[string][]byte `json:"records"`          // by key
}

const sealedSchema = 1

// Seal reads what a server keeps of a store.
func Seal(ctx context.Context, s Store) (Sealed, error) {
	f, err := ReadFabric(ctx, s)
	if err != nil {
		return Sealed{}, err
	}
	entries, _, err := s.List(ctx, caPrefix)
	if err != nil {
		return Sealed{}, fmt.Errorf("backup: %w", err)
	}
	out := Sealed{Schema: sealedSchema, Fabric: f.Name, ID: f.ID, Ordinal: f.Ordinal, Epochs: map[string]uint64{}, Records: map[string][]byte{}}
	var lost Lost
	for key, into := range map[string]any{store.Epochs: &out.Epochs, store.Lost: &lost} {
		e, err := s.Get(ctx, key)
		if err == nil {
			err = json.Unmarshal(e.Value, into)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return Sealed{}, fmt.Errorf("backup: %s: %w", key, err)
		}
	}
	out.Losses = lost.Losses
	if f.Epoch != "" {
		out.Epochs[f.Epoch] = f.Ordinal
	}
	for _, e := range entries {
		if Authority(e.Key) {
			out.Records[e.Key] = e.Value
		}
	}
	return out, nil
}

// history is what a store that is made again knows of epochs from it.
func (s Sealed) history() ([]store.Write, error) {
	epochs, err := json.Marshal(s.Epochs)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	lost, err := json.Marshal(Lost{Schema: markerSchema, Losses: s.Losses})
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return []store.Write{{Key: store.Epochs, Value: epochs}, {Key: store.Lost, Value: lost}}, nil
}

// ParseSealed reads what Seal's answer was written to.
func ParseSealed(b []byte) (Sealed, error) {
	var s Sealed
	if err := json.Unmarshal(b, &s); err != nil {
		return Sealed{}, fmt.Errorf("backup: it cannot be read: %w; copy it from another server of this fabric", err)
	}
	if s.Schema != sealedSchema || len(s.Records[caPrefix]) == 0 {
		return Sealed{}, fmt.Errorf("backup: it has schema %d and %d records; copy it from another server of this fabric", s.Schema, len(s.Records))
	}
	for key := range s.Records {
		if !Authority(key) {
			return Sealed{}, fmt.Errorf("backup: it holds %.100q, which is no record of a CA", key)
		}
	}
	return s, nil
}

// BeginAdopt marks a store that was never used as one that is rebuilt from what
// agents carry, or answers the mark that is there already.
func (r *Room) BeginAdopt(ctx context.Context, sealed Sealed) (Marker, error) {
	m, marked, err := Marked(ctx, r.Store)
	if err != nil {
		return Marker{}, err
	}
	if marked && m.Adopt {
		return m, nil
	}
	m = Marker{Schema: markerSchema, Adopt: true, Server: r.Server, Epoch: NewEpoch(), Ordinal: sealed.Ordinal + 1, StartedUnix: r.Now().Unix()}
	return m, r.mark(ctx, &m, sealed.Records, &sealed)
}

// Rebuild writes what agents carried, and begins the epoch.
func (r *Room) Rebuild(ctx context.Context, m Marker, sealed Sealed, objects map[string][]byte) error {
	var changes []Change
	for key, value := range objects {
		changes = append(changes, Change{Op: Add, Key: key, value: value})
	}
	for _, txn := range transactions(changes, store.Cond{Key: store.Restore, Revision: m.revision}) {
		if _, err := r.Store.Commit(ctx, txn); err != nil {
			return fmt.Errorf("backup: write what agents carry: %w", err)
		}
	}
	c := contents{Header: Header{ID: sealed.ID, Time: r.Now()}, values: map[string][]byte{}}
	txn, err := r.last(ctx, m, c)
	if err != nil {
		return err
	}
	txn.Then = append(txn.Then, store.Write{Key: keyName, Value: []byte(sealed.Fabric)})
	if _, err := r.Store.Commit(ctx, txn); err != nil {
		return fmt.Errorf("backup: begin the epoch: %w", err)
	}
	r.Log.Warn("store was rebuilt", note.Epoch, m.Ordinal, note.Objects, len(changes))
	return nil
}

// Opens says whether a store could be made of a backup on this server.
func (d Folder) Opens(name string, sealed *Sealed, opens func(record []byte) error) error {
	in, err := d.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	c, err := read(in)
	if err != nil {
		return fmt.Errorf("backup: %s: %w", name, err)
	}
	ca := c.authorities()
	if sealed != nil && sealed.ID == c.ID {
		ca = sealed.Records
	}
	return opens(ca[caPrefix])
}
