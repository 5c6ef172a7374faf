package push

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// asked is a stream that nobody writes to, so that a test is its agent.
func askedStream() *stream {
	h := New(Config{})
	s := newStream(context.Background(), h, nil)
	s.name, s.answers = "n1", true
	s.writing = true // nobody sends
	h.streams["n1"] = s
	return s
}

func TestAskPutsPartsTogether(t *testing.T) {
	s := askedStream()
	for _, c := range []struct {
		name    string
		answers []*weftv1.Answer
		want    string
		code    codes.Code
	}{
		{"whole", []*weftv1.Answer{{Response: []byte("abc")}}, "abc", codes.OK},
		{"parts", []*weftv1.Answer{{Response: []byte("ab"), More: true}, {Response: []byte("c")}}, "abc", codes.OK},
		{"empty", []*weftv1.Answer{{}}, "", codes.OK},
		{"refused", []*weftv1.Answer{{Code: uint32(codes.NotFound), Message: "no peer"}}, "", codes.NotFound},
		{"refused after a part", []*weftv1.Answer{{Response: []byte("ab"), More: true}, {Code: uint32(codes.Internal)}}, "", codes.Internal},
		{"too large", []*weftv1.Answer{{Response: make([]byte, maxResponse), More: true}, {Response: []byte("x"), More: true}}, "", codes.ResourceExhausted},
		{"nobody's", []*weftv1.Answer{{Id: 1 << 40, Response: []byte("x")}, {Response: []byte("abc")}}, "abc", codes.OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			type result struct {
				response []byte
				err      error
			}
			done := make(chan result, 1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			go func() {
				response, err := s.hub.Ask(ctx, "n1", "GetKernel", nil)
				done <- result{response, err}
			}()
			var id uint64
			for id == 0 { // the question is there in a moment
				if q := s.questions(); len(q) > 0 {
					id = q[0].GetQuestion().GetId()
				} else if ctx.Err() != nil {
					t.Fatal("nothing was asked")
				}
			}
			for _, a := range c.answers {
				if a.Id == 0 {
					a.Id = id
				}
				s.answered(a)
			}
			got := <-done
			if c.code == codes.OK && string(got.response) != c.want || status.Code(got.err) != c.code {
				t.Errorf("%d bytes %.10q, %v", len(got.response), got.response, got.err)
			}
			if len(s.asking.open) != 0 {
				t.Errorf("%d questions stay open", len(s.asking.open))
			}
		})
	}
}

func TestAskIsBounded(t *testing.T) {
	s := askedStream()
	var ids []uint64
	for range maxOpen {
		id, q := s.ask(t.Context(), "GetKernel", nil)
		if q == nil {
			t.Fatal("refused too early")
		}
		ids = append(ids, id)
	}
	if _, err := s.hub.Ask(t.Context(), "n1", "GetKernel", nil); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "others ask") {
		t.Errorf("one too many: %v", err)
	}
	for _, id := range ids {
		s.unask(id)
	}
	s.questions()
	if _, err := s.hub.Ask(t.Context(), "n9", "GetKernel", nil); !errors.Is(err, ErrNotHere) {
		t.Errorf("a node without a stream: %v", err)
	}
	s.answers = false
	if _, err := s.hub.Ask(t.Context(), "n1", "GetKernel", nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("an agent of before: %v", err)
	}
	s.answers = true
	s.cut(errSilent)
	if _, err := s.hub.Ask(t.Context(), "n1", "GetKernel", nil); status.Code(err) != codes.Unavailable {
		t.Errorf("an agent that went: %v", err)
	}
}
