#!/bin/sh
# Makes a fresh Debian 12 ready for felixpy: its command is on the PATH, all tests run, `sudo felixpy lab up` works.
#
#   tools/provision.sh [CHECKOUT]   as root; the checkout is the one of this script unless named
#
# The environment belongs to whoever owns the checkout. Doing it again does no harm.
set -eu
checkout=$(cd "${1:-$(dirname "$0")/..}" && pwd)
owner=$(stat -c %U "$checkout")
packages="git make sudo ca-certificates python3-venv python3-dev gcc libc6-dev
    iptables nftables ipset kubernetes-client conntrack iproute2 util-linux procps tcpdump"

as_owner() {
    if [ "$owner" = root ]; then sh -c "$1"; else su "$owner" -c "$1"; fi
}

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086  # a list of words
apt-get -qq install --no-install-recommends --yes $packages >/dev/null
as_owner "make --no-print-directory -C '$checkout' install legacy"
ln -sf "$checkout/.venv/bin/felixpy" /usr/local/bin/felixpy
/usr/local/bin/felixpy --version
