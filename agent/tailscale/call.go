package tailscale

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/note"
)

// maxKey bounds the key's file, in bytes.
const maxKey = 4 << 10

// call runs the program, with the key in a file while it does.
func call(ctx context.Context, prog Program, dir *datadir.Dir, a Auth, c Call) error {
	within := askWithin
	if c.Args[0] == "up" {
		within = upWithin
	}
	args := c.Args
	if c.Key {
		key, err := a.key()
		if err != nil {
			return fmt.Errorf("tailscale: %w", err)
		}
		path := a.KeyFile
		if path == "" {
			if err := dir.Write(keyName, []byte(key.Reveal())); err != nil {
				return fmt.Errorf("tailscale: %w", err)
			}
			defer func() { _ = dir.Remove(keyName) }()
			path = dir.Path(keyName)
		}
		args = append(slices.Clone(args), "--auth-key=file:"+path)
		prog.hide = key
	}
	_, err := prog.run(ctx, within, args...)
	return err
}

// key is what to join with. It is read from its file at each try.
func (a Auth) key() (note.Secret, error) {
	if a.KeyFile == "" {
		return a.JoinKey, nil
	}
	f, err := os.Open(a.KeyFile)
	if err != nil {
		return "", fmt.Errorf("joinKeyFile: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	switch key := strings.TrimSpace(string(b)); {
	case err != nil:
		return "", fmt.Errorf("joinKeyFile: %w", err)
	case len(b) > maxKey:
		return "", fmt.Errorf("joinKeyFile %s holds more than %d bytes: no key is as long", a.KeyFile, maxKey)
	case key == "":
		return "", fmt.Errorf("joinKeyFile %s is empty", a.KeyFile)
	case !oneWord(key):
		return "", fmt.Errorf("joinKeyFile %s holds more than a key", a.KeyFile)
	default:
		return note.Secret(key), nil
	}
}
