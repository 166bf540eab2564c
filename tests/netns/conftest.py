"""Fixtures of the tests that need a real kernel: root, its tools, and a network namespace for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from felixpy.kernel import Machine
from tests.netns.enforcing import fresh_machine
from tests.netns.namespace import Namespace, fresh_namespace, in_ci, obstacle
from tests.netns.packets import Topology, Traffic, two_workloads


@pytest.fixture(scope="session")
def kernel() -> None:
    """Skip where there is no kernel to try things on, but fail in CI: there it is a broken set-up, not a choice."""
    if reason := obstacle():
        (pytest.fail if in_ci() else pytest.skip)(reason)


@pytest.fixture(autouse=True)
def locks(kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Locks of our own, so that nobody waits for a test, nor a test for somebody."""
    monkeypatch.setenv("FELIXPY_LOCKFILE", str(tmp_path / "felixpy.lock"))
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))
    monkeypatch.setenv("FELIXPY_NFTABLES_MEMORY", str(tmp_path / "nftables"))
    return tmp_path


@pytest.fixture
def machine(locks: Path) -> Iterator[Machine]:
    """felixpy's view of a fresh network namespace."""
    with fresh_machine() as machine:
        yield machine


@pytest.fixture
def netns(kernel: None) -> Iterator[Namespace]:
    """The test runs inside a fresh network namespace; every process it starts does too."""
    with fresh_namespace() as namespace:
        yield namespace


@pytest.fixture(scope="module")
def talk(kernel: None) -> Iterator[tuple[Topology, Traffic]]:
    """Two workloads that talk to each other for all tests of a file."""
    with two_workloads() as topology:
        traffic = Traffic(topology)
        yield topology, traffic
        traffic.close()
