"""The rules of the house that a machine can keep: who imports whom, what is public, how long a file may be."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import felixpy

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "felixpy"
LONGEST = 420

LAYERS = [
    {"escape"},
    {"errors", "names", "ending", "described", "libnftables", "remembered"},
    {"netfilter", "parameter_types", "marks", "reading", "revisions", "kubectl", "reports", "writing", "notify"},
    {"iptables", "parameters", "frontends"},
    {"other_parameters"},
    {"config"},
    {"model", "layouts", "settings"},
    {"selector"},
    {"manifests", "labels", "calico_versions", "services"},
    {"snapshot", "anonymise"},
    {"ipsets", "effective"},
    {"rules", "nodesets", "hosts"},
    {"resolve"},
    {"match"},
    {"ruleset"},
    {"patterns"},
    {"plan", "annotate", "export", "refusals", "startup"},
    {"render", "decode", "nftables"},
    {"workers"},
    {"compiler"},
    {"live", "fleet", "machine", "kernel", "walk"},
    {"dataplane", "topology", "testing"},
    {"tracing"},
    {"flows", "explain", "lab", "counters"},
    {"exposure"},
    {"verification", "difference", "linting", "policytests"},
    {"pytest_plugin", "api"},
    {"cli"},
]
"""From the bottom up; a module imports from layers below its own only. A package counts as one module."""

ALLOWED = {
    "manifests": {
        "escape",
        "reading",
        "errors",
        "parameter_types",
        "parameters",
        "other_parameters",
        "config",
        "frontends",
        "model",
        "selector",
        "remembered",
        "revisions",
    },
}
"""Modules that may import less than their layer permits."""

ORACLE = {"escape", "errors", "config", "model", "selector"}
"""All that `felixpy.testing.verdict` may import: an oracle that borrows from the compiler proves little."""

READERS = {"manifests": {"cli", "snapshot", "policytests", "pytest_plugin"}, "testing": set()}
"""Modules that only these may import: the compiler knows neither files nor the oracle."""

OWNERS = {
    "yaml": {"manifests"},
    "jinja2": {"render"},
    "pyroute2": {"machine", "lab"},
    "subprocess": {"notify", "kernel", "kubectl", "revisions"},
    "iptc": {"testing"},
    "distributed": {"workers"},
    "typer": {"cli"},
    "pytest": {"pytest_plugin"},
}
"""Libraries that concern few modules each."""

SLOW_TO_IMPORT = {"yaml", "jinja2", "pyroute2", "iptc", "rich", "numpy"}
"""What ``felixpy --help`` has to do without: together they cost several times what the help costs."""


def sources() -> Iterator[tuple[str, Path]]:
    """(module of a layer, file) for every file but the two entrances of the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        module = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if module not in ("__init__", "__main__"):
            yield module, file


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                yield from ((alias.name, node.lineno) for alias in names)
            case ast.ImportFrom(module="felixpy", names=names):
                yield from ((f"felixpy.{alias.name}", node.lineno) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module, node.lineno
            case ast.ImportFrom(level=level) if level:
                yield "a relative import", node.lineno


def edges() -> Iterator[tuple[str, str, str]]:
    """(importer, imported module of felixpy, file:line) between different modules."""
    for module, file in sources():
        for name, line in imports(file):
            if name.startswith("felixpy.") and (target := name.split(".")[1]) != module:
                yield module, target, f"{file.relative_to(ROOT)}:{line}"


def test_every_module_has_its_layer() -> None:
    layered = [module for layer in LAYERS for module in layer]
    assert len(layered) == len(set(layered))
    assert {module for module, _ in sources()} == set(layered)


def test_imports_point_down() -> None:
    height = {module: number for number, layer in enumerate(LAYERS) for module in layer}
    wrong = [
        f"{place}: {module} imports {target}, which is not below it"
        for module, target, place in edges()
        if module in height and height.get(target, -1) >= height[module]
    ]
    assert not wrong, "\n".join(wrong)


def test_some_modules_know_even_less() -> None:
    wrong = [
        f"{place}: {module} may not import {target}"
        for module, target, place in edges()
        if target not in ALLOWED.get(module, {target}) or module not in READERS.get(target, {module})
    ]
    assert not wrong, "\n".join(wrong)


def test_the_oracle_is_independent() -> None:
    found = {
        name.split(".")[1] for name, _ in imports(PACKAGE / "testing" / "verdict.py") if name.startswith("felixpy.")
    }
    assert found <= ORACLE


def test_every_library_has_its_owners() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {name} belongs to {' and '.join(sorted(OWNERS[library]))}"
        for module, file in sources()
        for name, line in imports(file)
        if (library := name.split(".")[0]) in OWNERS and module not in OWNERS[library]
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_name_their_module_in_full() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line}"
        for _, file in sources()
        for name, line in imports(file)
        if name in ("a relative import", "felixpy")
    ]
    assert not wrong, "\n".join(wrong)


def test_help_needs_no_heavy_library() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "felixpy", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    imported = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
    assert "felixpy" in imported
    assert not {name.split(".")[0] for name in imported} & SLOW_TO_IMPORT


def test_public_names_exist_and_are_complete() -> None:
    """Whatever `felixpy` offers lazily is in ``__all__``, and every name there leads to something."""
    assert set(felixpy.__all__) == set(felixpy._HOMES) | {"CALICO_VERSION", "__version__"}
    for name in felixpy.__all__:
        assert getattr(felixpy, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = felixpy.nothing


def test_no_module_hides_a_public_name() -> None:
    """Importing a module binds its name in the package: `felixpy.trace` would be a function or not, as it happens."""
    assert not {module for module, _ in sources()} & set(felixpy.__all__)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_each_module_keeps_the_promises_of_its_all(file: Path) -> None:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    if "__all__" in file.read_text():
        module = importlib.import_module(name)
        assert [public for public in module.__all__ if not hasattr(module, public)] == []


ONE_MODEL = (
    "labels",
    "ipsets",
    "rules",
    "hosts",
    "nodesets",
    "resolve",
    "marks",
    "match",
    "plan",
    "ruleset",
    "netfilter",
)
"""Modules that make rules of policies, the same for both data planes."""

LAYOUT_FACTS = {
    "max_chain": {"plan/facts.py"},
    "verdict_maps": {"plan/__init__.py"},
    "filters_arp": {"plan/__init__.py"},
    "programs_everywhere": {"plan/__init__.py"},
}
"""What plans may ask about a data plane, and where: names, dispatch by maps, ARP, a hint that has no effect."""

NFT_TEMPLATES = {
    "_connections.j2", "_limits.j2",
    "arp/OUTPUT.j2", "arp/cali-arp-dispatch.j2", "arp/cali-arp.j2",
    "filter/cali-from-wl-dispatch.j2", "filter/cali-to-wl-dispatch.j2",
}  # fmt: skip
"""What Felix lays out otherwise on nftables: dispatch by maps, ARP, and limits, which nft has rules of its own for."""


def test_plans_ask_no_data_plane() -> None:
    """Rules are planned once; what differs between iptables and nftables is a fact of the layout, not an `if`."""
    named, asked = [], {fact: set[str]() for fact in LAYOUT_FACTS}
    for module, file in sources():
        if module not in ONE_MODEL:
            continue
        where = str(file.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if name in LAYOUT_FACTS and isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("layout"):
                asked[name].add(where)
            compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            words = [part.value for part in compared if isinstance(part, ast.Constant)]
            if name in ("NFTABLES", "LAYOUTS") or {"nftables", "iptables"} & {*words}:
                named.append(f"{where}: {ast.unparse(node)}")
    assert named == []
    assert asked == LAYOUT_FACTS


def test_every_fact_of_a_layout_is_known_here() -> None:
    """The folders of templates, the parameters that count and the name are read by compiler and renderer."""
    from felixpy.layouts import Layout

    assert {*Layout.__struct_fields__} - {"name", "templates", "settings"} == set(LAYOUT_FACTS)


def test_templates_are_one_where_rules_are_the_same() -> None:
    folder = ROOT / "templates" / "nftables"
    assert {str(file.relative_to(folder)) for file in folder.rglob("*.j2")} == NFT_TEMPLATES


def test_files_stay_short() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for _, file in sources()}
    assert {file: length for file, length in lengths.items() if length > LONGEST} == {}


def committed() -> list[Path]:
    """What git would commit; an unpacked archive has no git, then everything that is no product of building."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        return [ROOT / line for line in listed.stdout.splitlines()]
    return [file for file in ROOT.rglob("*") if not any(part.startswith(".") for part in file.relative_to(ROOT).parts)]


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """Paths of homes, checkouts and scratch folders mean nothing to anybody else."""
    foreign = re.compile(rb"(?<![\w./-])/(?:home/\w+|root|work|tmp/\w)(?:/|\b)")
    wrong = [
        f"{file.relative_to(ROOT)}: {found[0].decode()}"
        for file in committed()
        if file.is_file() and b"\0" not in (text := file.read_bytes()) and (found := foreign.search(text))
    ]
    assert not wrong, "\n".join(wrong)
