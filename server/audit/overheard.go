package audit

import (
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// overheard is a stream of which is known what it is about: its first message names
// that, its answers what was made.
type overheard struct {
	grpc.ServerStream
	method string

	mu      sync.Mutex // one may send while another receives
	begun   bool
	dry     bool // nothing is to be changed
	objects []string
}

// RecvMsg implements grpc.ServerStream.
func (o *overheard) RecvMsg(m any) error {
	err := o.ServerStream.RecvMsg(m)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if request, ok := m.(proto.Message); ok && !o.begun {
		o.begun, o.dry, o.objects = true, dry(request), objects(o.method, request)
	}
	return nil
}

// SendMsg implements grpc.ServerStream.
func (o *overheard) SendMsg(m any) error {
	if answer, ok := m.(proto.Message); ok { // also if it does not arrive: it was done
		o.mu.Lock()
		o.objects = joined(o.objects, made(o.method, answer))
		o.mu.Unlock()
	}
	return o.ServerStream.SendMsg(m)
}

func (o *overheard) told() (objects []string, dry bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.objects, o.dry
}

// joined is a list with what is not in it yet of another.
func joined(list, more []string) []string {
	for _, o := range more {
		if !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list
}
