#!/usr/bin/env bash
# What the tests in a virtual machine need, unpacked into a cache folder and not
# installed: QEMU, the kernel of the distribution's backports (its own where there
# are none), and a first file system. Prints the folder. Nothing of the machine's
# own apt is changed, but its sources are what all comes from.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weft-vm
vm=$cache/$(cat "$here/fetch.sh" "$here/init" | sha256sum | cut -c1-12)
if [ -e "$vm/initrd" ]; then
	echo "$vm"
	exit
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "the tests in a virtual machine need root and a Debian-like system, for QEMU and a kernel with WireGuard" >&2
	exit 1
fi
mkdir -p "$cache"
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work"/apt/{parts,preferences,cache/archives/partial} "$work"/{deb,root,initrd/bin}

# The machine's sources, and with each entry of the release one of its backports.
. /etc/os-release
{ cat /etc/apt/sources.list 2>/dev/null || true; } | sed -E "p; /^deb / s/ $VERSION_CODENAME / $VERSION_CODENAME-backports /" | sort -u >"$work/apt/parts/machine.list"
cp /etc/apt/sources.list.d/*.list "$work/apt/parts/" 2>/dev/null || true
for f in /etc/apt/sources.list.d/*.sources; do
	[ ! -e "$f" ] || sed -E "/^Suites:/ s/(\s)$VERSION_CODENAME(\s|$)/\1$VERSION_CODENAME $VERSION_CODENAME-backports\2/" "$f" >"$work/apt/parts/$(basename "$f")"
done
printf 'Package: *\nPin: release n=*-backports\nPin-Priority: 900\n' >"$work/apt/preferences/backports"
cp -a /var/lib/apt/lists "$work/apt/lists"
mkdir -p "$work/apt/lists/partial"
apt() {
	LC_ALL=C command "$@" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/apt/parts" -o Dir::Etc::preferencesparts="$work/apt/preferences" \
		-o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root
}
if ! apt apt-get update -qq; then
	sed -i "s/ $VERSION_CODENAME-backports//" "$work"/apt/parts/*.sources
	sed -i "/ $VERSION_CODENAME-backports /d" "$work"/apt/parts/*.list
	apt apt-get update -qq
fi
image=$(apt apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
tools=$(apt apt-get install -s --no-install-recommends qemu-system-x86 busybox-static kmod cpio libkmod2 | awk '$1 == "Inst" { print $2 }')
echo "unpacking: $image, qemu-system-x86" >&2
(cd "$work/deb" && apt apt-get download -qq $tools "$image" >&2)

for deb in "$work"/deb/*.deb; do
	case $deb in
	*/linux-image-*) dpkg-deb --fsys-tarfile "$deb" | tar x -C "$work/root" --exclude='*/gpu/*' --exclude='*/media/*' --exclude='*/sound/*' --exclude='*/infiniband/*' --exclude='*/staging/*' ;;
	*) dpkg -x "$deb" "$work/root" ;;
	esac
done
release=$(ls "$work/root/lib/modules")
find() { command find "$work/root" -path "*/bin/$1" -type f | head -n 1; }
libs=$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu
kmod=$(find kmod)
[ -n "$kmod" ] || kmod=$(command -v kmod)
for tool in depmod modprobe; do ln -s "$kmod" "$work/$tool"; done
LD_LIBRARY_PATH=$libs "$work/depmod" -b "$work/root" "$release"

# The first file system: busybox, and what it takes to mount the machine's files.
busybox=$(find busybox)
cp "${busybox:-$(command -v busybox)}" "$work/initrd/bin/busybox"
cp "$here/init" "$work/initrd/init"
chmod 755 "$work/initrd/init"
n=100
for module in virtio_pci 9pnet_virtio 9p overlay; do
	LD_LIBRARY_PATH=$libs "$work/modprobe" -d "$work/root" -S "$release" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r ko; do
	n=$((n + 1))
	xz -dc "$ko" >"$work/initrd/$n-$(basename "$ko" .xz)"
done
cpio=$(find cpio || true)
(cd "$work/initrd" && command find . | "${cpio:-cpio}" -o -H newc --quiet) | gzip >"$work/root/initrd"
cp "$work/root/boot/vmlinuz-$release" "$work/root/kernel"
echo "$release" >"$work/root/release"
rm -f "$work/root/modprobe"
ln -s "${kmod#"$work/root/"}" "$work/root/modprobe"
rm -rf "$vm"
mv "$work/root" "$vm"
echo "$vm"
