package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Peers reaches the other servers: members.Room.
type Peers interface {
	Others() []string
	// Removed says that the fabric has no such server, as far as that is known.
	Removed(server string) bool
	Call(ctx context.Context, server string, there func(context.Context, grpc.ClientConnInterface) error) error
}

// listWithin bounds what the others are given to list their folders.
const listWithin = 3 * time.Second

// shelf is what one server has.
type shelf struct {
	server string
	files  []File
	err    error
}

// shelves lists the folders of all servers at once, this one's first.
func (r *Room) shelves(ctx context.Context) []shelf {
	own := shelf{server: r.Server}
	own.files, own.err = r.Folder.List()
	out := []shelf{own}
	if r.Peers == nil {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	others := r.Peers.Others()
	out = append(out, make([]shelf, len(others))...)
	var all sync.WaitGroup
	for i, name := range others {
		all.Go(func() { out[i+1] = r.shelf(ctx, name) })
	}
	all.Wait()
	return out
}

func (r *Room) shelf(ctx context.Context, server string) shelf {
	s := shelf{server: server}
	s.err = r.Peers.Call(ctx, server, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		a, err := weftv1.NewBackupsClient(conn).ListHeld(ctx, &weftv1.BackupsListHeldRequest{})
		s.files = nil
		for _, b := range a.GetBackups() {
			s.files = append(s.files, unwire(b))
		}
		return err
	})
	switch got := status.Convert(s.err); {
	case got.Code() == codes.Unimplemented:
		s.err = fmt.Errorf("server %s is of a release that lists its backups to nobody else", server)
	case s.err != nil:
		s.err = errors.New(got.Message())
	}
	return s
}

// fetch reads a file of another server's folder.
func (r *Room) fetch(ctx context.Context, server, name string) io.ReadCloser {
	in, out := io.Pipe()
	go func() { // ends when it is read, or closed
		out.CloseWithError(r.Peers.Call(ctx, server, func(ctx context.Context, conn grpc.ClientConnInterface) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := weftv1.NewBackupsClient(conn).GetFile(ctx, &weftv1.BackupsGetFileRequest{Name: name})
			if err != nil {
				return err
			}
			for {
				part, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err == nil {
					_, err = out.Write(part.GetPart())
				}
				if err != nil {
					return err
				}
			}
		}))
	}()
	return in
}

// place is where a file is.
type place struct{ server, name string }

// absent is an fs.ErrNotExist whose text says it already.
type absent string

func (a absent) Error() string        { return string(a) }
func (a absent) Is(target error) bool { return target == fs.ErrNotExist }

// ErrOnOther is what a backup is refused with that another server has, which does
// not answer.
var ErrOnOther = errors.New("another server has it")

// locate answers with the place of a file, on any server. Latest is the youngest of
// the fabric: when a server has it that does not answer, an older one does not
// stand in for it.
func (r *Room) locate(ctx context.Context, name string) (place, error) {
	if name != Latest {
		return r.named(ctx, name)
	}
	last, err := r.youngest(ctx)
	if err != nil {
		return place{}, err
	}
	var found place
	var youngest File
	var unheard error
	for _, s := range r.shelves(ctx) {
		if s.err != nil && last != nil && s.server == last.Server {
			unheard = s.err
		}
		for _, f := range s.files {
			if f.Err == nil && counts(f.Name) && younger(f, youngest) {
				found, youngest = place{s.server, f.Name}, f
			}
		}
	}
	switch {
	case last != nil && last.TimeUnix > youngest.Header.Time.Unix() && last.Server != r.Server && (unheard != nil || r.Peers == nil):
		what := "the latest of those that answer is " + found.name + " on " + found.server + ", and there is a younger one"
		if found.name == "" {
			what = "there is no backup on a server that answers"
		}
		return place{}, elsewhere(what, *last, unheard)
	case found.name == "":
		return place{}, absent("backup: there is no backup yet; make one: weft backup save")
	}
	return found, nil
}

// younger says whether a file is later than another; times are of whole seconds.
func younger(a, b File) bool {
	return cmp.Or(a.Header.Time.Compare(b.Header.Time), cmp.Compare(a.Header.Ordinal, b.Header.Ordinal), cmp.Compare(a.Header.Revision, b.Header.Revision)) > 0
}

// named finds a file by its name: this server's own, if it has one.
func (r *Room) named(ctx context.Context, name string) (place, error) {
	if !fileName.MatchString(name) {
		return place{}, fmt.Errorf("backup: %.100q is no name of a backup; see: weft backup ls", name)
	}
	if _, err := os.Stat(filepath.Join(r.Folder.Path, name)); !errors.Is(err, fs.ErrNotExist) {
		return place{r.Server, name}, nil
	}
	var asked, unheard []string
	silent := map[string]error{}
	for _, s := range r.shelves(ctx) {
		if slices.ContainsFunc(s.files, func(f File) bool { return f.Name == name }) {
			return place{s.server, name}, nil
		}
		if asked = append(asked, s.server); s.err != nil {
			silent[s.server], unheard = s.err, append(unheard, s.err.Error())
		}
	}
	last, err := r.youngest(ctx)
	if err == nil && last != nil && last.Name == name && (silent[last.Server] != nil || r.Peers == nil) {
		return place{}, elsewhere(name+" is not on a server that answers", *last, silent[last.Server])
	}
	err = absent(fmt.Sprintf("backup: there is no %s on %s; see: weft backup ls", name, strings.Join(asked, ", ")))
	if len(unheard) > 0 {
		err = fmt.Errorf("%w (%s)", err, strings.Join(unheard, "; "))
	}
	return place{}, err
}

// youngest is the last backup that Latest may stand for, as the store has it; nil
// without one.
func (r *Room) youngest(ctx context.Context) (*Made, error) {
	state, err := r.State(ctx)
	if err != nil || state.Last == nil || !counts(state.Last.Name) {
		return nil, err
	}
	return state.Last, nil
}

// counts says whether a name is of a backup that Latest may stand for.
func counts(name string) bool {
	m := fileName.FindStringSubmatch(name)
	return m != nil && (m[1] == Scheduled || m[1] == ByHand)
}

func elsewhere(what string, at Made, why error) error {
	err := fmt.Errorf("backup: %s: %w: server %s has %s, of %s; start that one, copy the file from its --backup-dir, or give the name of one that is here (weft backup ls)",
		what, ErrOnOther, at.Server, at.Name, time.Unix(at.TimeUnix, 0).UTC().Format(time.RFC3339))
	if why != nil {
		return fmt.Errorf("%w (%w)", err, why)
	}
	return err
}

// unwire is a file as another server lists it.
func unwire(b *weftv1.Backup) File {
	f := File{Name: b.GetName(), Why: b.GetWhy(), Size: b.GetSizeBytes(), Header: Header{
		Fabric: b.GetFabric(), Ordinal: b.GetEpoch(), Revision: b.GetRevision(), Version: b.GetVersion(), Server: b.GetServer(),
	}}
	if b.GetTimeUnix() != 0 {
		f.Header.Time = time.Unix(b.GetTimeUnix(), 0)
	}
	if b.GetError() != "" {
		f.Err = errors.New(b.GetError())
	}
	return f
}
