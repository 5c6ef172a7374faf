package main

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// auditHeader is on the answer to a write whose record is not stored yet; of a write
// that was sent in parts it is in the trailer.
const auditHeader = "weft-audit"

// warnLate says that what was done is not in the audit yet.
func (c *cli) warnLate(md metadata.MD) {
	for _, late := range md.Get(auditHeader) {
		c.say("warning: %s", late)
	}
}

// writing is a request in parts, with one answer.
type writing struct {
	grpc.ClientStream
	cli *cli
}

// RecvMsg implements grpc.ClientStream. It is called once, for the answer.
func (w writing) RecvMsg(m any) error {
	err := w.ClientStream.RecvMsg(m)
	w.cli.warnLate(w.Trailer())
	return err
}
