package config

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// A value that is not accepted is told in words, with what is.
func TestAccepted(t *testing.T) {
	for name, want := range map[string]string{
		"mtu":   `config: WEFT_MTU: "abc" is not accepted; accepted: a whole number`,
		"port":  `config: WEFT_PORT: "abc" is not accepted; accepted: a whole number from 0 to 65535`,
		"debug": `config: WEFT_DEBUG: "abc" is not accepted; accepted: true or false`,
	} {
		fs := pflag.NewFlagSet("t", pflag.ContinueOnError)
		fs.Int("mtu", 0, "")
		fs.Uint16("port", 0, "")
		fs.Bool("debug", false, "")
		err := fill(fs.Lookup(name), setting{values: []string{"abc"}, origin: "WEFT_" + strings.ToUpper(name)})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
