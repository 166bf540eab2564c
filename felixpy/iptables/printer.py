"""Felix's spelling of a rule → the spelling in which iptables-save prints it.

The kernel's tools put the core options first (-s -d -i -o -p), keep the matches in their order, shorten option names,
spell marks as xmarks and numbers as names. Both backends print the same text for everything that Felix writes
(iptables 1.8.9).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from felixpy.iptables.fields import OptionField, shown_comment
from felixpy.iptables.matches import CORE, MATCHES
from felixpy.iptables.reader import read_felix
from felixpy.iptables.targets import TARGETS
from felixpy.iptables.words import quoted
from felixpy.netfilter.rules import Body, Match, Option
from felixpy.remembered import remembered


class PrintedRule(NamedTuple):
    """A rule as printed: the core options that come before the hash comment and everything after it."""

    core: str
    rest: str


_CORE_ORDER = ("-s", "-d", "-i", "-o", "-p")

_COMMENTS = re.compile(r'(?:-m comment --comment "[^"]*"(?: |$))+')
_TEXT = re.compile(r'"([^"]*)"')
_SET_NAME = re.compile(r"(?<=--match-set )\S+")
_INTERFACE_NAME = re.compile(r"(?<=--in-interface )\S+|(?<=--out-interface )\S+")
_ANY = "%"
_WAYS = ((" --jump cali-", "-j cali-"), (" --goto cali-", "-g cali-"))


@remembered(1 << 16)
def saved(body: str, family: int) -> PrintedRule:
    """What iptables-save prints for a rule, given without its chain and hash comment.

    >>> saved("--in-interface cali+ -m mark --mark 0/0x30000 --jump cali-tgt", 4)
    PrintedRule(core='-i cali+ ', rest='-m mark --mark 0x0/0x30000 -j cali-tgt')

    A rule that no kernel accepts, such as one with a rate of 0 or a quote in its log prefix, is never printed by
    iptables-save; one that cannot be parsed is returned unchanged.
    """
    lead = _COMMENTS.match(body)
    if not lead:
        return _bare(body, family) or PrintedRule("", body)
    found = _bare(body[lead.end() :], family)
    if not found:
        return PrintedRule("", body)
    comments = [f"-m comment --comment {shown_comment((text,), family)}" for text in _TEXT.findall(lead[0])]
    return PrintedRule(found.core, " ".join([*comments, found.rest] if found.rest else comments))


def _bare(body: str, family: int) -> PrintedRule | None:
    """A rule without the comments at its beginning, None if it cannot be printed."""
    # Chains, sets and interfaces have many names, but they occur in few different rules.
    matches, way, chain = _parted(body)
    sets = () if '"' in matches else _SET_NAME.findall(matches)
    interfaces = () if '"' in matches else _INTERFACE_NAME.findall(matches)
    nameless = _SET_NAME.sub(_ANY, matches) if sets else matches
    if len(interfaces) == 1:
        nameless = _INTERFACE_NAME.sub(_ANY, nameless)
    found = _printed(nameless, family)
    if found is None:
        return None
    core, rest = found
    for name in sets:
        rest = rest.replace(_ANY, name, 1)
    if len(interfaces) == 1:
        core = core.replace(_ANY, interfaces[0], 1)
    if not way:
        return PrintedRule(core, rest)
    return PrintedRule(core, f"{rest} {way}{chain}" if rest else f"{way}{chain}")


def _parted(body: str) -> tuple[str, str, str]:
    """The text before a jump to a chain of Felix, the jump as printed, and the rest of the chain's name."""
    for words, way in _WAYS:
        matches, found, chain = body.rpartition(words)
        if found and " " not in chain and '"' not in chain:  # such words may occur in a comment, too
            return matches, way, chain
    return body, "", ""


@remembered(1 << 17)
def _printed(body: str, family: int) -> PrintedRule | None:
    try:
        read = read_felix(body, family)
        return None if _has_stray_words(read) else printed(read)
    except (IndexError, ValueError, ZeroDivisionError):
        return None


def _has_stray_words(body: Body) -> bool:
    """Whether there are words that belong to no option, as after a log prefix with a quote in it."""
    matched = (option for match in body.matches for option in match.options)
    return any(not option.name.startswith("-") for option in (*matched, *body.arguments))


def printed(body: Body) -> PrintedRule:
    """A rule as iptables-save prints it. Raises ValueError or ZeroDivisionError for values that no kernel accepts."""
    parts: list[str] = []
    for match in body.matches:
        if match.module not in CORE:
            parts.append(f"-m {match.module}")
            row = MATCHES.get(match.module)
            parts.extend(_options(row.options if row else {}, match.options, body.family))
    if body.target:
        target = TARGETS.get(body.target)
        parts.append(f"{'-g' if body.goto else '-j'} {body.target}")
        parts.extend(_options(target.options if target else {}, body.arguments, body.family))
        if body.target == "REJECT" and not body.arguments:
            parts.append(f"--reject-with icmp{'6' if body.family == 6 else ''}-port-unreachable")
    return PrintedRule("".join(f"{text} " for text in _core(body.matches, body.family)), " ".join(parts))


def _core(matches: Sequence[Match], family: int) -> Iterator[str]:
    """Core options in the order of the tools, without those that match every packet.

    A repeated option, which no kernel accepts, is printed each time.
    """
    for name in _CORE_ORDER:
        for match in matches:
            if match.module == name:
                option = match.options[0]
                text = CORE[name].shown(option.values, family)
                everywhere = text.endswith("/0") if name in ("-s", "-d") else name == "-p" and text == "0"
                if option.negated or not everywhere:
                    yield f"! {name} {text}" if option.negated else f"{name} {text}"


def _options(fields: object, options: Sequence[Option], family: int) -> list[str]:
    rows: list[tuple[int, str]] = []
    for option in options:
        field = fields.get(option.name) if isinstance(fields, dict) else None
        if field is None:
            rows.append((0, _written(option)))
        elif field.prints_default or option.values not in field.hidden:
            rows.append((field.order, _shown(field, option, family)))
    return [text for _, text in sorted(rows, key=lambda row: row[0])]


def _shown(field: OptionField, option: Option, family: int) -> str:
    negation = "! " if option.negated else ""
    name = SHOWN_NAMES.get(field.name, field.name)
    values = f" {field.shown(option.values, family)}" if field.words else ""
    return f"{negation}{name}{values}{field.more}"


SHOWN_NAMES = {"--set-mark": "--set-xmark"}


def _written(option: Option) -> str:
    words = [option.name, *map(quoted_if_needed, option.values)]
    return " ".join(["!", *words] if option.negated else words)


def quoted_if_needed(value: str) -> str:
    """A value of an unknown option: in quotes if it contains a space."""
    return quoted(value) if " " in value or not value else value


_ADDRESS_LIST = re.compile(r"(--source|--destination) (\S+,\S+)")


def kernel_rules(body: str) -> tuple[str, ...]:
    """The rules that iptables makes of one that begins with a list of addresses: one for each address.

    >>> kernel_rules("--source 10.0.0.1,10.0.0.2 --jump ACCEPT")
    ('--source 10.0.0.1 --jump ACCEPT', '--source 10.0.0.2 --jump ACCEPT')
    """
    found = _ADDRESS_LIST.match(body) if "," in body else None
    if not found:
        return (body,)
    return tuple(f"{body[: found.start(2)]}{address}{body[found.end(2) :]}" for address in found[2].split(","))
