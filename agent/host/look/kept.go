package look

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// kept are files of /proc that stay open between looks: to find one by its path
// costs several times what it costs to read it. Each read asks the kernel anew.
type kept struct {
	open map[string]*os.File
	buf  []byte
}

// mostBytes bounds one file: a host has some dozens of netlink sockets.
const mostBytes = 256 << 10

// read returns what a file says now, until the next call. One that is gone, with its
// device, is opened anew, because the device may be back.
func (k *kept) read(path string) ([]byte, error) {
	if k.buf == nil {
		k.open, k.buf = map[string]*os.File{}, make([]byte, 4<<10)
	}
	if f := k.open[path]; f != nil {
		if b, err := k.all(f); err == nil {
			return b, nil
		}
		delete(k.open, path)
		f.Close()
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	k.open[path] = f
	return k.all(f)
}

func (k *kept) all(f *os.File) ([]byte, error) {
	n := 0
	for {
		m, err := f.ReadAt(k.buf[n:], int64(n))
		n += m
		switch {
		case errors.Is(err, io.EOF):
			return k.buf[:n], nil
		case err != nil:
			return nil, err
		case n == mostBytes:
			return nil, &fs.PathError{Op: "read", Path: f.Name(), Err: errors.New("is longer than it can be")}
		case n == len(k.buf):
			k.buf = append(k.buf, make([]byte, len(k.buf))...)
		}
	}
}

// close lets all files go.
func (k *kept) close() {
	for _, f := range k.open {
		f.Close()
	}
	k.open, k.buf = nil, nil
}
