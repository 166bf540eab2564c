"""A saved dump with comments that explain Felix's names, above each line with such names.

Comments begin with "#", so the result can still be restored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from felixpy.decode import Decoder
from felixpy.decode.legend import CHAIN_KINDS, SET_NAME, chain_prefix
from felixpy.decode.meaning import NameMeaning
from felixpy.decode.phrases import rule_words
from felixpy.decode.rules import Found
from felixpy.errors import spell
from felixpy.escape import comment, visible
from felixpy.model import Cluster
from felixpy.names import plain_set_name, split_layer

NAME = re.compile(r'(?<![\w"./-])(cali[-+\w][^\s"]*)')
"""Chains, sets and pods' interfaces; not the hashes in comments."""

IDENTITY = re.compile(r'"cali:([\w-]{16})[";]', re.ASCII)
LISTED_NAME = re.compile(
    r'(?<![\w"./-])(?:(?:raw|mangle|nat|filter)-(?:cali-[^\s"]+|[A-Z]+)|cali[46]0[^\s"]+)|"(cali[^"*:]+\*?)"'
)
"""Names in an nft listing, where chains begin with their layer and only interfaces are in quotes."""

LISTED_TABLE = re.compile(r"table \S+ calico\S* \{")
LISTED_LABEL = re.compile(r"\t(?:chain|set|map) (?P<name>\S+) \{")
LISTED_RULE = re.compile(r'\t\t.* comment "')
LABELS = re.compile(r"^(?:Name: |create |swap |destroy |:|-A |-I |-D |-R |-N )")
TABLE = re.compile(r"^\*(\w+)")
FELIX_RULE = re.compile(
    r'(?:\[\d+:\d+\] )?-A (?P<chain>[^ ]+) (?P<before>.*?)-m comment --comment "cali:(?P<hash>[\w-]{16})"'
    r"(?: (?P<after>.*)|$)",
    re.ASCII,
)
"""A rule of Felix, which is what most lines are."""

WILDCARD = "+"


def commented(lines: Iterable[str], decoder: Decoder) -> Iterator[str]:
    """The lines of an iptables-save, ipset or nft dump, with comments above those with names of Felix.

    A chain is explained at its declaration and above its first rule; the comment of a rule gives the policy rule that
    it was made from, and explains other names in it. Lists of members are copied unchanged. Places are the first lines
    of objects.
    """
    writer = _Writer(decoder)
    for line in lines:
        text = line.rstrip("\r\n")
        comments = writer.comments(text)
        if not text.startswith("\t"):
            yield from comments
            yield visible(text)
            continue
        bare = text.lstrip("\t")
        indent = text[: len(text) - len(bare)]
        yield from (f"{indent}{each}" for each in comments)
        yield indent + visible(bare)


def likely_nodes(text: str, cluster: Cluster) -> list[str]:
    """The node with the most pods in a dump, as a list; all nodes if the dump has no interface of a pod."""
    names = set(re.findall(r"\bcali\w+", text))
    seen = Counter(pod.node for pod in cluster.workloads if pod.interface in names)
    return [seen.most_common(1)[0][0]] if seen else cluster.node_names()


class _Writer:
    """Writes the comments of lines. Explanations of names and rules are cached."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.table = self.chain = self.rule = ""
        self.listed = False
        self._known: dict[tuple[str, str], str] = {}
        self._named: dict[str, list[str]] = {}
        self._rules = {identity: found for index in decoder.indices() for identity, found in index.drawn()}
        self._words: dict[tuple[str, int], str] = {}

    def comments(self, line: str) -> Sequence[str]:
        """The comments above a line."""
        rule = None if self.listed else FELIX_RULE.match(line)
        if rule:
            chain, before, identity, after = rule.groups("")
            words = f"{before}{after}"
            # The first rule of a chain also explains the chain; a chain's own name in its rules needs no explanation.
            if chain == self.chain and chain not in words:
                return [*self._rule(identity), *self._names(words)]
        return list(self._of_any(line))

    def _of_any(self, line: str) -> Iterator[str]:
        if LISTED_TABLE.match(line):
            self.listed = True
            self._named = {}
        elif line.startswith(("table ", "*")):
            self.listed = False
        if self.listed:
            yield from self._listed(line)
            return
        table = TABLE.match(line)
        if table:
            self.table, self.chain, self._named = table[1], "", {}
            return
        if "cali" not in line or not LABELS.match(line[line.startswith("[") and line.find("]") + 2 :]):
            return
        names = list(dict.fromkeys(NAME.findall(line)))
        owner = self._owner(line)
        if owner and owner != self.chain:
            self.chain, self.rule = owner, ""
            if owner in names:
                yield comment(self._explain(owner))
        found = IDENTITY.search(line)
        yield from self._rule(found[1] if found else "")
        yield from (comment(f"  {self._explain(name)}") for name in names if name != owner)

    def _listed(self, line: str) -> Iterator[str]:
        """The comments above a line of a Calico table in an nft listing."""
        label = LISTED_LABEL.match(line)
        if label:
            self.rule = ""
            yield comment(self._explain(label["name"]))
            return
        if not LISTED_RULE.match(line):
            return
        found = IDENTITY.search(line)
        yield from self._rule(found[1] if found else "")
        yield from self._names(line.partition(' comment "')[0])

    def _rule(self, identity: str) -> Sequence[str]:
        """The comment with the policy rule of a rule's hash, unless the previous line has the same."""
        origin = self._rules.get(identity)
        before, self.rule = self.rule, self._drawn(origin) if origin else ""
        return [self.rule] if self.rule not in ("", before) else []

    def _names(self, words: str) -> list[str]:
        """The comments on the names in a rule, each name once."""
        known = self._named.get(words)
        if known is None:
            known = self._named[words] = [comment(f"  {self._explain(name)}") for name in self._names_in(words)]
        return known

    def _names_in(self, words: str) -> Iterable[str]:
        if not self.listed:
            return dict.fromkeys(NAME.findall(words))
        return dict.fromkeys((found[1] or found[0]).replace("*", WILDCARD) for found in LISTED_NAME.finditer(words))

    def _drawn(self, found: Found) -> str:
        """The comment on the policy rule that a rule was made from: its path, and the rule in words."""
        key = found.chain.name, found.number
        if key not in self._words:
            direction = CHAIN_KINDS[chain_prefix(found.chain.name)].direction
            rule = found.chain.origin.rules[found.number]
            self._words[key] = comment(f"  {spell(found.path)}: {rule_words(rule, direction)}")
        return self._words[key]

    def _owner(self, line: str) -> str:
        """The chain of a rule, or the chain that a line declares."""
        at = line.find("-A ")
        if at >= 0:
            return line[at + 3 :].partition(" ")[0]
        return line[1:].partition(" ")[0] if line.startswith(":") else ""

    def _explain(self, name: str) -> str:
        key = (self.table, name)
        if key not in self._known:
            meaning = self._meaning(name)
            place = f" ({meaning.place})" if meaning.place else ""
            hint = f"; {meaning.hint}" if meaning.hint and not meaning.known else ""
            self._known[key] = f"{name}: {meaning.words}{place}{hint}"
        return self._known[key]

    def _meaning(self, name: str) -> NameMeaning:
        if name.endswith(WILDCARD):
            prefix = name[:-1]
            several = "every pod's" if prefix == "cali" else f"pods whose interfaces begin with {prefix}, that is the"
            return NameMeaning(name=name, kind="interface", words=f"{several} interface on the node")
        layer, plain = split_layer(name)
        if layer:
            return self.decoder.chain(plain, layer, full=False) or self.decoder.decode(name)
        name = plain_set_name(name)
        if name.startswith("cali-"):
            found = self.decoder.chain(name, self.table, full=False) or self.decoder.chain(name, full=False)
        elif SET_NAME.fullmatch(name):
            found = self.decoder.set(name, full=False)
        else:
            found = self.decoder.interface(name, full=False)
        return found or self.decoder.decode(name)
