"""What somebody may do to Felix's rules and sets: inputs for the tools, each under the name of what it does."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from felixpy.kernel import Done, Kernel
from tests.netns.packets import PORTS


class There(NamedTuple):
    """What somebody finds who is about to do damage: IPv4 rules by chain of table filter, sets and their members."""

    lot: random.Random
    rules: dict[str, list[str]]
    sets: list[str]
    members: list[str]

    def chain(self) -> str:
        return self.lot.choice([name for name in self.rules if name.startswith("cali-")])

    def rule(self) -> tuple[str, int, str]:
        """Chain, number and text of a rule of ours."""
        chain = self.lot.choice([name for name, rules in self.rules.items() if name.startswith("cali-") and rules])
        number = self.lot.randrange(len(self.rules[chain]))
        return chain, number + 1, self.rules[chain][number]

    def verdict(self) -> str:
        return f"-p udp -m udp --dport {self.lot.choice(PORTS)} -j {self.lot.choice(['ACCEPT', 'DROP'])}"

    def same_hash(self) -> str:
        """A rule that keeps its hash and does something else."""
        chain, number, text = self.rule()
        hash_comment = re.search(r'-m comment --comment "cali:[^"]*"', text)
        assert hash_comment
        return f"-R {chain} {number} {hash_comment[0]} {self.verdict()}"


DAMAGES: dict[str, Callable[[There], str]] = {
    "a chain flushed": lambda there: f"-F {there.chain()}",
    "all chains flushed": lambda there: "\n".join(f"-F {name}" for name in there.rules),
    "a rule deleted": lambda there: "-D {} {}".format(*there.rule()),
    "a rule added on top": lambda there: f"-I {there.chain()} {there.verdict()}",
    "a rule added below": lambda there: f"-A {there.chain()} {there.verdict()}",
    "a rule replaced": lambda there: "-R {} {} {}".format(*there.rule()[:2], there.verdict()),
    "a rule changed, its hash kept": lambda there: there.same_hash(),
    "a foreign rule before ours": lambda there: f"-I FORWARD {there.verdict()}",
    "a foreign chain before ours": lambda there: f":MINE - -\n-I FORWARD -j MINE\n-A MINE {there.verdict()}",
    "our inserts gone": lambda there: "-F FORWARD",
    "our inserts twice": lambda there: "\n".join(f"-A FORWARD {rule}" for rule in there.rules["FORWARD"]),
    "our inserts below a foreign rule": lambda there: (
        f"-D FORWARD 1\n-A FORWARD {there.verdict()}\n-A FORWARD {there.rules['FORWARD'][0]}"
    ),
}
SET_DAMAGES: dict[str, Callable[[There], str]] = {
    "a set emptied": lambda there: f"flush {there.lot.choice(there.sets)}",
    "a member gone": lambda there: f"del {there.lot.choice(there.members)}",
    "a member more": lambda there: f"add {there.lot.choice(there.sets)} 10.65.0.{there.lot.choice([2, 3, 4])} --exist",
    "a set of a stranger with our prefix": lambda there: (
        "create cali40s:stranger hash:net\nadd cali40s:stranger 10.0.0.0/8"
    ),
    "the content of another set": lambda there: (
        f"create x hash:net maxelem 1048576\nadd x 10.65.0.2\nswap x {there.lot.choice(there.sets)}"
    ),
    "a set destroyed": lambda there: "destroy cali40masq-ipam-pools",
    "a leftover of a run that was killed": lambda there: "create cali4t0 hash:net\nadd cali4t0 10.65.0.2",
}


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


def damaged(node: Kernel, backend: str, damage: str, seed: int) -> None:
    """Do one of `DAMAGES` or `SET_DAMAGES`."""
    found = there(node, backend, seed)
    if damage in DAMAGES:
        tool, text = (f"iptables-{backend}-restore", "--noflush"), f"*filter\n{DAMAGES[damage](found)}\nCOMMIT\n"
    else:
        tool, text = ("ipset", "restore"), f"{SET_DAMAGES[damage](found)}\n"
    assert node.run(*tool, text=text) == Done(0), text


def put_away(node: Kernel, backend: str) -> None:
    """Take out what is not ours."""
    rules = there(node, backend, 0).rules
    foreign = "".join(f"-D FORWARD {rule}\n" for rule in rules["FORWARD"] if "cali" not in rule)
    text = f"*filter\n{foreign}:MINE - -\n-X MINE\nCOMMIT\n"
    assert not node.run(f"iptables-{backend}-restore", "--noflush", text=text).status
    node.run("ipset", "destroy", "x")


# --- the same for nftables


class Listed(NamedTuple):
    """What somebody finds in table ``ip calico``: rules by chain of layer filter with their handles, sets, elements."""

    lot: random.Random
    rules: dict[str, list[tuple[int, str]]]
    sets: dict[str, list[str]]
    pods: dict[str, list[str]]

    def chain(self) -> str:
        return self.lot.choice([name for name in self.rules if "-cali-" in name])

    def rule(self) -> tuple[str, int, str]:
        """Chain, handle and text of a rule of ours."""
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

    def verdict(self) -> str:
        return f"udp dport {self.lot.choice(PORTS)} {self.lot.choice(['accept', 'drop'])}"

    def same_hash(self) -> str:
        """A rule that keeps its hash and does something else."""
        chain, handle, text = self.rule()
        comment = re.search(r'comment "cali:[^"]*"', text)
        assert comment
        return f"replace rule ip calico {chain} handle {handle} {self.verdict()} {comment[0]}"


NFT_DAMAGES: dict[str, Callable[[Listed], str]] = {
    "a chain flushed": lambda there: f"flush chain ip calico {there.chain()}",
    "all chains flushed": lambda there: "\n".join(f"flush chain ip calico {name}" for name in there.rules),
    "a rule deleted": lambda there: "delete rule ip calico {} handle {}".format(*there.rule()),
    "a rule added on top": lambda there: f"insert rule ip calico {there.chain()} {there.verdict()}",
    "a rule added below": lambda there: f"add rule ip calico {there.chain()} {there.verdict()}",
    "a rule replaced": lambda there: "replace rule ip calico {} handle {} {}".format(
        *there.rule()[:2], there.verdict()
    ),
    "a rule changed, its hash kept": lambda there: there.same_hash(),
    "a chain of a stranger in our table": lambda there: (
        f"add chain ip calico mine\nadd rule ip calico mine {there.verdict()}\n"
        f"insert rule ip calico {there.chain()} jump mine"
    ),
    "a base chain of a stranger in our table": lambda there: (
        f"add chain ip calico mine {{ type filter hook forward priority 7 ; }}\n"
        f"add rule ip calico mine {there.verdict()}"
    ),
    "a table of a stranger": lambda there: (
        "add table ip theirs\nadd chain ip theirs forward { type filter hook forward priority -5 ; }\n"
        "add rule ip theirs forward counter accept"
    ),
    "a base chain with another policy": lambda there: "add chain ip calico filter-FORWARD { policy drop ; }",
    "a base chain with another priority": lambda there: (
        "flush chain ip calico filter-FORWARD\ndelete chain ip calico filter-FORWARD\n"
        "add chain ip calico filter-FORWARD { type filter hook forward priority 5 ; }\n"
        "add rule ip calico filter-FORWARD jump filter-cali-FORWARD"
    ),
    "a table that sleeps": lambda there: "add table ip calico { flags dormant ; }",
    "a table deleted": lambda there: "delete table ip calico",
    "all tables deleted": lambda there: "flush ruleset",
    "a set emptied": lambda there: f"flush set ip calico {there.lot.choice([*there.sets])}",
    "a member gone": lambda there: f"delete element ip calico {there.member()}",
    "a member more": lambda there: (
        f"add element ip calico {there.lot.choice([*there.sets])} {{ 10.65.0.{there.lot.choice([2, 3, 4])} }}"
    ),
    "a set of a stranger": lambda there: (
        "add set ip calico theirs { type ipv4_addr ; flags interval ; }\nadd element ip calico theirs { 10.0.0.0/8 }"
    ),
    "a set declared in another way": lambda there: (
        "delete table ip calico\nadd table ip calico\nadd set ip calico cali40masq-ipam-pools { type ipv4_addr ; }"
    ),
    "a pod gone from its map": lambda there: "delete element ip calico {} {{ {} }}".format(*there.pod()),
    "a pod whose map leads elsewhere": lambda there: (
        "delete element ip calico {0} {{ {1} }}\n"
        "add element ip calico {0} {{ {1} : goto filter-cali-cidr-block }}".format(*there.pod())
    ),
    "a map of a stranger": lambda there: "add map ip calico theirs { type ifname : verdict ; }",
}


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
