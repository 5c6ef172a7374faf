package local

import (
	"io/fs"
	"net"

	"github.com/weft-net/weft/proto/socket"
)

// Listen opens a socket in the run folder. The file of a listener that is gone is
// replaced; one that answers belongs to another agent and is refused.
func Listen(path string, mode fs.FileMode) (net.Listener, error) {
	return socket.Listen(path, mode, "--run-dir")
}
