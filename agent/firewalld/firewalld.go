package firewalld

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weft-net/weft/agent/dbus"
)

const (
	service = "org.fedoraproject.FirewallD1"
	object  = "/org/fedoraproject/FirewallD1"
	zones   = service + ".zone"
	keeps   = service + ".config"
	trusted = "trusted"
)

// devices are weft's own, as firewalld writes patterns.
var devices = []string{"wf+", "weft+"}

// Want is what shall pass.
type Want struct {
	Uplinks []string // devices that the fabric's packets come by
	Ports   []uint16 // UDP, of the fabric
}

// Open asks for all openings and returns those that were not there.
func Open(ctx context.Context, w Want) (opened []string, err error) {
	return each(ctx, w, func(o opening) (bool, error) { return o.open() })
}

// Close takes back the openings that run and that firewalld does not keep.
func Close(ctx context.Context, w Want) (closed []string, err error) {
	return each(ctx, w, func(o opening) (bool, error) { return o.close() })
}

// each does something to every opening and names those where there was something
// to do.
func each(ctx context.Context, w Want, do func(opening) (bool, error)) (done []string, err error) {
	b, err := dbus.System(ctx)
	if err != nil {
		return nil, fmt.Errorf("firewalld: %w", err)
	}
	defer b.Close()
	all, err := openings(b, w)
	if err != nil {
		return nil, fmt.Errorf("firewalld: %w", err)
	}
	var errs []error
	for _, o := range all {
		did, err := do(o)
		if err != nil {
			errs = append(errs, fmt.Errorf("firewalld: %v: %w", o, err))
		} else if did {
			done = append(done, o.String())
		}
	}
	return done, errors.Join(errs...)
}

// opening is one of a zone.
type opening struct {
	bus  *dbus.Conn
	zone string
	what string // Interface or Port, as in addPort
	args []any  // beside the zone
}

// String is the opening as an operator would write it.
func (o opening) String() string {
	if o.what == "Port" {
		return fmt.Sprintf("firewall-cmd --zone=%s --add-port=%v/%v", o.zone, o.args[0], o.args[1])
	}
	return fmt.Sprintf("firewall-cmd --zone=%s --add-interface=%v", o.zone, o.args[0])
}

func openings(b *dbus.Conn, w Want) ([]opening, error) {
	var out []opening
	for _, d := range devices {
		out = append(out, opening{b, trusted, "Interface", []any{d}})
	}
	seen := map[string]bool{}
	uplinks := w.Uplinks
	if len(w.Ports) == 0 {
		uplinks = nil
	}
	for _, u := range uplinks {
		zone, err := zoneOf(b, u)
		if err != nil {
			return nil, err
		}
		for _, port := range w.Ports {
			if !seen[zone] {
				out = append(out, opening{b, zone, "Port", []any{strconv.Itoa(int(port)), "udp"}})
			}
		}
		seen[zone] = true
	}
	return out, nil
}

// zoneOf is the zone whose rules a device's packets meet.
func zoneOf(b *dbus.Conn, dev string) (string, error) {
	zone, err := b.Call(service, dbus.Call{Path: object, Interface: zones, Member: "getZoneOfInterface", Args: []any{dev}})
	if err != nil || zone != "" {
		return zone, err
	}
	return b.Call(service, dbus.Call{Path: object, Interface: service, Member: "getDefaultZone"})
}

func (o opening) call(verb string, more ...any) (string, error) {
	args := append(append([]any{o.zone}, o.args...), more...)
	return o.bus.Call(service, dbus.Call{Path: object, Interface: zones, Member: verb + o.what, Args: args})
}

// open adds what is not there. One that somebody added in the meantime is there.
func (o opening) open() (bool, error) {
	there, err := o.call("query")
	if err != nil || there == "true" {
		return false, err
	}
	var more []any
	if o.what == "Port" {
		more = []any{int32(0)} // seconds until it ends: never
	}
	_, err = o.call("add", more...)
	var answered *dbus.Error
	if errors.As(err, &answered) && strings.Contains(answered.Text, "ALREADY_ENABLED") {
		return false, nil
	}
	return err == nil, err
}

func (o opening) close() (bool, error) {
	there, err := o.call("query")
	if err != nil || there != "true" {
		return false, err
	}
	path, err := o.bus.Call(service, dbus.Call{Path: object + "/config", Interface: keeps, Member: "getZoneByName", Args: []any{o.zone}})
	if err != nil {
		return false, err
	}
	kept, err := o.bus.Call(service, dbus.Call{Path: path, Interface: keeps + ".zone", Member: "query" + o.what, Args: o.args})
	if err != nil || kept == "true" {
		return false, err
	}
	_, err = o.call("remove")
	return err == nil, err
}
