"""Damage to Felix's rules and sets: a table with the input of iptables-restore, ipset and nft for each kind."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from felixpy.kernel import Done, Kernel
from tests.netns.packets import PORTS

FOREIGN_TABLE = "a foreign table"
DORMANT_TABLE = "a dormant table"


class There(NamedTuple):
    """The state before the damage: IPv4 rules by chain of table filter, sets and their members."""

    lot: random.Random
    rules: dict[str, list[str]]
    sets: list[str]
    members: list[str]

    def chain(self) -> str:
        return self.lot.choice([name for name in self.rules if name.startswith("cali-")])

    def rule(self) -> tuple[str, int, str]:
        """Chain, number and text of a rule of Felix."""
        chain = self.lot.choice([name for name, rules in self.rules.items() if name.startswith("cali-") and rules])
        number = self.lot.randrange(len(self.rules[chain]))
        return chain, number + 1, self.rules[chain][number]

    def address(self) -> str:
        return f"10.65.0.{self.lot.choice([2, 3, 4])}"

    def verdict(self) -> str:
        return f"-p udp -m udp --dport {self.lot.choice(PORTS)} -j {self.lot.choice(['ACCEPT', 'DROP'])}"

    def same_hash(self) -> str:
        """A command that replaces a rule, but keeps its hash."""
        chain, number, text = self.rule()
        hash_comment = re.search(r'-m comment --comment "cali:[^"]*"', text)
        assert hash_comment
        return f"-R {chain} {number} {hash_comment[0]} {self.verdict()}"


class Listed(NamedTuple):
    """The state of table ``ip calico`` before the damage: rules of layer filter with handles, sets, elements."""

    lot: random.Random
    rules: dict[str, list[tuple[int, str]]]
    sets: dict[str, list[str]]
    pods: dict[str, list[str]]

    def chain(self) -> str:
        return self.lot.choice([name for name in self.rules if "-cali-" in name])

    def rule(self) -> tuple[str, int, str]:
        """Chain, handle and text of a rule of Felix."""
        name = self.lot.choice([name for name, rules in self.rules.items() if "-cali-" in name and rules])
        return name, *self.lot.choice(self.rules[name])

    def member(self) -> str:
        """A set and a member of it."""
        name = self.lot.choice([name for name, members in self.sets.items() if members])
        return f"{name} {{ {self.lot.choice(self.sets[name])} }}"

    def pod(self) -> tuple[str, str]:
        """A verdict map and an interface in it."""
        name = self.lot.choice([*self.pods])
        return name, self.lot.choice(self.pods[name])

    def address(self) -> str:
        return f"10.65.0.{self.lot.choice([2, 3, 4])}"

    def verdict(self) -> str:
        return f"udp dport {self.lot.choice(PORTS)} {self.lot.choice(['accept', 'drop'])}"

    def same_hash(self) -> str:
        """A command that replaces a rule, but keeps its hash."""
        chain, handle, text = self.rule()
        comment = re.search(r'comment "cali:[^"]*"', text)
        assert comment
        return f"replace rule ip calico {chain} handle {handle} {self.verdict()} {comment[0]}"


class Damage(NamedTuple):
    """One kind of damage: the input of iptables-restore for table filter, of ipset restore, and of nft.

    None for tools that cannot do it.
    """

    iptables: Callable[[There], str] | None = None
    ipset: Callable[[There], str] | None = None
    nft: Callable[[Listed], str] | None = None


DAMAGES: Mapping[str, Damage] = {
    "a chain flushed": Damage(
        iptables=lambda there: f"-F {there.chain()}",
        nft=lambda there: f"flush chain ip calico {there.chain()}",
    ),
    "all chains flushed": Damage(
        iptables=lambda there: "\n".join(f"-F {name}" for name in there.rules),
        nft=lambda there: "\n".join(f"flush chain ip calico {name}" for name in there.rules),
    ),
    "a rule deleted": Damage(
        iptables=lambda there: "-D {} {}".format(*there.rule()),
        nft=lambda there: "delete rule ip calico {} handle {}".format(*there.rule()),
    ),
    "a rule added on top": Damage(
        iptables=lambda there: f"-I {there.chain()} {there.verdict()}",
        nft=lambda there: f"insert rule ip calico {there.chain()} {there.verdict()}",
    ),
    "a rule added below": Damage(
        iptables=lambda there: f"-A {there.chain()} {there.verdict()}",
        nft=lambda there: f"add rule ip calico {there.chain()} {there.verdict()}",
    ),
    "a rule replaced": Damage(
        iptables=lambda there: "-R {} {} {}".format(*there.rule()[:2], there.verdict()),
        nft=lambda there: "replace rule ip calico {} handle {} {}".format(*there.rule()[:2], there.verdict()),
    ),
    "a rule changed, its hash kept": Damage(
        iptables=lambda there: there.same_hash(),
        nft=lambda there: there.same_hash(),
    ),
    "a foreign rule before the inserts": Damage(iptables=lambda there: f"-I FORWARD {there.verdict()}"),
    "a foreign chain": Damage(
        iptables=lambda there: f":MINE - -\n-I FORWARD -j MINE\n-A MINE {there.verdict()}",
        nft=lambda there: (
            f"add chain ip calico mine\nadd rule ip calico mine {there.verdict()}\n"
            f"insert rule ip calico {there.chain()} jump mine"
        ),
    ),
    "the inserts deleted": Damage(iptables=lambda there: "-F FORWARD"),
    "the inserts twice": Damage(
        iptables=lambda there: "\n".join(f"-A FORWARD {rule}" for rule in there.rules["FORWARD"])
    ),
    "the inserts below a foreign rule": Damage(
        iptables=lambda there: f"-D FORWARD 1\n-A FORWARD {there.verdict()}\n-A FORWARD {there.rules['FORWARD'][0]}"
    ),
    "a set emptied": Damage(
        ipset=lambda there: f"flush {there.lot.choice(there.sets)}",
        nft=lambda there: f"flush set ip calico {there.lot.choice([*there.sets])}",
    ),
    "a member deleted": Damage(
        ipset=lambda there: f"del {there.lot.choice(there.members)}",
        nft=lambda there: f"delete element ip calico {there.member()}",
    ),
    "a member added": Damage(
        ipset=lambda there: f"add {there.lot.choice(there.sets)} {there.address()} --exist",
        nft=lambda there: f"add element ip calico {there.lot.choice([*there.sets])} {{ {there.address()} }}",
    ),
    "a foreign set with Felix's prefix or in its table": Damage(
        ipset=lambda there: "create cali40s:stranger hash:net\nadd cali40s:stranger 10.0.0.0/8",
        nft=lambda there: (
            "add set ip calico theirs { type ipv4_addr ; flags interval ; }\n"
            "add element ip calico theirs { 10.0.0.0/8 }"
        ),
    ),
    "the content of another set": Damage(
        ipset=lambda there: f"create x hash:net maxelem 1048576\nadd x 10.65.0.2\nswap x {there.lot.choice(there.sets)}"
    ),
    "a set destroyed": Damage(ipset=lambda there: "destroy cali40masq-ipam-pools"),
    "a leftover of a run that was killed": Damage(ipset=lambda there: "create cali4t0 hash:net\nadd cali4t0 10.65.0.2"),
    "a set with another declaration": Damage(
        nft=lambda there: (
            "delete table ip calico\nadd table ip calico\nadd set ip calico cali40masq-ipam-pools { type ipv4_addr ; }"
        )
    ),
    "a foreign base chain in Felix's table": Damage(
        nft=lambda there: (
            f"add chain ip calico mine {{ type filter hook forward priority 7 ; }}\n"
            f"add rule ip calico mine {there.verdict()}"
        )
    ),
    FOREIGN_TABLE: Damage(
        nft=lambda there: (
            "add table ip theirs\nadd chain ip theirs forward { type filter hook forward priority -5 ; }\n"
            "add rule ip theirs forward counter accept"
        )
    ),
    "a base chain with another policy": Damage(
        nft=lambda there: "add chain ip calico filter-FORWARD { policy drop ; }"
    ),
    "a base chain with another priority": Damage(
        nft=lambda there: (
            "flush chain ip calico filter-FORWARD\ndelete chain ip calico filter-FORWARD\n"
            "add chain ip calico filter-FORWARD { type filter hook forward priority 5 ; }\n"
            "add rule ip calico filter-FORWARD jump filter-cali-FORWARD"
        )
    ),
    DORMANT_TABLE: Damage(nft=lambda there: "add table ip calico { flags dormant ; }"),
    "a table deleted": Damage(nft=lambda there: "delete table ip calico"),
    "all tables deleted": Damage(nft=lambda there: "flush ruleset"),
    "an interface deleted from its map": Damage(
        nft=lambda there: "delete element ip calico {} {{ {} }}".format(*there.pod())
    ),
    "an interface whose map leads elsewhere": Damage(
        nft=lambda there: (
            "delete element ip calico {0} {{ {1} }}\n"
            "add element ip calico {0} {{ {1} : goto filter-cali-cidr-block }}".format(*there.pod())
        )
    ),
    "a foreign map": Damage(nft=lambda there: "add map ip calico theirs { type ifname : verdict ; }"),
}
OF_IPTABLES = [name for name, damage in DAMAGES.items() if damage.iptables or damage.ipset]
OF_NFTABLES = [name for name, damage in DAMAGES.items() if damage.nft]


def there(node: Kernel, backend: str, seed: int) -> There:
    rules: dict[str, list[str]] = {}
    for line in node.run(f"iptables-{backend}-save", "-t", "filter").output.splitlines():
        if line.startswith(":"):
            rules[line[1:].split()[0]] = []
        elif line.startswith("-A "):
            _, chain, text = line.split(" ", 2)
            rules[chain].append(text)
    lines = [line.split(" ") for line in node.run("ipset", "save").output.splitlines()]
    sets = [words[1] for words in lines if words[0] == "create" and words[1].startswith("cali40s:")]
    return There(
        random.Random(seed),
        rules,
        sets,
        [" ".join(words[1:]) for words in lines if words[1] in sets and words[0] == "add"],
    )


def listed(node: Kernel, seed: int) -> Listed:
    text = node.run("nft", "-a", "list", "table", "ip", "calico").output
    blocks = re.findall(r"^\t(chain|set|map) (\S+) \{.*?\n(.*?)^\t\}", text, re.MULTILINE | re.DOTALL)
    rules, sets, pods = {}, {}, {}
    for kind, name, content in blocks:
        if kind == "chain" and name.startswith("filter-"):
            found = re.findall(r"^\t\t(.* comment .*) # handle (\d+)$", content, re.MULTILINE)
            rules[name] = [(int(handle), rule) for rule, handle in found]
        elif kind == "set" and name.startswith("cali40s-"):
            sets[name] = re.findall(r"10\.[\d.]+", content)
        elif kind == "map":
            pods[name] = re.findall(r'"(\w+)" :', content)
    return Listed(random.Random(seed), rules, sets, pods)


def damaged(node: Kernel, backend: str, damage: str, seed: int) -> None:
    """Do one of the `DAMAGES` `OF_IPTABLES`."""
    found, how = there(node, backend, seed), DAMAGES[damage]
    if how.iptables:
        tool, text = (f"iptables-{backend}-restore", "--noflush"), f"*filter\n{how.iptables(found)}\nCOMMIT\n"
    else:
        assert how.ipset
        tool, text = ("ipset", "restore"), f"{how.ipset(found)}\n"
    assert node.run(*tool, text=text) == Done(0), text


def damaged_listed(node: Kernel, damage: str, seed: int) -> None:
    """Do one of the `DAMAGES` `OF_NFTABLES`."""
    how = DAMAGES[damage].nft
    assert how
    text = f"{how(listed(node, seed))}\n"
    assert node.run("nft", "-f", "-", text=text) == Done(0), text


def put_away(node: Kernel, backend: str) -> None:
    """Remove what is not Felix's."""
    rules = there(node, backend, 0).rules
    foreign = "".join(f"-D FORWARD {rule}\n" for rule in rules["FORWARD"] if "cali" not in rule)
    text = f"*filter\n{foreign}:MINE - -\n-X MINE\nCOMMIT\n"
    assert not node.run(f"iptables-{backend}-restore", "--noflush", text=text).status
    node.run("ipset", "destroy", "x")
