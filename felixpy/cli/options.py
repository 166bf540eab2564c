"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from felixpy.cli import completing

Paths = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads it at run time
    typer.Argument(metavar="[PATH]...", help="Files or folders of manifests, - for stdin. Default: this folder."),
]
Filenames = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--filename", "-f", metavar="PATH", help="The same as PATH; repeatable."),
]
NodeName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--node",
        metavar="NAME",
        help="The node to compile; optional if the input has only one.",
        autocompletion=completing.nodes,
    ),
]
Strict = Annotated[
    Optional[bool],  # noqa: UP045
    typer.Option(
        "--strict/--no-strict",
        help="Treat missing namespaces as errors; or what an API server would reject (unknown fields) as warnings.",
    ),
]
NoExpand = Annotated[
    bool,
    typer.Option(
        "--no-expand", help="Do not create pods for Deployments and other workloads that have none in the input."
    ),
]
CalicoVersionName = Annotated[
    str,
    typer.Option(
        "--calico-version",
        "--dialect",
        metavar="VERSION",
        help="The Calico version to imitate. Default: the one that the input states, else v3.32.",
        autocompletion=completing.calico_versions,
    ),
]
DataPlaneName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--dataplane",
        metavar="NAME",
        help="iptables or nftables. Default: what the input selects.",
        autocompletion=completing.data_planes,
    ),
]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A Felix parameter, over FELIX_* variables and manifests; repeatable.",
        autocompletion=completing.settings,
    ),
]
Interfaces = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--interface", metavar="NAME=ADDRESS,...", help="A network interface of the node, with its CIDRs; repeatable."
    ),
]
HostFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--host-file", metavar="FILE", help="YAML or JSON with `interfaces:`, name to list of CIDRs."),
]
Live = Annotated[bool, typer.Option("--live", help="Use the interfaces of this machine.")]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        help="The namespace of names without one.",
        autocompletion=completing.namespaces,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no warnings.")]
RunningCluster = Annotated[
    bool,
    typer.Option("--cluster", help="Read the running cluster with kubectl. As a PATH: cluster:CONTEXT."),
]
Context = Annotated[
    str, typer.Option("--context", metavar="NAME", help="The context of the kubeconfig to use; implies --cluster.")
]
Kubeconfig = Annotated[
    str, typer.Option("--kubeconfig", metavar="FILE", help="The kubeconfig file to use; implies --cluster.")
]
RequestTimeout = Annotated[
    float, typer.Option("--request-timeout", metavar="SECONDS", help="Timeout of a request to the API server.", min=0.1)
]

Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", "-j", min=0, metavar="N", help="Processes that share the work; 0 is all cores if that helps."
    ),
]
Scheduler = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--scheduler",
        "--dask",
        metavar="ADDRESS",
        help="Evaluate flows on the workers of a Dask cluster, tcp://HOST:PORT (extra felixpy[dask]).",
    ),
]
