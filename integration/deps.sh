#!/usr/bin/env bash
# What the demo, the tests and the benchmarks need of the machine. As root on a
# Debian-like system the missing packages are installed; otherwise they are named.
set -euo pipefail
export PATH="$PATH:/usr/local/go/bin:/usr/sbin:/sbin"

# command  package
needs='ip iproute2
nft nftables
ping iputils-ping
iperf3 iperf3
tcpdump tcpdump
conntrack conntrack
etcd etcd-server
etcdctl etcd-client
ethtool ethtool
iptables-nft iptables
iptables-legacy iptables
ufw ufw
sysctl procps
curl curl
openssl openssl
wg wireguard-tools
xz xz-utils
gcc gcc
git git'

missing=()
while read -r cmd package; do
	command -v "$cmd" >/dev/null || missing+=("$package")
done <<<"$needs"

if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "missing packages: ${missing[*]}" >&2
		echo "install them, for example: sudo apt-get install ${missing[*]}" >&2
		exit 1
	fi
	echo "installing: ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
# firewalld is unpacked and not installed: installed, it would be the machine's
# firewall. Its libraries are harmless.
if [ ! -e bin/firewalld/usr/sbin/firewalld ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "unpacking: firewalld"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dbus python3-firewall python3-nftables python3-dbus python3-gi gir1.2-glib-2.0 >/dev/null
	mkdir -p bin/firewalld
	(cd bin/firewalld && apt-get download -qq firewalld && dpkg -x firewalld_*.deb . && rm firewalld_*.deb)
fi
# NetworkManager as well, with the libraries that it lacks here.
if [ ! -e bin/networkmanager/usr/sbin/NetworkManager ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "unpacking: NetworkManager"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dbus >/dev/null
	mkdir -p bin/networkmanager
	(
		cd bin/networkmanager
		LC_ALL=C apt-get install -s --no-install-recommends network-manager | awk '$1 == "Inst" { print $2 }' | xargs apt-get download -qq
		for package in *.deb; do dpkg -x "$package" .; done
		rm ./*.deb
	)
fi
# A kernel that has what this one may lack, and QEMU to run it: see integration/vm.
"$(dirname "$0")/vm/fetch.sh" >/dev/null
if ! command -v go >/dev/null; then
	echo "missing: Go, the release that go.mod names or newer" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "not root: network namespaces, VXLAN devices and nftables need it; run with sudo" >&2
	exit 1
fi
