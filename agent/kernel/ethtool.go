package kernel

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ETHTOOL_GTXCSUM and ETHTOOL_STXCSUM (include/uapi/linux/ethtool.h): transmit
// checksum offload in one value, in kernels of any age.
const (
	ethtoolGetTxCsum = 0x16
	ethtoolSetTxCsum = 0x17
)

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct {
	cmd, data uint32
}

// ifreqData is struct ifreq with its pointer.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

func (k *Kernel) checksumOff(dev string) (bool, error) {
	v := ethtoolValue{cmd: ethtoolGetTxCsum}
	err := k.ethtool(dev, &v)
	return v.data == 0, err
}

func (k *Kernel) setChecksumOff(dev string, off bool) error {
	have, err := k.checksumOff(dev)
	if err != nil || have == off {
		return err
	}
	v := ethtoolValue{cmd: ethtoolSetTxCsum, data: 1}
	if off {
		v.data = 0
	}
	return k.ethtool(dev, &v)
}

func (k *Kernel) ethtool(dev string, v *ethtoolValue) error {
	if len(dev) >= unix.IFNAMSIZ {
		return fmt.Errorf("device name %q is longer than %d bytes", dev, unix.IFNAMSIZ-1)
	}
	req := ifreqData{data: unsafe.Pointer(v)}
	copy(req.name[:], dev)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(k.ioctl), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}
