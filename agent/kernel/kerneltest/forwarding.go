package kerneltest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// check refuses what rests on something that is not there.
func (f *Fake) check(o datapath.Object) error {
	switch o := o.(type) {
	case datapath.Sysctl:
		if dev := o.Dev(); dev != "" {
			return f.needDevice(dev, unix.ENOENT)
		}
	case datapath.Link:
		if f.state[o.Key()] == nil && o.Type == datapath.LinkVeth {
			return fmt.Errorf("a veth is made with its pod: %w", unix.ENODEV)
		}
	case datapath.Addr:
		return f.needDevice(o.Dev, unix.ENODEV)
	case datapath.Neigh:
		return f.needDevice(o.Dev, unix.ENODEV)
	case datapath.FDB:
		l, ok := f.link(o.Dev)
		if !ok {
			return unix.ENODEV
		}
		if l.Type != datapath.LinkVXLAN {
			return unix.EOPNOTSUPP
		}
	case datapath.WGPeer:
		if l, ok := f.link(o.Dev); !ok || l.Type != datapath.LinkWG {
			return fmt.Errorf("device %s: %w", o.Dev, unix.ENODEV)
		}
	case datapath.Route:
		return f.checkRoute(o)
	}
	return nil
}

// putPeer: an endpoint that is not named stays, and a prefix has one peer.
func (f *Fake) putPeer(o datapath.WGPeer) {
	if have, ok := f.state[o.Key()].(datapath.WGPeer); ok && !o.Endpoint.IsValid() {
		o.Endpoint = have.Endpoint
	}
	for k, other := range f.state {
		other, ok := other.(datapath.WGPeer)
		if !ok || other.Dev != o.Dev || other.Peer == o.Peer {
			continue
		}
		list := strings.Split(other.Allowed, ",")
		other.Allowed = strings.Join(slices.DeleteFunc(list, func(p string) bool {
			return slices.Contains(strings.Split(o.Allowed, ","), p)
		}), ",")
		f.state[k] = other
	}
	f.state[o.Key()] = o
}

func (f *Fake) link(dev string) (datapath.Link, bool) {
	l, ok := f.state[datapath.Link{Name: dev}.Key()].(datapath.Link)
	return l, ok
}

func (f *Fake) needDevice(dev string, missing error) error {
	if _, ok := f.link(dev); ok {
		return nil
	}
	if slices.Contains(f.devices, dev) {
		return nil
	}
	return fmt.Errorf("device %s: %w", dev, missing)
}

// checkRoute: the device must be there and up, the preferred source an address
// of the node, a gateway reachable unless the route is onlink.
func (f *Fake) checkRoute(o datapath.Route) error {
	if o.Type == datapath.RouteNormal {
		if err := f.needDevice(o.Dev, unix.ENODEV); err != nil {
			return err
		}
		if l, ok := f.link(o.Dev); ok && l.Down {
			return fmt.Errorf("device %s: %w", o.Dev, unix.ENETDOWN)
		}
	}
	if o.Src.IsValid() && !f.local(o.Src) {
		return fmt.Errorf("source %v is no address of this node: %w", o.Src, unix.EINVAL)
	}
	return nil
}

func (f *Fake) local(a netip.Addr) bool {
	for _, o := range f.state {
		if have, ok := o.(datapath.Addr); ok && have.Prefix.Addr() == a {
			return true
		}
	}
	return false
}

// drop deletes an object and what goes with it.
func (f *Fake) drop(k datapath.Key) {
	o := f.state[k]
	delete(f.state, k)
	switch o := o.(type) {
	case datapath.Link:
		f.dropIf(func(c datapath.Object) bool { return restsOn(c, o.Name) })
	case datapath.Addr:
		f.dropIf(func(c datapath.Object) bool {
			r, ok := c.(datapath.Route)
			return ok && r.Src == o.Prefix.Addr() && !f.local(r.Src)
		})
	case datapath.Set:
		f.dropIf(func(c datapath.Object) bool {
			e, ok := c.(datapath.Element)
			return ok && e.Set == o.Name
		})
	case datapath.Chain:
		f.dropIf(func(c datapath.Object) bool { return inChain(c, o.Name) })
	}
}

func (f *Fake) dropIf(goes func(datapath.Object) bool) {
	for k, o := range f.state {
		if goes(o) {
			f.drop(k)
		}
	}
}

func restsOn(o datapath.Object, dev string) bool {
	switch o := o.(type) {
	case datapath.Sysctl:
		return o.Dev() == dev
	case datapath.Addr:
		return o.Dev == dev
	case datapath.Neigh:
		return o.Dev == dev
	case datapath.FDB:
		return o.Dev == dev
	case datapath.WGPeer:
		return o.Dev == dev
	case datapath.Route:
		return o.Dev == dev
	}
	return false
}

// setDown: routes and IPv6 addresses go with a device's state.
func (f *Fake) setDown(l datapath.Link) {
	f.dropIf(func(o datapath.Object) bool {
		switch o := o.(type) {
		case datapath.Route:
			return o.Dev == l.Name
		case datapath.Addr:
			return o.Dev == l.Name && o.Prefix.Addr().Is6()
		}
		return false
	})
}
