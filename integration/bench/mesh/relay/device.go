package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/conn"
	wg "golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// secret is a node's WireGuard key: that of its name, which is no secret.
func secret(name string) [32]byte {
	k := sha256.Sum256([]byte("weft bench " + name))
	k[0], k[31] = k[0]&248, k[31]&127|64
	return k
}

func public(name string) string {
	k := secret(name)
	p, err := curve25519.X25519(k[:], curve25519.Basepoint)
	if err != nil {
		panic(err) // of a constant
	}
	return hex.EncodeToString(p)
}

// device is wireguard-go, as it comes.
func device(args []string) error {
	link, port, name, peer, allowed, control := args[0], args[1], args[2], args[3], args[4], args[5]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer stop()
	t, err := tun.CreateTUN(link, 1420)
	if err != nil {
		return err
	}
	d := wg.NewDevice(t, conn.NewDefaultBind(), &wg.Logger{Verbosef: wg.DiscardLogf, Errorf: wg.DiscardLogf})
	defer d.Close()
	k := secret(name)
	if err := d.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=%s\npublic_key=%s\nallowed_ip=%s\n", k, port, public(peer), allowed)); err != nil {
		return err
	}
	if err := d.Up(); err != nil {
		return err
	}
	l, err := net.Listen("unix", control)
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.IpcHandle(c)
		}
	}()
	ready(ctx)
	return nil
}

// point sets the endpoint of a peer.
func point(control, peer, to string) error {
	c, err := net.Dial("unix", control)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "set=1\npublic_key="+public(peer)+"\nendpoint="+to+"\n\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "errno=0" {
		return fmt.Errorf("endpoint %s of %s: %q, %w", to, peer, line, err)
	}
	return nil
}
