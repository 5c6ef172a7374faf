package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Machine is a guest to be. It can be run many times.
type Machine struct {
	dir    string // what fetch.sh unpacked
	memory string // as QEMU takes it
}

// Fetch unpacks what a machine consists of, unless that was done before. It is asked
// in the folder of this package.
func Fetch(ctx context.Context) (Machine, error) {
	cmd := exec.CommandContext(ctx, "./fetch.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Machine{}, fmt.Errorf("vm: fetch.sh: %w", err)
	}
	return Machine{dir: strings.TrimSpace(string(out)), memory: "2560M"}, nil
}

// prelude makes a plain system of what init leaves: modules are found where fetch.sh
// unpacked them, /dev/net/tun is there, as udev would have it, and what others left in
// /tmp is not seen.
const prelude = `export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/tmp
mkdir -p /run/tmp /run/netns /run/lock /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
printf '#!/bin/sh\nexport LD_LIBRARY_PATH=%%s/usr/lib/x86_64-linux-gnu:%%s/lib/x86_64-linux-gnu\nexec %%s/modprobe -d %%s "$@"\n' '%[1]s' '%[1]s' '%[1]s' '%[1]s' >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
/run/modprobe tun
ip link set lo up
cd '%[2]s'
(
%[3]s
)
echo "%[4]s$?"
echo o >/proc/sysrq-trigger
sleep 60
`

// ended is before the exit status of what was run.
const ended = "weft-vm: exit status "

// Run boots the machine, runs the lines of a shell script in a folder of the host's,
// writes what they print, and returns when the machine is off. A status other than 0
// is an error. A machine that is not off when ctx ends is ended.
func (m Machine) Run(ctx context.Context, dir, script string, out io.Writer) error {
	temp, err := os.MkdirTemp("", "weft-vm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	run := filepath.Join(temp, "run")
	if err := os.WriteFile(run, fmt.Appendf(nil, prelude, m.dir, dir, script, ended), 0o644); err != nil {
		return err
	}
	cmd := m.command(ctx, run)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	status := read(console, out)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("vm: the machine was still on: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("vm: QEMU: %w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	case status == "":
		return errors.New("vm: the machine went off before the script ended")
	case status != "0":
		return fmt.Errorf("vm: exit status %s", status)
	}
	return nil
}

// command is QEMU's. The check of a timer, which a busy host makes fail, is left out;
// a panic ends the machine.
func (m Machine) command(ctx context.Context, run string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(m.dir, "usr/bin/qemu-system-x86_64"),
		"-L", filepath.Join(m.dir, "usr/share/qemu"), "-L", filepath.Join(m.dir, "usr/share/seabios"),
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", m.memory,
		"-kernel", filepath.Join(m.dir, "kernel"), "-initrd", filepath.Join(m.dir, "initrd"),
		"-append", "console=ttyS0 quiet panic=-1 no_timer_check weft.run="+run,
		"-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=host,mount_tag=host")
	cmd.Env = append(os.Environ(), fmt.Sprintf("LD_LIBRARY_PATH=%[1]s/usr/lib/x86_64-linux-gnu:%[1]s/lib/x86_64-linux-gnu", m.dir))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// read copies the console and returns the exit status that it tells at last.
func read(console io.Reader, out io.Writer) (status string) {
	lines := bufio.NewScanner(console)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if s, ok := strings.CutPrefix(line, ended); ok {
			status = s
			continue
		}
		fmt.Fprintln(out, line)
	}
	return status
}
