package config

import (
	"fmt"

	"github.com/weft-net/weft/proto/near"
)

// suggestion names the known setting that a key was likely meant to be.
func suggestion(key string, known []string) string {
	if meant, ok := near.Name(key, known); ok {
		return fmt.Sprintf("; did you mean %q?", meant)
	}
	return "; --help lists them"
}
