"""The table of checks. A new one is a row here, a function, and a page in docs/lint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from felixpy.errors import UsageError
from felixpy.linting import exposure, hosts, limits, networks, ports, selection, unreached
from felixpy.linting.finding import Check
from felixpy.linting.typos import near

_TABLE = (
    # --- what selectors and names point to
    Check("FX101", "policy-selects-nothing", "warning",
          "A policy applies to none of the endpoints.", selection.policies_without_endpoints),
    Check("FX102", "peer-selects-nothing", "warning",
          "A rule is about peers that do not exist.", selection.peers_without_endpoints),
    Check("FX103", "port-name-not-declared", "warning",
          "A rule names a port that no selected pod declares.", ports.undeclared_port_names),
    Check("FX104", "port-not-served", "info",
          "A rule allows a port that no selected pod declares.", ports.unserved_ports),
    Check("FX105", "unknown-namespace", "warning",
          "A policy is in a namespace that does not exist.", selection.unknown_namespaces),
    Check("FX106", "unknown-service-account", "warning",
          "A selector names a service account that does not exist.", selection.unknown_accounts),
    Check("FX107", "service-without-endpoints", "warning",
          "A rule refers to a service without EndpointSlices.", selection.services_without_endpoints),
    Check("FX108", "rules-without-policy-type", "warning",
          "A policy has rules of a direction that is not among its types.", selection.rules_without_type),
    Check("FX109", "peers-meant-as-one", "warning",
          "Two peers are alternatives where one peer with both selectors was probably meant.",
          selection.peers_meant_as_one),
    # --- what is open or closed
    Check("FX110", "opens-to-everyone", "warning",
          "An empty selector or list opens a policy to everyone.", exposure.open_to_everyone),
    Check("FX111", "egress-without-dns", "warning",
          "Pods may send, but not to a DNS server.", exposure.egress_without_dns),
    Check("FX112", "not-isolated", "info",
          "No policy isolates a pod.", exposure.unprotected, optional=True),
    Check("FX113", "public-port", "warning",
          "The internet reaches a port that is not meant to be public.", exposure.public_ports, optional=True),
    Check("FX114", "denies-hosts", "warning",
          "A policy that denies everything also applies to host endpoints.", exposure.denied_hosts),
    # --- what decides nothing
    Check("FX120", "not-analysed", "info",
          "Whether rules are reached or redundant was not found out.", unreached.not_analysed),
    Check("FX121", "rule-never-reached", "warning",
          "Earlier rules decide about every packet that a rule matches.", unreached.never_reached),
    Check("FX122", "allow-behind-deny", "warning",
          "A rule allows what is denied before it in the same tier.", unreached.allowed_behind_denial),
    Check("FX123", "redundant-rule", "info",
          "No flow changes without a rule or peer.", unreached.redundant_rules),
    Check("FX124", "redundant-policy", "info",
          "No flow changes without a policy.", unreached.redundant_policies),
    Check("FX125", "order-decided-by-name", "warning",
          "Policies of the same order contradict each other.", unreached.order_decided_by_name),
    Check("FX126", "rule-for-others", "warning",
          "A rule's own side matches none of the pods that the policy applies to.", selection.rules_for_others),
    # --- logging
    Check("FX131", "log-in-hot-path", "warning",
          "A rule logs packets that are then allowed, or every packet.", limits.hot_logs),
    Check("FX132", "policy-of-log-rules", "warning",
          "A policy has rules with action Log only.", limits.only_logs),
    # --- hosts
    Check("FX141", "unknown-node", "warning",
          "A host endpoint is on a node that does not exist.", hosts.unknown_nodes),
    Check("FX142", "not-applied-on-forward", "warning",
          "A policy of host endpoints is about pods, but does not apply to forwarded packets.",
          hosts.not_applied_on_forward),
    Check("FX143", "host-lockout", "error",
          "A node loses SSH, the API server or etcd.", hosts.locked_out),
    Check("FX144", "denied-failsafe-port", "warning",
          "A rule denies a failsafe port, which stays open.", hosts.denied_failsafe_ports),
    # --- networks
    Check("FX151", "host-bits", "warning",
          "A CIDR has host bits set.", networks.host_bits),
    Check("FX152", "overlapping-networks", "warning",
          "A network or exception is listed without effect.", networks.overlaps),
    # --- limits
    Check("FX161", "set-too-large", "error",
          "An IP set has more members than maxIpsetSize.", limits.large_sets),
    Check("FX162", "ports-need-several-rules", "info",
          "A rule has more ports than one iptables rule holds.", limits.split_port_lists),
    Check("FX163", "log-prefix-too-long", "info",
          "A log prefix is longer than the kernel keeps.", limits.long_log_prefixes),
    Check("FX164", "many-chains", "info",
          "The policies of a node take very many chains.", limits.many_chains),
    Check("FX165", "excluded-ports-joined", "warning",
          "Some releases of nft let packets pass that a rule excludes by port.", limits.joined_exclusions),
)  # fmt: skip

CHECKS: Mapping[str, Check] = {check.code: check for check in _TABLE}

EVERYTHING = "ALL"


def choose(select: Iterable[str] = (), extend: Iterable[str] = (), ignore: Iterable[str] = ()) -> list[Check]:
    """The checks to run: by default all that are not optional. Codes may be cut (``FX12``); `ignore` wins.

    Raises UsageError for a text that is not a code or the beginning of one.
    """
    wanted = set(_codes("--select", select)) if select else {code for code, one in CHECKS.items() if not one.optional}
    wanted |= set(_codes("--extend-select", extend))
    wanted -= set(_codes("--ignore", ignore))
    return [check for code, check in CHECKS.items() if code in wanted]


def _codes(option: str, given: Iterable[str]) -> Iterable[str]:
    for text in given:
        for code in filter(None, (part.strip().upper() for part in text.split(","))):
            found = [known for known in CHECKS if code == EVERYTHING or known.startswith(code)]
            if not found:
                likely = near(code, CHECKS)
                hint = f"; did you mean {' or '.join(likely)}?" if likely else f"; there are {', '.join(CHECKS)}"
                raise UsageError(f"{option} {code}: there is no such check{hint}")
            yield from found
