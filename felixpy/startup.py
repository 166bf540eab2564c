"""Reasons why Felix does not start on a node: values that it cannot parse, and a mark mask with too few bits.

Felix parses every value of every source, including overridden ones; for some parameters it exits on a value that it
cannot parse, and is restarted forever.
(felix/config/config_params.go: resolve; felix/rules/rule_defs.go: validate)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from felixpy.calico_versions import CalicoVersion
from felixpy.config import Config, Setting, find, parameters
from felixpy.effective import SettingOrigin, origins
from felixpy.errors import Place, Problem
from felixpy.marks import allocate
from felixpy.model import Cluster
from felixpy.parameters import ConfigValueError

HINT = "Felix does not start"


def obstacles(
    cluster: Cluster, node: str, settings: Sequence[Setting], config: Config, calico_version: CalicoVersion
) -> Iterator[Problem]:
    """Why Felix does not start on a node: an error for each reason."""
    given = [*(SettingOrigin(setting, "command line") for setting in settings), *origins(cluster, node)]
    for origin in given:
        row = parameters().get(origin.setting.name.lower())
        if row is None or not origin.setting.value or (origin.source and "local" in row.flags):
            continue
        try:
            row.read(origin.setting.value)
        except ConfigValueError as wrong:
            if wrong.fatal:
                yield _problem(cluster, origin, f'{row.name} "{origin.setting.value}": {wrong}')
    try:
        allocate(config.mark_mask, calico_version.mark_names(wireguard=config.wireguard_v4 or config.wireguard_v6))
    except ValueError as wrong:
        # `config` has the parameters of the data plane: in nftablesMode Enabled it has a separate mask.
        own = config.nftables_mode == "Enabled" and config.mark_mask == config.nftables_mark_mask
        field, name = ("nftables_mark_mask", "NftablesMarkMask") if own else ("mark_mask", "IptablesMarkMask")
        found = (origin for origin in given if origin.setting.value and find(origin.setting) == field)
        yield _problem(cluster, next(found, SettingOrigin(Setting(name, ""))), f"{name} {wrong}")


def _problem(cluster: Cluster, origin: SettingOrigin, reason: str) -> Problem:
    place = cluster.where(origin.source, origin.path) if origin.source else Place(origin.by or "-")
    subject = origin.by if origin.source else ""
    return Problem(place=place, subject=subject, path=origin.path, reason=reason, hint=HINT)
