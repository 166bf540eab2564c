"""pytest fixtures for tests of policies. The plugin has no effect on tests that do not use one.

    def test_database(policy):
        assert policy.allows("shop/api", "shop/db", 5432)
        assert policy.denies("internet", "shop/db", 5432)

    def test_with_packets(felix_lab):
        assert felix_lab.connects("shop/api", "shop/db", 5432)

Manifests are those of the ini option ``felix_manifests`` (paths from the root of the tests, "." by default), or of a
fixture `felix_manifests` that a project defines itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from felixpy.lab import Lab
    from felixpy.model import Cluster
    from felixpy.policytests import Runner
    from felixpy.policytests.running import Answer

OPTION = "felix_manifests"
MARKER = "felix_pods"
POD = "felix_pod"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare where manifests are."""
    parser.addini(OPTION, "Files and folders of manifests for felixpy, from the root of the tests.", type="args")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    words = f"{MARKER}(namespace='', selector=''): run the test for each of these pods, as argument {POD}"
    config.addinivalue_line("markers", words)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test with the pods that the marker selects."""
    if POD not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker(MARKER)
    wanted = marker.kwargs if marker else {}
    metafunc.parametrize(POD, _pods(metafunc.config, **wanted))


def _pods(config: pytest.Config, namespace: str = "", selector: str = "") -> list[str]:
    from felixpy.errors import UsageError
    from felixpy.policytests import Runner
    from felixpy.policytests.files import PodChoice

    runner = Runner(_load(_paths(config)))
    try:
        return runner.named(PodChoice(namespace, selector))
    except UsageError:
        return []


def _paths(config: pytest.Config) -> list[str]:
    return [str(config.rootpath / path) for path in config.getini(OPTION) or ["."]]


def _load(paths: list[str]) -> Cluster:
    from felixpy.manifests import load

    return load(paths)


@dataclass(frozen=True)
class Answered:
    """True or false, with the trace as text, which a failed assertion shows."""

    as_asked: bool
    answer: Answer

    def __bool__(self) -> bool:
        return self.as_asked

    def __repr__(self) -> str:
        return str(self.answer)


class PolicyAnswers:
    """Traces connections; ends and ports are written as for ``felixpy trace``."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def allows(self, source: str, destination: str, port: int | str = "") -> Answered:
        """True if the connection is certainly allowed. Without a port it is a ping. Raises UsageError."""
        return self._asked("allow", source, destination, port)

    def denies(self, source: str, destination: str, port: int | str = "") -> Answered:
        """True if the connection is certainly denied. Raises UsageError."""
        return self._asked("deny", source, destination, port)

    def _asked(self, verdict: str, source: str, destination: str, port: int | str) -> Answered:
        answer = self.runner.answer(source, destination, str(port))
        return Answered(answer.certain and answer.verdict == verdict, answer)


class LabConnections:
    """Tries connections with real packets."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def connects(self, source: str, destination: str, port: int | None = None) -> bool:
        """Whether the destination answers. Without a port it is a ping."""
        return self.lab.probe(source, destination, port).allowed


@pytest.fixture(scope="session")
def felix_manifests(pytestconfig: pytest.Config) -> list[str]:
    """Paths of manifests; a project may define its own."""
    return _paths(pytestconfig)


@pytest.fixture(scope="session")
def felix_cluster(felix_manifests: list[str]) -> Cluster:
    """The cluster of the manifests."""
    return _load(felix_manifests)


@pytest.fixture(scope="session")
def policy(felix_cluster: Cluster) -> PolicyAnswers:
    """The policies of the cluster; its nodes are compiled once for all tests."""
    from felixpy.policytests import Runner

    return PolicyAnswers(Runner(felix_cluster))


@pytest.fixture(scope="session")
def felix_lab(felix_cluster: Cluster) -> Iterator[LabConnections]:
    """The nodes and pods of the cluster as network namespaces, for real packets; one for each process of xdist.

    Skipped with the reason if the machine does not permit it. The lab is always removed.
    """
    from felixpy.errors import EnvironmentMissing
    from felixpy.lab import Lab, take_down

    name = f"pytest-{os.getpid()}"
    try:
        lab = Lab.up(felix_cluster, name=name)
    except EnvironmentMissing as wrong:
        pytest.skip(f"felix_lab: {wrong}")
    except BaseException:
        take_down(name)
        raise
    try:
        yield LabConnections(lab)
    finally:
        lab.down()
