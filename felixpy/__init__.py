"""felixpy compiles Kubernetes and Calico policies into the iptables or nftables rules that Calico's Felix programs.

Data flows in one line, and the import graph follows it:

    manifests → model → resolution → chain plans → text → kernel

    cluster = felixpy.load(["manifests/"])            # files → frozen nouns (felixpy.model)
    ruleset = felixpy.compile(cluster, node="node1")  # pure: no files, no clock, no kernel
    print(ruleset.save(4))                            # what iptables-save prints on that node
    felixpy.trace(cluster, "shop/web", "shop/db:5432")  # and matrix, diff, verify, lint: see `felixpy.api`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from felixpy.api import Connections, diff, lint, matrix, trace, verify
    from felixpy.calico_versions import CALICO_VERSIONS, CalicoVersion
    from felixpy.compiler import compile
    from felixpy.config import Setting
    from felixpy.errors import (
        EnvironmentMissing,
        FelixpyError,
        InputError,
        KernelRefused,
        Place,
        Problem,
        UsageError,
    )
    from felixpy.live import Change, Live, RulesetChange
    from felixpy.manifests import load
    from felixpy.model import Cluster, Host
    from felixpy.ruleset import Ruleset

__version__ = "0.2.0.dev0"

CALICO_VERSION = "v3.32.1"
"""The release of Calico whose Felix is imitated."""

_HOMES = {
    "Connections": "api",
    "diff": "api",
    "lint": "api",
    "matrix": "api",
    "trace": "api",
    "verify": "api",
    "compile": "compiler",
    "Setting": "config",
    "CALICO_VERSIONS": "calico_versions",
    "CalicoVersion": "calico_versions",
    "EnvironmentMissing": "errors",
    "FelixpyError": "errors",
    "InputError": "errors",
    "KernelRefused": "errors",
    "Place": "errors",
    "Problem": "errors",
    "UsageError": "errors",
    "load": "manifests",
    "Change": "live",
    "Live": "live",
    "RulesetChange": "live",
    "Cluster": "model",
    "Host": "model",
    "Ruleset": "ruleset",
}
"""The module of each public name. No module or package of felixpy has the name of a function, which would hide it."""

__all__ = [
    "CALICO_VERSION",
    "CALICO_VERSIONS",
    "CalicoVersion",
    "Change",
    "Cluster",
    "Connections",
    "EnvironmentMissing",
    "FelixpyError",
    "Host",
    "InputError",
    "KernelRefused",
    "Live",
    "Place",
    "Problem",
    "Ruleset",
    "RulesetChange",
    "Setting",
    "UsageError",
    "__version__",
    "compile",
    "diff",
    "lint",
    "load",
    "matrix",
    "trace",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, which keeps ``felixpy --help`` fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"felixpy.{_HOMES[name]}"), name)
