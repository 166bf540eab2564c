"""Classes of addresses that no rule tells apart, against addresses asked one by one; and how much they take."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from felixpy.flows.packets.peers import Externals, Layer, Layers
from felixpy.netfilter.numbers import Range

SMALL = 64
"""Addresses that are asked; all others are like the last of them."""

RANGES = st.tuples(st.integers(0, SMALL - 1), st.integers(0, SMALL - 1)).map(lambda ends: Range(min(ends), max(ends)))
LAYERS = st.lists(st.builds(Layer, RANGES, st.booleans()), min_size=1, max_size=6).map(tuple)


def holds(layers: Layers, address: int) -> bool:
    inside = False
    for (low, high), meant in layers:
        if low <= address <= high:
            inside = meant
    return inside


@pytest.mark.property
@given(st.lists(LAYERS, max_size=8), st.sets(st.integers(0, SMALL - 1), max_size=8))
def test_classes_are_what_nets_tell_apart(nets: list[Layers], known: set[int]) -> None:
    """Addresses that somebody has are asked about one by one, and do not count here."""
    free = [address for address in range(SMALL + 1) if address not in known]
    externals = Externals(4, nets, known, offset=3)
    patterns = {tuple(holds(layers, address) for layers in nets) for address in free}
    assert externals.count >= len(patterns)
    assert externals.mask == ((1 << externals.count) - 1) << 3
    for layers in nets:
        found = externals.ranges(externals.peers(layers))
        inside = {address for low, high in found for address in range(low, min(high, SMALL) + 1)}
        assert inside - known == {address for address in free if holds(layers, address)}
        assert externals.peers(layers) & ~externals.mask == 0


@pytest.mark.slow
def test_tens_of_thousands_of_nets_in_a_rule(tmp_path: Path) -> None:
    """Without keeping, for each net, a bit for each of them: that takes gigabytes."""
    count = 60_000
    place = [f"{20 + number // 65536}.{number >> 8 & 255}.{number & 255}" for number in range(count)]
    source = {"nets": [f"{net}.0/24" for net in place], "notNets": [f"{net}.128/25" for net in place]}
    spec = {"selector": "all()", "ingress": [{"action": "Allow", "source": source}]}
    policy = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "many"},
        "spec": spec,
    }
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]},
        "status": {"podIP": "10.65.0.2", "phase": "Running"},
    }  # fmt: skip
    (tmp_path / "many.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, pod]}))

    def gigabyte() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    command = (sys.executable, "-m", "felixpy", "matrix", "-q", "-o", "csv", str(tmp_path / "many.json"))
    done = subprocess.run(command, preexec_fn=gigabyte, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    allowed = {line.partition(",")[0] for line in done.stdout.splitlines() if ",External,default/a," in line}
    assert allowed == {f"{net}.0/25" for net in place}
