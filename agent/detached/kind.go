package detached

// Kind is what processes do that are started the same way. Each has a name, by which it
// is one of its kind.
type Kind struct {
	What     string                     // for people: WireGuard process
	Args     func(name string) []string // of the program, with its subcommand first; --ready-fd=3 comes in addition
	Unit     func(name string) string   // of systemd
	UnitFile string                     // that has the unit, in deploy/systemd
	Lock     func(name string) string   // path of the file that the process holds
	Socket   func(name string) string   // path of the socket on which it listens
}
