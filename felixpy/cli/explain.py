"""``felixpy explain``: what a pod, host endpoint, policy or tier is to Felix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from felixpy.cli import completing, invocation
from felixpy.cli.given import Given, takes_manifests
from felixpy.cli.render import Output
from felixpy.errors import UsageError

if TYPE_CHECKING:
    from felixpy.explain import EndpointExplanation, Explainer, PolicyExplanation, TierExplanation

HOSTS = ("hostendpoint", "hep")
TIERS = ("tier",)


@takes_manifests()
def explain(
    given: Given,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="pod, deployment …, hep, policy, netpol, gnp, cnp …, or tier.",
            autocompletion=completing.kinds,
        ),
    ],
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAMESPACE/]NAME",
            help="The name.",
            autocompletion=completing.explained,
        ),
    ],
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace",
            "-n",
            help="The namespace of names without one.",
            autocompletion=completing.namespaces,
        ),
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show whole lists.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Text or JSON.")] = Output.text,
) -> None:
    """Describe what applies to a pod or host endpoint, or what a policy or tier does.

    For a pod: tiers, policies and profiles in order, for ingress and egress, and the policies whose rules match it.
    For a policy: the endpoints it selects, its rules and the endpoints these match now, its chains and sets, remarks.

    \b
    Examples:
      felixpy explain pod shop/db-0 shop/
      felixpy explain deployment shop/web -f shop/
      felixpy explain netpol shop/db shop/          either kind of NetworkPolicy
      felixpy explain policy gnp/default-deny shop/ -v
      felixpy explain tier security shop/
      felixpy explain pod shop/db-0 shop/ --dataplane nftables      names as nft lists them
      felixpy explain hep node1-eth0 shop/ --interface eth0=192.0.2.1/24
    """
    from felixpy.cli.screen import page
    from felixpy.explain import Explainer
    from felixpy.explain.report import document, text

    found = _found(Explainer(given.nodes(), namespace=namespace), kind, name)
    if output is Output.json:
        invocation.emit_json(document(found))
    else:
        invocation.emit(page(text(found, verbose=verbose)))


def _found(explainer: Explainer, kind: str, name: str) -> EndpointExplanation | PolicyExplanation | TierExplanation:
    from felixpy.explain.naming import POLICY_KINDS, meant_kind, singular
    from felixpy.topology.endpoints import MAKERS, SHORT

    word = singular(kind)
    maker = SHORT.get(word, word)
    if maker in MAKERS:
        if maker == "pod":
            return explainer.pod(name)
        space, slash, workload = name.rpartition("/")
        return explainer.pod(f"{space}{slash}{maker}/{workload}")
    if word in HOSTS:
        return explainer.host(name)
    if word in TIERS:
        return explainer.tier(name)
    if word in POLICY_KINDS:
        return explainer.policy(name, POLICY_KINDS[word])
    raise UsageError(f"{kind} is not a kind that can be explained{meant_kind(kind, [*MAKERS, *HOSTS, *TIERS])}")
