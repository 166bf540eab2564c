"""Ways to spoil a manifest or a dump that keep most of its structure, so that what is spoilt gets deep."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import yaml

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 256, 4095, 65535, 65536, 2**31, 2**32, 2**63, 10**40, 0.5, 1e308, float("nan"),
    "", " ", "0", "-1", "80", "1:2", "0:65535", "65535:1", "null", "~", "[]", "{}", "*", "a", "A", "-", ".", "..",
    "/", "../../x", "/x", "a" * 64, "a" * 254, "x" * 5000, "\n", "a\nb", "\t", "\x00", "\x1b[31m", "\x85", "\u2028",
    "\u202e", "ä", "\U0001f600", "\ud800", "%s", "{{ x }}", "${x}", "$(x)", "`x`", '"', "'", "\\", "#",
    "-A INPUT -j ACCEPT", "0.0.0.0", "0.0.0.0/0", "::", "::/0", "10.0.0.0/33", "10.0.0.256", "1.2.3",
    "::ffff:1.2.3.4", "fe80::1%eth0", "127.0.0.1", "10.0.0.1/8", "2001:db8::/129", "all()", "!all()", "has(a)",
    "a == 'b'", "a == ", "((((", "a in {}", "global()", "!(" * 200, "a == 'b' && " * 300 + "all()", "TCP", "tcp",
    "SCTP", "ICMP", "ICMPv6", "UDPLite", "Allow", "Deny", "Log", "Pass", "allow", "Ingress", "Egress", "default",
    "kube-system", "kns.default", "projectcalico-default-allow", "node1", "IfNotPresent", "Enabled", "1s", "1h",
    "-1s", "0x10000", "0xffffffff", "0xg", "cali", "cali,tap", ",", "eth0", "lo", [], {}, [None], [[]], [{}],
    {"a": None}, {"": ""}, {"a": {"b": {"c": []}}}, [0] * 300, ["a"] * 70, {"matchLabels": {}},
)  # fmt: skip
"""Values that some reader somewhere takes badly."""

WORDS = (
    "", "-", "--", "!", "-j", "-m", "-A", "-s", "-d", "-p", "-i", "-o", "--dport", "--sports", "--mark",
    "--match-set", "src", "dst", "src,dst", "src,src,src,src,src,src,src", "ACCEPT", "DROP", "MARK", "RETURN", "LOG",
    "REJECT", "DNAT", "SNAT", "TEE", "0x0/0x0", "0xfffffffff", "-1", "0", "65536", "1:0", "a", "\"", "'", "\\",
    "\x00", "\x1b[2J", "ä", "tcp", "udp", "icmp", "icmpv6", "255", "256", "0.0.0.0/0", "::/0",
    "10.0.0.1/255.255.0.255", "999.1.1.1", "cali-FORWARD", "cali-INPUT", "INPUT", "conntrack", "--ctstate",
    "NEW,ESTABLISHED", "comment", "--comment", "cali:", "cali:x", "set", "multiport", "limit", "statistic",
    "--probability", "addrtype", "LOCAL", "rpfilter", "bpf", "u32", "hash:net", "hash:ip,port", "list:set",
    "bitmap:port", "family", "inet6", "maxelem", "timeout", "nomatch", "COMMIT", "*filter", "*nat", "*x", ":x",
    "add", "create",
)  # fmt: skip
"""Words that dumps have, at places where they do not belong, and some that they never have."""

FROM_ROOT = re.compile(r"^(-\w|--[\w-]+=)?/+")
"""What makes a word or the value of an option a path from the root of the machine."""

Tree = Any


def paths(tree: Tree, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a document but its root."""
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = []
    for step, value in steps:
        found.append((*path, step))
        found += paths(value, (*path, step))
    return found


def value_at(tree: Tree, path: Sequence[Any]) -> Tree:
    for step in path:
        tree = tree[step]
    return tree


def spoil_text(random: Random, text: str) -> str:
    """Another text with a character or piece less, more or different."""
    at, end = sorted((random.randrange(len(text) + 1), random.randrange(len(text) + 1)))
    return random.choice(
        (
            text[:at] + text[end:],
            text[:at],
            text[:at] + random.choice("\0\n\r\t \x1b\x7f\x85\u2028äß😀'\"\\%{}[]:,-/.!=&|()*") + text[at:],
            text[:at] + text[at:end] * random.randrange(2, 5) + text[end:],
            text.upper(),
            text.swapcase(),
            text[::-1],
            f" {text} ",
            text * random.choice((2, 20, 100)),
        )
    )


def spoil_document(random: Random, document: Tree, others: Sequence[Tree]) -> Tree:
    """A document with one thing changed in its tree."""
    places = paths(document)
    if not places:
        return random.choice(ODD)
    path = random.choice(places)
    parent, step = value_at(document, path[:-1]), path[-1]
    value = parent[step]
    changes: tuple[Callable[[], Any], ...] = (
        lambda: copy.deepcopy(random.choice(ODD)),
        lambda: _like(random, value),
        lambda: _like(random, value),
        lambda: _cut_from(random, others),
        lambda: _cut_from(random, others),
        lambda: [value],
        lambda: {"a": value},
        lambda: str(value),
        lambda: [*value, *copy.deepcopy(value)] if isinstance(value, list) else [value] * 20,
    )
    change = random.randrange(len(changes) + 3)
    if change < len(changes):
        parent[step] = changes[change]()
    elif change == len(changes):
        parent.pop(step)
    elif isinstance(parent, dict):
        parent[spoil_text(random, str(step))] = parent.pop(step)
    else:
        parent.insert(step, copy.deepcopy(value))
    return document


def _like(random: Random, value: Tree) -> Tree:
    """A value of the same type."""
    if isinstance(value, str):
        return spoil_text(random, value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + random.choice((-1, 1, -value, 65536, -2 * value, 2**32))
    return random.choice(ODD)


def _cut_from(random: Random, others: Sequence[Tree]) -> Tree:
    """A piece of another document."""
    other = random.choice(others)
    found = paths(other)
    return copy.deepcopy(value_at(other, random.choice(found))) if found else None


def spoil_documents(random: Random, documents: Sequence[Tree], others: Sequence[Tree]) -> list[Tree]:
    """A file with one to five things changed."""
    made = copy.deepcopy(list(documents))
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
        at = random.randrange(len(made)) if made else 0
        change = random.randrange(20)
        if not made or change == 0:
            made.insert(at, copy.deepcopy(random.choice(others)))
        elif change == 1:
            made.pop(at)
        elif change == 2:
            made.append(copy.deepcopy(made[at]))
        else:
            made[at] = spoil_document(random, made[at], others)
    return made


def spoil_bytes(random: Random, text: str) -> bytes:
    """A text with some bytes gone, doubled or different."""
    made = bytearray(text.encode(errors="surrogatepass"))
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(made) + 1)
        change = random.randrange(4)
        if change == 0:
            del made[at : at + random.choice((1, 1, 10, 1000))]
        elif change == 1:
            made[at:at] = random.randbytes(random.choice((1, 2, 5)))
        elif change == 2:
            made[at:at] = made[at : at + random.choice((1, 20, 500))]
        else:
            made[at:] = b""
    return bytes(made)


def written(random: Random, documents: Sequence[Tree]) -> bytes:
    """Documents as a file of YAML or JSON, sometimes spoilt as a text as well."""
    try:
        if random.random() < 0.5:
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}, default=str)
        else:
            text = yaml.dump_all(documents, Dumper=yaml.CSafeDumper, allow_unicode=True)
    except (UnicodeEncodeError, ValueError):
        text = json.dumps(documents, default=str)
    return spoil_bytes(random, text) if random.random() < 0.1 else text.encode(errors="replace")


def spoil_dump(random: Random, text: str, other: str) -> bytes:
    """What iptables-save or ipset save printed, with lines or words gone, doubled, moved or different."""
    lines = text.splitlines()
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        if not lines:
            break
        at = random.randrange(len(lines))
        random.choice(
            (
                lambda at=at: lines.pop(at),
                lambda at=at: lines.insert(random.randrange(len(lines) + 1), lines[at]),
                lambda at=at: lines.insert(random.randrange(len(lines)), lines.pop(at)),
                lambda at=at: lines.insert(at, random.choice(other.splitlines() or [""])),
                lambda at=at: lines.__setitem__(at, spoil_text(random, lines[at])),
                *(lambda at=at: lines.__setitem__(at, _spoil_words(random, lines[at])),) * 6,
                lambda at=at: lines.__setitem__(slice(at, at + random.choice((2, 20, 500))), []),
            )
        )()
    whole = "\n".join(lines) + random.choice(("\n", "\n", "\n", ""))
    return spoil_bytes(random, whole) if random.random() < 0.1 else whole.encode(errors="replace")


def _spoil_words(random: Random, line: str) -> str:
    words = line.split(" ")
    at = random.randrange(len(words))
    changes: tuple[Callable[[], object], ...] = (
        lambda: words.pop(at),
        lambda: words.insert(at, random.choice(WORDS)),
        lambda: words.__setitem__(at, random.choice(WORDS)),
        lambda: words.__setitem__(at, spoil_text(random, words[at])),
        lambda: words.insert(at, words[random.randrange(len(words))]),
        lambda: words.__setitem__(slice(at, None), []),
    )
    random.choice(changes)()
    return " ".join(words)


def spoil_command(random: Random, words: Sequence[str]) -> list[str]:
    """A command line with a word that is odd, gone or doubled; all paths lie in the folder of the input."""
    made = list(words)
    at = random.randrange(1, len(made))
    odd = [word for word in ODD if isinstance(word, str) and "\0" not in word and len(word) < 1000]
    change = random.randrange(4)
    if change == 0:
        made.pop(at)
    elif change == 1:
        made.insert(at, random.choice(odd))
    elif change == 2:
        made[at] = random.choice(odd)
    else:
        made[at] = spoil_text(random, made[at]).replace("\0", "")
    return ["x" if ".." in word else FROM_ROOT.sub(r"\1", word) for word in made]
