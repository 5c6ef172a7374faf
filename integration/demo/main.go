// Command demo brings up a real fabric in network namespaces, shows what an
// operator would look at, and takes everything down again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

func main() {
	scene := flag.String("scene", "base", "what to show: base, ha, egress or multicloud")
	once := flag.Bool("once", false, "end after showing, instead of at Ctrl-C")
	backend := flag.String("backend", "vxlan", "vxlan or host-gw")
	bin := flag.String("bin", "bin", "folder of the built binaries")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *scene, *backend, *bin, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, scene, backend, bin string, once bool) (err error) {
	layouts := map[string]lab.Layout{
		"base": {Nodes: 3}, "ha": {Nodes: 5, Servers: 3}, "egress": {Nodes: 2, Servers: 3, Behind: 1},
		"multicloud": {Nodes: len(clouds), NATs: clouds, Under: "4"},
	}
	layout, ok := layouts[scene]
	if !ok {
		return fmt.Errorf("no scene %q; there are: base, ha, egress, multicloud", scene)
	}
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	f, err := lab.NewFabric(ctx, bin, layout)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			fmt.Println("\nEverything is taken down; nothing is left behind.")
		}
	}()
	d := demo{Fabric: f, began: time.Now()}
	show := map[string]func(context.Context, string) error{
		"base": d.show, "ha": (&ha{demo: &d}).show, "egress": (&egress{demo: &d}).show, "multicloud": (&multicloud{&d}).show,
	}[scene]
	if err := show(ctx, backend); err != nil {
		return err
	}
	if once {
		return nil
	}
	d.hints()
	<-ctx.Done()
	return nil
}
