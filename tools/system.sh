#!/bin/sh
# Checks what the system must bring, and installs what is missing where that is possible.
#
#   tools/system.sh python    Python 3.11 or newer that can make virtual environments; fails without
#   tools/system.sh kernel    iptables, nft, ipset, conntrack, tcpdump, ip and kubectl; without them tests that need them
#                             are skipped (or fail, in CI), so this part never fails
#   tools/system.sh cluster   Go, etcd, kubectl and openssl, for reading a real API server; fails without
#   tools/system.sh compiler  a C compiler and the headers of Python, for building python-iptables; fails without
#
# Packages come from apt-get, as root or through sudo. Nothing is asked of the package index when nothing is missing.
set -eu
python=${PYTHON:-python3}
PATH=$PATH:/usr/sbin:/sbin

say() { printf 'felixpy: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif [ -t 0 ]; then sudo "$@"
    else sudo -n "$@"
    fi
}

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] && return 0
    command -v sudo >/dev/null || return 1
    [ -t 0 ] || sudo -n true 2>/dev/null
}

install() {
    may_install || return 1
    say "installing with apt-get: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2 &&
        as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
            apt-get -qq -o Dpkg::Use-Pty=0 install --no-install-recommends --yes "$@" >/dev/null
}

need_python() {
    command -v "$python" >/dev/null || { say "$python is missing; install python3"; exit 1; }
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        say "$("$python" --version) is too old: Python 3.11 or newer is needed (choose one with make PYTHON=python3.12)"
        exit 1
    }
    # Debian keeps ensurepip, without which `python3 -m venv` fails, in a package of its own.
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    install "$(basename "$python")-venv" && "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    say "$python cannot make virtual environments; install python3-venv (Debian, Ubuntu) or what your system calls it"
    exit 1
}

want_kernel_tools() {
    missing=
    for pair in iptables-legacy-restore:iptables iptables-nft-restore:iptables ipset:ipset conntrack:conntrack \
        ip:iproute2 tcpdump:tcpdump nft:nftables kubectl:kubernetes-client; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
    done
    [ -z "$missing" ] && return
    # shellcheck disable=SC2086  # a list of words
    set -- $(printf '%s\n' $missing | sort -u)
    install "$@" || say "missing and not installable here: $* (tests in network namespaces, or with kubectl, need them)"
}

need_cluster_tools() {
    command -v go >/dev/null || { say "go is missing; install Go 1.26 or newer from go.dev"; exit 1; }
    missing=
    for pair in etcd:etcd-server kubectl:kubernetes-client openssl:openssl; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
    done
    [ -z "$missing" ] && return
    # shellcheck disable=SC2086  # a list of words
    install $missing && return
    say "missing and not installable here:$missing"
    exit 1
}

has_headers() {
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

need_compiler() {
    missing=
    command -v cc >/dev/null || missing="gcc libc6-dev"
    # Debian keeps the headers of its Python in a package of its own; a Python built from source has them at hand.
    has_headers || missing="$missing $(basename "$python")-dev"
    [ -z "$missing" ] && return
    # shellcheck disable=SC2086  # a list of words
    install $missing && has_headers && return
    say "missing and not installable here: ${missing# }"
    exit 1
}

case ${1:-} in
    python) need_python ;;
    kernel) want_kernel_tools ;;
    cluster) need_cluster_tools ;;
    compiler) need_compiler ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
