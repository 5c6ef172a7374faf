package server

import (
	"cmp"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/weft-net/weft/server/backup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// excuse is what everybody is answered while a backup is being restored. Who asks is
// not known then: it names no operator and no folder. The zero value names nothing.
type excuse struct {
	mu   sync.Mutex
	text string
}

// of names the restore.
func (e *excuse) of(m backup.Marker) {
	e.set(restoring(m) + "; no server serves until it is done, and nothing is changed by what is asked meanwhile; data paths run on. Try again in a moment; if it lasts, the servers' logs say what is missing")
}

// waitsAfter is how long another server, which has the file, is given to restore it.
const waitsAfter = 5 * time.Second

// waits says that this server has not got the file, and that the one which has it does
// not go on.
func (e *excuse) waits(m backup.Marker, own string) {
	e.set(fmt.Sprintf("%s; no server serves until it is done, and nothing is changed by what is asked meanwhile; data paths run on. Server %s has not got the file and waits for server %s: start that one, or see the log of %s", restoring(m), own, m.Server, own))
}

func restoring(m backup.Marker) string {
	return fmt.Sprintf("a restore of %s on server %s is under way, since %s", cmp.Or(m.File, "what agents carry"), m.Server, time.Unix(m.StartedUnix, 0).UTC().Format(time.RFC3339))
}

func (e *excuse) set(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.text = text
}

// answer is what is answered over HTTP/1.1.
func (e *excuse) answer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "2")
	w.Header().Set("Connection", "close")
	http.Error(w, status.Convert(e.err()).Message(), http.StatusServiceUnavailable)
}

func (e *excuse) err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return status.Error(codes.Unavailable, cmp.Or(e.text, "a backup is being restored, and no server serves until that is done; data paths run on. Try again in a moment; if it lasts, the servers' logs say what is missing"))
}
