"""The file that describes a node's machine (``--host-file``): ``interfaces:``, name to list of CIDRs."""

from __future__ import annotations

import os
from ipaddress import ip_interface
from typing import Any

from felixpy.errors import InputError, Place, Problem, spell
from felixpy.model import Host
from felixpy.reading import UnreadableFile, read_bytes


def load_host(path: str | os.PathLike[str]) -> Host:
    """Read a host file; keys other than ``interfaces`` are ignored.

    Raises InputError if the file cannot be read or an address is invalid.
    """
    import yaml  # manifests in JSON do without it

    place = Place(os.fspath(path))
    try:
        content = yaml.safe_load(read_bytes(path).decode())
    except UnreadableFile as wrong:
        raise _bad(place, wrong.reason, wrong.hint) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as wrong:
        mark = getattr(wrong, "problem_mark", None)
        at = Place(place.file, mark.line + 1, mark.column + 1) if mark else place
        raise _bad(at, "is neither YAML nor JSON") from None
    interfaces = content.get("interfaces") if isinstance(content, dict) else None
    if not isinstance(interfaces, dict):
        raise _bad(place, "has no mapping `interfaces`", 'write "interfaces: {eth0: [192.0.2.1/24]}"')
    return Host(interfaces={str(name): _addresses(place, str(name), given) for name, given in interfaces.items()})


def _addresses(place: Place, name: str, given: Any) -> tuple[str, ...]:
    if given is not None and not isinstance(given, list):
        raise _bad(place, f"{spell(('interfaces', name))}: a list of addresses is expected")
    addresses = []
    for index, address in enumerate(given or ()):
        try:
            addresses.append(str(ip_interface(address)))
        except ValueError as wrong:
            raise _bad(place, f"{spell(('interfaces', name, index))}: {wrong}") from None
    return tuple(addresses)


def _bad(place: Place, reason: str, hint: str = "") -> InputError:
    return InputError([Problem(place=place, reason=reason, hint=hint)])
