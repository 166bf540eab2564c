"""``felixpy convert``: policies of older kinds as the ones that Felix knows."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from felixpy.cli import invocation, options, progress


def convert(
    paths: options.Paths = None,
    filename: options.Filenames = None,
    everything: Annotated[bool, typer.Option("--all", help="Also print all other objects, unchanged.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Convert AdminNetworkPolicies and BaselineAdminNetworkPolicies to equivalent ClusterNetworkPolicies.

    Calico v3.32 reads ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) only. What cannot be converted is
    reported on stderr and left out of the result; the exit status is then 1.

    \b
    Examples:
      felixpy convert policies/ > cluster-network-policies.yaml
      felixpy convert policies/ --all | felixpy matrix -
      kubectl get anp,banp -o yaml | felixpy convert -
    """
    from felixpy.manifests.objects.conversion import as_yaml
    from felixpy.manifests.objects.conversion import convert as rewrite

    with progress.shown("working"):
        done = rewrite([*(paths or ()), *(filename or ())], everything=everything, stdin=sys.stdin)
    invocation.emit(as_yaml(done.objects))
    for problem in done.losses:
        invocation.tell(f"not carried over: {problem}")
    if not quiet:
        invocation.tell(f"felixpy: {done.converted} polic{'y' if done.converted == 1 else 'ies'} converted")
    if done.losses:
        raise typer.Exit(1)
