"""A cluster to read: the stand-in, or with FELIXPY_APISERVER=BINARY the API server of Kubernetes itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from felixpy.kubectl import Kubectl
from tests.cluster import apiserver
from tests.cluster.standin import StandIn, serving, write_kubeconfig
from tests.netns.namespace import in_ci

BINARY = "FELIXPY_APISERVER"


class Objects(Protocol):
    """What a test does to the cluster."""

    def put(self, item: dict[str, Any]) -> None: ...

    def delete(self, item: dict[str, Any]) -> None: ...


class RunningCluster(NamedTuple):
    """A cluster, the kubeconfig of one who may only read it, and felixpy's client."""

    objects: Objects
    kubeconfig: Path
    kubectl: Kubectl


@pytest.fixture(scope="session")
def kubectl_program() -> str:
    """Skip where there is no kubectl, but fail in CI."""
    program = shutil.which("kubectl")
    if not program:
        (pytest.fail if in_ci() else pytest.skip)("kubectl is missing; tools/system.sh kernel installs it")
    return program


@pytest.fixture
def stand_in(kubectl_program: str) -> Iterator[StandIn]:
    with serving(StandIn()) as cluster:
        yield cluster


@pytest.fixture
def kubeconfig(stand_in: StandIn, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path / "kubeconfig", stand_in.address)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.Server | None]:
    """The API server that FELIXPY_APISERVER names, if it names one."""
    binary = os.environ.get(BINARY)
    if not binary:
        yield None
        return
    with apiserver.running(Path(binary), tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest.fixture
def cluster(real: apiserver.Server | None, kubectl_program: str, tmp_path: Path) -> Iterator[RunningCluster]:
    """A cluster with Calico's custom resources, read with no other rights than the documented ClusterRole gives."""
    path = tmp_path / "reader"
    if real:
        for item in apiserver.rights():
            real.put(item)
        write_kubeconfig(path, real.address, token=apiserver.READER, authority=str(real.authority))
        yield RunningCluster(real, path, Kubectl(kubeconfig=str(path)))
        return
    with serving(StandIn("crd.projectcalico.org/v1")) as cluster:
        write_kubeconfig(path, cluster.address)
        yield RunningCluster(cluster, path, Kubectl(kubeconfig=str(path)))
