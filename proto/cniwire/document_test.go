package cniwire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadRequest(t *testing.T) {
	for _, c := range []struct {
		name, in, err string
	}{
		{"OK ADD", `{"version":1,"verb":"ADD","containerID":"c","config":{"a":1}}`, ""},
		{"OK field of a later release", `{"version":1,"verb":"GC","later":[1]}`, ""},
		{"bad empty", ``, "5 cniwire: the other end closed without a word"},
		{"bad truncated", `{"version":1,"verb":"ADD","config":{"a"`, "6 cniwire: the document ends after 39 bytes, in the middle"},
		{"bad two documents", `{"version":1,"verb":"ADD"}{}`, "6 cniwire: decode: invalid character '{' after top-level value"},
		{"bad no version", `{"verb":"ADD"}`, "6 cniwire: the request has no version"},
		{"bad later version", `{"version":2,"verb":"ADD"}`, "1 cniwire: the shim speaks version 2, this agent up to 1; upgrade weft-agent"},
		{"bad verb", `{"version":1,"verb":"VERSION"}`, `4 cniwire: unknown verb "VERSION"`},
		{"bad type", `[]`, "6 cniwire: decode: json: cannot unmarshal array into Go value of type cniwire.Request"},
		{"bad oversized", `"` + strings.Repeat("a", MaxDocument) + `"`, "6 cniwire: the document is larger than 1048576 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadRequest(strings.NewReader(c.in))
			if got := text(err); got != c.err {
				t.Errorf("error %q, want %q", got, c.err)
			}
		})
	}
}

func text(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Sprintf("%d %s", e.Code, e.Msg)
	}
	return ""
}

func TestRoundTrip(t *testing.T) {
	req := Request{
		Version: Version, Verb: Add, ContainerID: "c1", NetNS: "/run/netns/a", IfName: "eth0",
		Args: "K8S_POD_NAME=web", Path: "/opt/cni/bin", Config: []byte(`{"cniVersion":"1.1.0"}`),
	}
	var buf bytes.Buffer
	if err := WriteRequest(&buf, req); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRequest(&buf)
	if diff := cmp.Diff(req, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	resp := Response{Version: Version, Error: Errorf(CodeTryAgain, "pod: busy")}
	if err = WriteResponse(&buf, resp); err != nil {
		t.Fatal(err)
	}
	back, err := ReadResponse(&buf)
	if diff := cmp.Diff(resp, back); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
}

func TestResponseIsOneThing(t *testing.T) {
	_, err := ReadResponse(strings.NewReader(`{"version":1,"result":{},"error":{"code":7,"msg":"m"}}`))
	if got, want := text(err), "6 cniwire: the response holds a result and an error"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestWriteRefusesWhatNobodyWouldRead(t *testing.T) {
	big := Response{Result: []byte(`"` + strings.Repeat("a", MaxDocument) + `"`)}
	if err := WriteResponse(io.Discard, big); err == nil {
		t.Error("an oversized document was written")
	}
}

func TestAsError(t *testing.T) {
	for _, c := range []struct {
		in   error
		want string
	}{
		{errors.New("plain"), "999 plain"},
		{Errorf(CodeConfig, "bad"), "7 bad"},
		{fmt.Errorf("add: %w", Errorf(CodeTryAgain, "busy")), "11 add: busy"},
	} {
		if got := text(AsError(c.in)); got != c.want {
			t.Errorf("AsError(%v) = %q, want %q", c.in, got, c.want)
		}
	}
	if AsError(nil) != nil {
		t.Error("AsError(nil) is an error")
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(`{"version":1,"verb":"ADD","containerID":"c","config":{"a":1}}`))
	f.Add([]byte(`{"version":1,"verb":"STATUS"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := ReadRequest(bytes.NewReader(b))
		if err != nil {
			if text(err) == "" {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		var buf bytes.Buffer
		if err = WriteRequest(&buf, req); err != nil {
			return // JSON escapes can outgrow the limit
		}
		again, err := ReadRequest(&buf)
		if err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		if again.Verb != req.Verb || again.ContainerID != req.ContainerID {
			t.Fatalf("read %+v, then %+v", req, again)
		}
	})
}

func FuzzReadResponse(f *testing.F) {
	f.Add([]byte(`{"version":1,"result":{"cniVersion":"1.1.0"}}`))
	f.Add([]byte(`{"version":1,"error":{"code":11,"msg":"busy","details":"d"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		resp, err := ReadResponse(bytes.NewReader(b))
		if err == nil && resp.Error != nil && resp.Result != nil {
			t.Fatal("a result and an error")
		}
	})
}
