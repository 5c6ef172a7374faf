package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc"
)

// everywhere lists the backups of all servers, the youngest first.
func (s *service) everywhere(ctx context.Context) *weftv1.BackupsListResponse {
	out := &weftv1.BackupsListResponse{Server: s.Server, Folder: s.Folder.Path}
	for _, shelf := range s.shelves(ctx) {
		if shelf.err != nil {
			out.Unheard = append(out.Unheard, &weftv1.BackupsUnheard{Server: shelf.server, Why: strings.TrimPrefix(shelf.err.Error(), "backup: ")})
		}
		for _, f := range shelf.files {
			b := wire(f)
			b.Holder = shelf.server
			out.Backups = append(out.Backups, b)
		}
	}
	slices.SortStableFunc(out.Backups, func(a, b *weftv1.Backup) int {
		return cmp.Or(cmp.Compare(b.GetTimeUnix(), a.GetTimeUnix()), cmp.Compare(b.GetRevision(), a.GetRevision()))
	})
	return out
}

// ListHeld implements weftv1.BackupsServer.
func (s *service) ListHeld(context.Context, *weftv1.BackupsListHeldRequest) (*weftv1.BackupsListHeldResponse, error) {
	files, err := s.Folder.List()
	if err != nil {
		return nil, answer(err)
	}
	out := &weftv1.BackupsListHeldResponse{}
	for _, f := range files {
		out.Backups = append(out.Backups, wire(f))
	}
	return out, nil
}

// sentPart is what goes in one message, in bytes.
const sentPart = 256 << 10

// GetFile implements weftv1.BackupsServer.
func (s *service) GetFile(r *weftv1.BackupsGetFileRequest, stream grpc.ServerStreamingServer[weftv1.BackupsGetFileResponse]) error {
	f, err := s.Folder.Open(r.GetName())
	if err != nil {
		return answer(err)
	}
	defer f.Close()
	part := make([]byte, sentPart)
	for {
		n, err := f.Read(part)
		if n > 0 {
			if err := stream.Send(&weftv1.BackupsGetFileResponse{Part: part[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return answer(fmt.Errorf("backup: %w", err))
		}
	}
}
