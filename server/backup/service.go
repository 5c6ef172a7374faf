package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxListed bounds the changes that a dry run names.
const maxListed = 10_000

// service answers operators.
type service struct {
	weftv1.UnimplementedBackupsServer
	*Room
	opens  func(ca []byte) error
	caller func(ctx context.Context) string
}

// Register hangs the service into a gRPC server. opens says whether this server's
// key opens a CA as it is stored, caller who calls.
func (r *Room) Register(g grpc.ServiceRegistrar, opens func(ca []byte) error, caller func(ctx context.Context) string) {
	weftv1.RegisterBackupsServer(g, &service{Room: r, opens: opens, caller: caller})
}

// Save implements weftv1.BackupsServer.
func (s *service) Save(ctx context.Context, _ *weftv1.BackupsSaveRequest) (*weftv1.BackupsSaveResponse, error) {
	f, err := s.Room.Save(ctx, ByHand)
	if err != nil {
		return nil, answer(err)
	}
	return &weftv1.BackupsSaveResponse{Backup: wire(f), Folder: s.Folder.Path}, nil
}

// List implements weftv1.BackupsServer.
func (s *service) List(ctx context.Context, r *weftv1.BackupsListRequest) (*weftv1.BackupsListResponse, error) {
	if r.GetEverywhere() {
		return s.everywhere(ctx), nil
	}
	files, err := s.Folder.List()
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.BackupsListResponse{Server: s.Server, Folder: s.Folder.Path}
	for _, f := range files {
		out.Backups = append(out.Backups, wire(f))
	}
	return out, nil
}

// Verify implements weftv1.BackupsServer.
func (s *service) Verify(stream grpc.ClientStreamingServer[weftv1.BackupsVerifyRequest, weftv1.BackupsVerifyResponse]) error {
	in, err := s.source(stream.Context(), func() (*weftv1.BackupFile, error) { r, err := stream.Recv(); return r.GetFile(), err })
	if err != nil {
		return answer(err)
	}
	defer in.Close()
	c, err := read(in)
	if err != nil {
		return answer(fmt.Errorf("backup: %s: %w", in.label(), err))
	}
	now, err := ReadFabric(stream.Context(), s.Store)
	if err != nil {
		return answer(err)
	}
	out := &weftv1.BackupsVerifyResponse{
		Backup: in.wire(c.Header), Keys: uint32(len(c.values)), Objects: map[string]uint32{},
		Sha256: c.sum, SameFabric: now.SameAs(c.Header), Sealed: s.sealed(c),
	}
	for key := range c.values {
		if k, _, _, ok := kind.ParseKey(key); ok {
			out.Objects[k]++
		}
	}
	return stream.SendAndClose(out)
}

// sealed says whether a fresh store could be made of a backup with this server's
// key.
func (s *service) sealed(c contents) string {
	ca, ok := c.values[caPrefix]
	if !ok {
		return "there is no CA in it"
	}
	if err := s.opens(ca); err != nil {
		return err.Error()
	}
	return "yes"
}

// Restore implements weftv1.BackupsServer.
func (s *service) Restore(stream grpc.ClientStreamingServer[weftv1.BackupsRestoreRequest, weftv1.BackupsRestoreResponse]) error {
	first, dry := true, false
	began, held := s.survey(stream.Context())
	in, err := s.source(stream.Context(), func() (*weftv1.BackupFile, error) {
		r, err := stream.Recv()
		if first {
			first, dry = false, r.GetDryRun()
		}
		return r.GetFile(), err
	})
	if !dry && (held != nil || err != nil) { // before anything is copied
		if err == nil {
			in.Close()
		}
		return answer(s.instead(stream.Context(), began, held, err))
	}
	if err != nil {
		return answer(err)
	}
	defer in.Close()
	if dry {
		out, err := s.preview(stream.Context(), in)
		if err != nil {
			return answer(err)
		}
		return stream.SendAndClose(out)
	}
	name, copied := in.name, in.server != s.Server
	if copied {
		f, _, err := s.Folder.Take(in, maxSent)
		if err != nil {
			return answer(fmt.Errorf("%s: %w; nothing was changed", in.label(), unprefixed{err}))
		}
		name = f.Name
	}
	out, err := s.begin(stream.Context(), in, name)
	if errors.Is(err, ErrOther) && copied { // what was sent does not stay among this fabric's own
		err = errors.Join(err, os.Remove(filepath.Join(s.Folder.Path, name)))
	}
	if err != nil {
		return answer(err)
	}
	return stream.SendAndClose(out)
}

// begin starts a restore, and answers before this server stops serving for it.
func (s *service) begin(ctx context.Context, in *input, name string) (*weftv1.BackupsRestoreResponse, error) {
	m, err := s.Begin(ctx, name, s.caller(ctx))
	if err != nil {
		return nil, err
	}
	out := &weftv1.BackupsRestoreResponse{
		Backup: &weftv1.Backup{Name: cmp.Or(in.name, name), Server: cmp.Or(in.server, s.Server), Holder: cmp.Or(in.server, s.Server)},
		Epoch:  m.Ordinal, EpochId: m.Epoch, Aside: m.Aside, Server: s.Server,
	}
	if in.server != s.Server {
		out.CopiedAs = name
	}
	return out, nil
}

// preview says what a restore would change.
func (s *service) preview(ctx context.Context, in *input) (*weftv1.BackupsRestoreResponse, error) {
	c, err := read(in)
	if err != nil {
		return nil, fmt.Errorf("backup: %s: %w", in.label(), err)
	}
	now, err := ReadFabric(ctx, s.Store)
	if err != nil {
		return nil, err
	}
	if err := admit(now, c.Header); err != nil {
		return nil, fmt.Errorf("backup: %s: %w", in.label(), err)
	}
	changes, err := differences(ctx, s.Store, c)
	if err != nil {
		return nil, err
	}
	out := &weftv1.BackupsRestoreResponse{Backup: in.wire(c.Header), Server: s.Server, Epoch: max(now.Ordinal, c.Ordinal) + 1}
	for _, change := range changes {
		if len(out.Changes) < maxListed && !internal(change.Key) {
			out.Changes = append(out.Changes, &weftv1.BackupChange{Op: string(change.Op), Object: change.Object()})
		}
	}
	out.Younger, err = s.younger(ctx, c)
	return out, err
}

// internal tells whether operators have no name for a key.
func internal(key string) bool { return strings.HasPrefix(key, store.Fabric) }

// younger lists the leases that a backup does not know as they are now: they stay.
func (r *Room) younger(ctx context.Context, c contents) ([]*weftv1.BackupLease, error) {
	entries, _, err := r.Store.List(ctx, kind.Key(kind.Lease, "", ""))
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	var out []*weftv1.BackupLease
	for _, e := range entries {
		_, _, name, _ := kind.ParseKey(e.Key)
		var now, then kind.LeaseSpec
		if _, err := kind.Decode(e.Value, &now); err != nil {
			continue // it cannot be read: it becomes the backup's
		}
		if value := c.values[e.Key]; value != nil {
			if _, err := kind.Decode(value, &then); err != nil {
				return nil, fmt.Errorf("backup: %w", err)
			}
		}
		l := &weftv1.BackupLease{Node: name}
		for _, p := range now.Prefixes {
			if !slices.Contains(then.Prefixes, p) {
				l.Prefixes = append(l.Prefixes, p.String())
			}
		}
		if len(l.Prefixes) == 0 {
			continue
		}
		if e, err := r.Store.Get(ctx, kind.ObservedNode(name)); err == nil {
			if o, err := kind.DecodeObservation[kind.NodeObservation](e); err == nil {
				l.HeardUnix = o.HeardUnix
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// unprefixed is an error without the name of this room.
type unprefixed struct{ error }

func (u unprefixed) Error() string { return strings.TrimPrefix(u.error.Error(), "backup: ") }
func (u unprefixed) Unwrap() error { return u.error }

func wire(f File) *weftv1.Backup {
	h := f.Header
	b := &weftv1.Backup{
		Name: f.Name, Why: f.Why, SizeBytes: f.Size, Fabric: h.Fabric, Epoch: h.Ordinal, Revision: h.Revision,
		Version: h.Version, Server: h.Server,
	}
	if !h.Time.IsZero() {
		b.TimeUnix = h.Time.Unix()
	}
	if f.Err != nil {
		b.Error = f.Err.Error()
	}
	return b
}

// answer turns an error into what a caller is told.
func answer(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	text := strings.TrimPrefix(err.Error(), "backup: ")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return status.Error(codes.NotFound, text)
	case errors.Is(err, ErrOther), errors.Is(err, ErrNewer), errors.Is(err, ErrOnOther), errors.Is(err, ErrUnderWay), errors.Is(err, store.ErrConflict):
		return status.Error(codes.FailedPrecondition, text)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return status.Error(codes.DeadlineExceeded, text)
	}
	return status.Error(codes.InvalidArgument, text)
}
