"""Differences in IP sets: missing and stale ones, those of another type, and their members."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from felixpy.dataplane.current import SetState
from felixpy.errors import many
from felixpy.netfilter.rules import SavedSet
from felixpy.verification.baseline import Damage
from felixpy.verification.chains import Draft
from felixpy.verification.finding import KINDS, Finding


def compare_sets(
    wanted: Mapping[str, SetState],
    there: Mapping[str, SetState],
    saved: Mapping[str, SavedSet],
    right: Callable[[], Mapping[str, SavedSet]],
    unsure: Iterable[str] = (),
) -> Iterator[Draft]:
    """The differences in Felix's sets. The members of those in `unsure` are unknown.

    `saved` are the current sets as walked, `right` returns the wanted ones; it is called only if something differs.
    """
    for name in sorted(wanted.keys() - there.keys()):
        ipset = wanted[name]
        empty = right()[name]._replace(members=())
        finding = replace(_finding("set-missing", ipset), wanted=_described(ipset))
        yield Draft(finding, Damage(ipset.family, sets={name: empty}))
    for name in sorted(wanted.keys() & there.keys()):
        yield from _compare(wanted[name], there[name], saved.get(name), right, check=name not in unsure)
    for name in sorted(there.keys() - wanted.keys()):
        finding = replace(_finding("set-stale", there[name]), there=_described(there[name]))
        yield Draft(finding, Damage(there[name].family))


def _finding(kind: str, ipset: SetState) -> Finding:
    return Finding(kind=KINDS[kind], families=(ipset.family,), set=ipset.name)


def _described(ipset: SetState) -> str:
    return f"{_kind(ipset)}, {many(len(ipset.members), 'member')}"


def _kind(ipset: SetState) -> str:
    more = "" if ipset.plain else ", and options that Felix does not set"
    if not ipset.max_size:  # of nftables
        return f"{ipset.type}{more}"
    family = "inet6" if ipset.family == 6 else "inet"
    return f"{ipset.type} family {family} maxelem {ipset.max_size}{more}"


def _compare(
    wanted: SetState,
    there: SetState,
    saved: SavedSet | None,
    all_right: Callable[[], Mapping[str, SavedSet]],
    *,
    check: bool,
) -> Iterator[Draft]:
    if wanted == there:
        return
    right = all_right()[wanted.name]
    if (wanted.type, wanted.family) != (there.type, there.family):
        finding = replace(_finding("set-type", wanted), wanted=_kind(wanted), there=_kind(there))
        unread = right._replace(type=there.type, members=())
        yield Draft(finding, Damage(wanted.family, sets={wanted.name: saved or unread}))
        return
    if wanted.max_size != there.max_size or not there.plain:
        finding = replace(_finding("set-options", wanted), wanted=_kind(wanted), there=_kind(there))
        same = (saved or right)._replace(members=tuple(sorted(wanted.members)))
        yield Draft(finding, Damage(wanted.family, sets={wanted.name: same}))
    if not check:
        return
    members = frozenset(map(_bare, there.members))
    missing, extra = wanted.members - members, members - wanted.members
    for kind, names, left in (
        ("member-missing", missing, wanted.members & members),
        ("member-extra", extra, wanted.members | extra),
    ):
        if names:
            only = right._replace(members=tuple(sorted(left)))
            finding = replace(_finding(kind, wanted), details=tuple(sorted(names)))
            yield Draft(finding, Damage(wanted.family, sets={wanted.name: only}))


def _bare(member: str) -> str:
    """A member without counters, comments and the like, but with ``nomatch``.

    >>> _bare("10.1.1.1 packets 0 bytes 0"), _bare("10.0.0.0/8 nomatch")
    ('10.1.1.1', '10.0.0.0/8 nomatch')
    """
    text, *extensions = member.split(" ")
    return f"{text} nomatch" if "nomatch" in extensions else text
