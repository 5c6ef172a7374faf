package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/cmd/weft/internal/table"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// memoryHeader is on answers that a server gives from memory, while the store
// answers nobody: since when, in seconds since 1970, and the server's name.
const memoryHeader = "weft-memory"

// warnMemory says once that what is shown is remembered. Answers that say so
// themselves are laid out with it.
func (c *cli) warnMemory(md metadata.MD, answer any) {
	m, ok := answer.(proto.Message)
	values := md.Get(memoryHeader)
	if !ok || len(values) == 0 {
		return
	}
	unix, server, _ := strings.Cut(values[0], " ")
	since, err := strconv.ParseInt(unix, 10, 64)
	laidOut := m.ProtoReflect().Descriptor().Fields().ByName("silent_since_unix") != nil
	if err != nil || c.remembered.Swap(true) || laidOut {
		return
	}
	c.say("%-9s%s", "MEMORY", c.memoryText(since, server))
}

func (c *cli) memoryText(since int64, server string) string {
	at := time.Unix(since, 0).In(c.now().Location()).Format(time.TimeOnly)
	return "the store answers nobody since " + at + " (" + table.Since(since, c.now()) + "): this is what server " + server + " remembers of then, and sees now"
}
