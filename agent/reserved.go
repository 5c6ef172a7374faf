package agent

import (
	"errors"
	"net"
	"strconv"
	"syscall"
)

// memberPort is where the members of the servers' embedded store talk.
const memberPort = "7445"

// reserved names the server of weft that listens on a port of this node: a hostPort
// there would take its agents away from it. Whether one does is asked by trying to
// listen, because only a few pods ask for such a port.
func (a *agent) reserved(proto string, port uint16) string {
	if proto != "tcp" {
		return ""
	}
	number := strconv.Itoa(int(port))
	servers := number == memberPort
	for _, s := range a.cfg.Servers {
		_, p, err := net.SplitHostPort(s)
		servers = servers || err == nil && p == number
	}
	if !servers || !listens(number) {
		return ""
	}
	return "weft-server"
}

// listens tells whether somebody listens on a TCP port of this node.
func listens(port string) bool {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return errors.Is(err, syscall.EADDRINUSE)
	}
	l.Close()
	return false
}
