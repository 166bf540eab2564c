"""How connections are tried, as far as no packet is needed for it."""

from __future__ import annotations

import errno
import itertools
import resource
from pathlib import Path

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from felixpy.errors import EnvironmentMissing, FelixpyError, KernelRefused
from felixpy.lab import probing
from felixpy.lab.probing import LOWEST_PORT, MOST_SOCKETS, SPARE_FILES, source_ports
from felixpy.lab.wiring import explained

PORTS = 65536 - LOWEST_PORT


def test_a_source_port_comes_again_only_after_all_others() -> None:
    ports = source_ports("a")
    first = list(itertools.islice(ports, PORTS))
    assert set(first) == set(range(LOWEST_PORT, 65536))
    assert next(ports) == first[0]
    assert source_ports("a") is ports
    assert source_ports("b") is not ports


@pytest.mark.parametrize(
    "soft, hard, expected",
    [
        (1024, 1 << 20, MOST_SOCKETS),
        (1 << 20, 1 << 20, MOST_SOCKETS),
        (1024, 2048, 2048 - SPARE_FILES),
        (64, 64, 1),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, MOST_SOCKETS),
        (1024, resource.RLIM_INFINITY, MOST_SOCKETS),
    ],
)
def test_as_many_sockets_as_the_process_may_have(
    soft: int, hard: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    with probing._many_files() as most:
        assert most == expected
        now = limits[-1][0]
        assert now in (soft, most + SPARE_FILES)
        assert now == resource.RLIM_INFINITY or now >= min(most + SPARE_FILES, hard) or hard == resource.RLIM_INFINITY
    assert limits[-1] == (soft, hard)


@pytest.mark.parametrize(
    "missing, protocols, families, message",
    [("SCTP_TRACKED", {"tcp", "sctp"}, {4}, "tracks no SCTP"), ("IPV6", {"tcp"}, {4, 6}, "has no IPv6")],
)
def test_what_this_kernel_cannot_do_is_told(
    missing: str, protocols: set[str], families: set[int], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SCTP_TRACKED", "IPV6"):
        monkeypatch.setattr(probing, name, tmp_path)
    probing.check(protocols, families)
    monkeypatch.setattr(probing, missing, tmp_path / "nothing")
    probing.check({"tcp"}, {4})
    with pytest.raises(EnvironmentMissing, match=message):
        probing.check(protocols, families)


@pytest.mark.parametrize(
    "wrong, kind, message",
    [
        (NetlinkError(errno.EOPNOTSUPP, "no"), EnvironmentMissing, "lab x: Operation not supported .*CONFIG_VETH"),
        (NetlinkError(errno.EPERM, "no"), EnvironmentMissing, "lab x: Operation not permitted .*--privileged"),
        (OSError(errno.EROFS, "no"), EnvironmentMissing, "lab x: Read-only file system .*--privileged"),
        (NetlinkError(errno.EEXIST, "no"), KernelRefused, "lab x: File exists$"),
        (OSError(errno.ENOSPC, "no"), KernelRefused, "lab x: No space left on device$"),
    ],
)
def test_what_the_kernel_refuses_is_told_in_one_line(wrong: Exception, kind: type[FelixpyError], message: str) -> None:
    with pytest.raises(kind, match=message), explained("lab x"):
        raise wrong
