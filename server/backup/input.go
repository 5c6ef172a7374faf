package backup

import (
	"cmp"
	"context"
	"fmt"
	"io"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxSent bounds a file that an operator or another server sends, in bytes. Larger
// ones are copied into the folder and named.
const maxSent = 512 << 20

// input is a file that somebody works with.
type input struct {
	io.ReadCloser
	place // zero for one that is sent
}

// label is what errors call it.
func (i *input) label() string { return cmp.Or(i.name, "the file") }

func (i *input) wire(h Header) *weftv1.Backup {
	b := wire(File{Name: i.label(), Header: h})
	b.Holder = i.server
	return b
}

// source is the file that a stream names, on whichever server, or sends.
func (s *service) source(ctx context.Context, recv func() (*weftv1.BackupFile, error)) (*input, error) {
	first, err := recv()
	if err != nil {
		return nil, err
	}
	if name := first.GetName(); name != "" {
		at, err := s.locate(ctx, name)
		if err != nil {
			return nil, err
		}
		if at.server != s.Server {
			return &input{s.fetch(ctx, at.server, at.name), at}, nil
		}
		f, err := s.Folder.Open(at.name)
		return &input{f, at}, err
	}
	if len(first.GetPart()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "file: name a backup of a server, or send one in parts")
	}
	return &input{ReadCloser: &parts{recv: recv, left: first.GetPart(), room: maxSent}}, nil
}

// parts reads what a stream sends.
type parts struct {
	recv func() (*weftv1.BackupFile, error)
	left []byte
	room int64
}

// Read implements io.Reader.
func (p *parts) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		f, err := p.recv()
		if err != nil {
			return 0, err // io.EOF is the end
		}
		if p.left = f.GetPart(); f.GetName() != "" {
			return 0, status.Error(codes.InvalidArgument, "file: a part was sent, and then a name")
		}
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	if p.room -= int64(n); p.room < 0 {
		return 0, fmt.Errorf("more than %d bytes; copy the file into the server's folder of backups and name it", int64(maxSent))
	}
	return n, nil
}

// Close implements io.Closer.
func (p *parts) Close() error { return nil }
