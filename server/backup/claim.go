package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/server/store"
)

// ErrUnderWay is what a restore is refused with while another is on its way, or
// when another began since it was asked for.
var ErrUnderWay = errors.New("one restore at a time")

// underWay is an ErrUnderWay in words of its own.
type underWay string

func (u underWay) Error() string        { return "backup: " + string(u) }
func (u underWay) Is(target error) bool { return target == ErrUnderWay }

// ground is what a restore begins from. All that is looked at and saved for it is
// looked at after this, and counts only if this still holds when the mark is set.
type ground struct {
	fence   int64 // revision of store.Fence
	ordinal int64 // revision of the ordinal of the epoch that ends
}

// survey reads the ground. It is refused while a restore is on its way.
func (r *Room) survey(ctx context.Context) (ground, error) {
	var g ground
	for key, revision := range map[string]*int64{store.Fence: &g.fence, keyOrdinal: &g.ordinal} {
		e, err := r.Store.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return ground{}, fmt.Errorf("backup: %w; nothing was changed", err)
		}
		*revision = e.Revision
	}
	return g, r.idle(ctx)
}

// instead is why a restore does not begin whose file was not found: while another
// begins, the servers that have files are being stopped. Held is what a survey said
// before anything was looked for.
func (r *Room) instead(ctx context.Context, g ground, held, err error) error {
	if held != nil {
		return held
	}
	now, look := r.survey(ctx)
	switch {
	case errors.Is(look, ErrUnderWay):
		return look
	case look == nil && now != g:
		return r.overtaken(ctx)
	}
	return err
}

// idle refuses while a restore is on its way.
func (r *Room) idle(ctx context.Context) error {
	m, marked, err := Marked(ctx, r.Store)
	if err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	if marked {
		return underWay(m.UnderWay() + "; nothing was changed")
	}
	return nil
}

// claim marks the store as being restored, if the ground is what it was: of all
// that began from it one gets it.
func (r *Room) claim(ctx context.Context, g ground, m *Marker) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	m.revision, err = r.Store.Commit(ctx, store.Txn{
		If: []store.Cond{{Key: store.Restore}, {Key: store.Fence, Revision: g.fence}, {Key: keyOrdinal, Revision: g.ordinal}},
		Then: []store.Write{
			{Key: store.Restore, Value: b},
			{Key: store.Fence, Value: []byte("restoring " + m.Epoch)},
		},
	})
	if err == nil {
		return nil
	}
	if own, marked, look := Marked(ctx, r.Store); look == nil && marked && own.Epoch == m.Epoch { // the answer was lost
		m.revision = own.revision
		return nil
	}
	if errors.Is(err, store.ErrConflict) {
		return r.overtaken(ctx)
	}
	return fmt.Errorf("backup: begin the restore: %w; look whether it began: weft status", err)
}

// overtaken says which restore was faster.
func (r *Room) overtaken(ctx context.Context) error {
	if err := r.idle(ctx); err != nil {
		return err
	}
	var last Restored
	e, err := r.Store.Get(ctx, store.Restored)
	if err == nil {
		err = json.Unmarshal(e.Value, &last)
	}
	if err != nil {
		return underWay("another restore was faster; nothing was changed by this one")
	}
	return underWay(fmt.Sprintf("a restore of %s%s began epoch %d meanwhile, at %s; nothing was changed by this one; repeat it if it is still meant",
		cmp.Or(last.File, "what agents carry"), by(last.By, last.Server), last.Ordinal, clock(last.TimeUnix)))
}

// UnderWay says which restore is on its way.
func (m Marker) UnderWay() string {
	return fmt.Sprintf("a restore of %s%s is under way, since %s", cmp.Or(m.File, "what agents carry"), by(m.By, m.Server), clock(m.StartedUnix))
}

// by says who asked for a restore, and where.
func by(who, server string) string {
	text := ""
	if who != "" {
		text = " by " + who
	}
	if server != "" {
		text += " on " + server
	}
	return text
}

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
