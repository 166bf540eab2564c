"""Converts the output of ``nft -j list ruleset`` to the text that ``nft list ruleset`` prints. (libnftables-json(5))

A statement or expression without a row below becomes a word that the parser reports as not understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from felixpy.errors import InputError, Place, Problem

Json = Any

UNSIGNED = 0xFFFFFFFF
"""nft prints 32-bit counts as signed numbers; this mask makes them unsigned."""


def looks_like_json(text: str) -> bool:
    """Return whether a text is a JSON listing.

    >>> looks_like_json('{"nftables": []}'), looks_like_json("table ip calico {")
    (True, False)
    """
    head = text.lstrip()[:200]
    return head.startswith("{") and '"nftables"' in head


def as_text(text: str, file: str) -> str:
    """Return a JSON listing as text. Raises InputError for invalid JSON, or JSON that is not a listing."""
    try:
        objects = json.loads(text)["nftables"]
        return "".join(f"{line}\n" for line in _tables([dict(each) for each in objects]))
    except (ValueError, KeyError, TypeError, IndexError) as wrong:
        problem = Problem(place=Place(file), reason=f"not what nft -j list ruleset prints: {wrong!r}"[:200])
        raise InputError([problem]) from wrong


def _tables(objects: Iterable[dict[str, Json]]) -> Iterator[str]:
    found: dict[tuple[str, str], dict[str, list[Json]]] = {}
    for each in objects:
        for kind, value in each.items():
            if kind == "table":
                found.setdefault((value["family"], value["name"]), {})
            elif kind in ("chain", "rule", "set", "map"):
                found.setdefault((value["family"], value["table"]), {}).setdefault(kind, []).append(value)
    for (family, name), kinds in found.items():
        yield f"table {family} {name} {{"
        for kind in ("set", "map"):
            for one in kinds.get(kind, ()):
                yield from _set(kind, one)
        rules: dict[str, list[Json]] = {}
        for rule in kinds.get("rule", ()):
            rules.setdefault(rule["chain"], []).append(rule)
        for chain in kinds.get("chain", ()):
            yield f"\tchain {chain['name']} {{"
            if "hook" in chain:
                place = f"type {chain['type']} hook {chain['hook']} priority {_priority(chain)}"
                yield f"\t\t{place}; policy {chain.get('policy', 'accept')};"
            yield from (f"\t\t{_rule(rule)}" for rule in rules.get(chain["name"], ()))
            yield "\t}"
        yield "}"


PRIORITIES: Mapping[tuple[str, int], str] = {
    **{(hook, -300): "raw" for hook in ("prerouting", "output")},
    **{(hook, -150): "mangle" for hook in ("prerouting", "input", "forward", "output", "postrouting")},
    **{(hook, 0): "filter" for hook in ("prerouting", "input", "forward", "output", "postrouting")},
    ("prerouting", -100): "dstnat",
    ("postrouting", 110): "srcnat + 10",
}
"""The names under which nft lists the priorities of Felix's base chains."""


def _priority(chain: Json) -> str:
    return PRIORITIES.get((chain["hook"], chain["prio"]), str(chain["prio"]))


def _set(kind: str, one: Json) -> Iterator[str]:
    yield f"\t{kind} {one['name']} {{"
    types = one["type"] if isinstance(one["type"], list) else [one["type"]]
    yield f"\t\ttype {' . '.join(types)}" + (f" : {one['map']}" if kind == "map" else "")
    if "flags" in one:
        flags = one["flags"] if isinstance(one["flags"], list) else [one["flags"]]
        yield f"\t\tflags {','.join(flags)}"
    elements = [_element(each) for each in one.get("elem", ())]
    if elements:
        yield f"\t\telements = {{ {', '.join(elements)} }}"
    yield "\t}"


def _element(element: Json) -> str:
    if isinstance(element, list):
        key, verdict = element
        name = f'"{key}"' if isinstance(key, str) and not _ADDRESS.fullmatch(key) else _value(_bare(key))
        return f"{name} : {_statement(verdict)}"
    return _value(_bare(element))


_ADDRESS = re.compile(r"[0-9.]+|[0-9a-f:.]*:[0-9a-f:.]*")


def _bare(element: Json) -> Json:
    """Return an element without timeout, counter and comment."""
    return element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element


def _rule(rule: Json) -> str:
    words = [_statement(each) for each in rule.get("expr", ())]
    if "comment" in rule:
        words.append(f'comment "{rule["comment"]}"')
    return " ".join(words)


def _statement(statement: Mapping[str, Json]) -> str:
    ((name, value),) = statement.items()
    row = STATEMENTS.get(name)
    try:
        return row(value) if row else f"?{name}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"?{name}"


# --- expressions

_BARE = {"iifname", "oifname", "iif", "oif"}


def _key(key: Json) -> str:
    ((kind, value),) = key.items()
    if kind == "meta":
        word: str = value["key"]
        return word if word in _BARE else f"meta {word}"
    if kind == "ct":
        return f"ct {value['key']}"
    if kind == "payload":
        return f"{value['protocol']} {value['field']}"
    if kind == "concat":
        return " . ".join(map(_key, value))
    if kind == "fib":
        flags = value["flags"] if isinstance(value["flags"], list) else [value["flags"]]
        return f"fib {' . '.join(flags)} {value['result']}"
    if kind == "&":
        return f"{_key(value[0])} & {value[1]:#010x}"
    if kind == "tcp option":
        return f"tcp option {value['name']} {value['field']}"
    if kind == "rt":
        return f"rt {value['key']}"
    if kind == "numgen" and not value.get("offset"):
        return f"numgen {value['mode']} mod {value['mod']}"
    return f"?{kind}"


def _value(value: Json, *, hexadecimal: bool = False) -> str:
    if isinstance(value, bool) or value is None:
        return f"?{value}"
    if isinstance(value, int):
        return f"{value:#010x}" if hexadecimal else str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(map(_value, value))
    ((kind, inner),) = value.items()
    if kind == "prefix":
        return f"{_value(inner['addr'], hexadecimal=hexadecimal)}/{inner['len']}"
    if kind == "range":
        return "-".join(map(_value, inner))
    if kind == "set":
        return f"{{ {', '.join(_element(each) if _is_pair(each) else _value(each) for each in inner)} }}"
    if kind == "concat":
        return " . ".join(map(_value, inner))
    return f"?{kind}"


def _is_pair(element: Json) -> bool:
    """Return whether an element is a pair of key and verdict."""
    return isinstance(element, list) and len(element) == 2 and isinstance(element[1], dict) and not _values(element[1])


def _values(element: Json) -> bool:
    return bool(element.keys() & {"prefix", "range", "concat"})


def _noted(change: Json) -> str:
    """Return a statement that adds an element to a set, or updates or deletes it."""
    return f"{change['op']} {change['set']} {{ {_key(_bare(change['elem']))} }}"


def _match(match: Json) -> str:
    left, right = match["left"], match["right"]
    if "&" in left and isinstance(left["&"][1], list):
        return f"{_key(left['&'][0])} {_operator(match)}{_value(right)} / {_value(left['&'][1])}"
    key = _key(left)
    value = _value(right, hexadecimal="mark" in key.split())
    if key in _BARE:
        names = right["set"] if isinstance(right, dict) and "set" in right else [right]
        value = ", ".join(f'"{_value(name)}"' for name in names)
        value = value if names == [right] else f"{{ {value} }}"
    elif right is False:  # a missing route
        value = "missing"
    operator = "== " if match["op"] == "==" and "&" in left else _operator(match)
    return f"{key} {operator}{value}"


def _operator(match: Json) -> str:
    return "" if match["op"] in ("==", "in") else f"{match['op']} "


def _mangle(mangle: Json) -> str:
    key = _key(mangle["key"])
    if key.endswith(" dscp") and isinstance(mangle["value"], int):
        return f"{key} set 0x{mangle['value']:02x}"
    return f"{key} set {_mangled(mangle['value'], hexadecimal=key == 'meta mark')}"


def _mangled(value: Json, *, hexadecimal: bool) -> str:
    if isinstance(value, dict):
        ((sign, inner),) = value.items()
        if sign in ("&", "|", "^"):
            return f" {sign} ".join(_mangled(each, hexadecimal=hexadecimal) for each in inner)
        return _key(value)
    return _value(value, hexadecimal=hexadecimal)


def _counter(counter: Json) -> str:
    return f"counter packets {counter['packets']} bytes {counter['bytes']}" if isinstance(counter, dict) else "counter"


def _limit(limit: Json) -> str:
    if "rate_unit" in limit:
        return "?limit of bytes"
    over = "over " if limit.get("inv") else ""
    burst = limit.get("burst", 5)
    return f"limit rate {over}{limit['rate']}/{limit['per']}" + (f" burst {burst} packets" if burst != 5 else "")


def _log(log: Json) -> str:
    words = [f'prefix "{log["prefix"]}"'] if log and "prefix" in log else []
    words += [f"{key} {log[key]}" for key in ("group", "snaplen", "level") if log and key in log]
    return " ".join(["log", *words])


def _reject(reject: Json) -> str:
    if not reject or reject.get("expr") == "port-unreachable":
        return "reject"
    return f"reject with {reject['type']}" + (f" {reject['expr']}" if "expr" in reject else "")


def _nat(word: str) -> Callable[[Json], str]:
    def spell(nat: Json) -> str:
        given = nat or {}
        place = _value(given["addr"]) if "addr" in given else ""
        if ":" in place and "port" in given:
            place = f"[{place}]"
        if "port" in given:
            place += f":{_value(given['port'])}"
        flags = given.get("flags", [])
        flags = flags if isinstance(flags, list) else [flags]
        family = [given["family"]] if "family" in given else []
        return " ".join([word, *family, *(["to", place] if place else []), *flags])

    return spell


def _lookup(vmap: Json) -> str:
    return f"{_key(vmap['key'])} vmap {_value(vmap['data'])}"


STATEMENTS: Mapping[str, Callable[[Json], str]] = {
    "match": _match,
    "mangle": _mangle,
    "counter": _counter,
    "limit": _limit,
    "log": _log,
    "reject": _reject,
    "set": _noted,
    "redirect": _nat("redirect"),
    "vmap": _lookup,
    "ct count": lambda count: f"ct count {'over ' if count.get('inv') else ''}{count['val'] & UNSIGNED}",
    "jump": lambda jump: f"jump {jump['target']}",
    "goto": lambda jump: f"goto {jump['target']}",
    "masquerade": _nat("masquerade"),
    "snat": _nat("snat"),
    "dnat": _nat("dnat"),
    "accept": lambda nothing: "accept",
    "drop": lambda nothing: "drop",
    "return": lambda nothing: "return",
    "continue": lambda nothing: "continue",
    "notrack": lambda nothing: "notrack",
}
"""By the name of the statement."""
