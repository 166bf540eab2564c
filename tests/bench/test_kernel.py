"""The measuring of a real kernel still works; how long things take decides nothing."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest

from tests.bench.clusters import Shape, objects
from tests.bench.kernel import HEAD, change, crowd, fresh
from tests.netns.enforcing import EVERY_BACKEND
from tests.netns.namespace import in_ci, obstacle

pytestmark = pytest.mark.netns

SMALL = Shape(2, 4, 2, 3, local=4)


@pytest.fixture(autouse=True)
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := obstacle():
        (pytest.fail if in_ci() else pytest.skip)(reason)
    monkeypatch.setenv("FELIXPY_LOCKFILE", str(tmp_path / "felixpy.lock"))
    monkeypatch.setenv("XTABLES_LOCKFILE", str(tmp_path / "xtables.lock"))


@pytest.mark.parametrize("backend", EVERY_BACKEND)
def test_every_measurement_gives_a_row(backend: str) -> None:
    loaded = fresh("rules", partial(objects, SMALL), backend, 1)
    filled = fresh("members", partial(crowd, 10), backend, 1)
    nothing = change("nothing", SMALL, partial(objects, SMALL), backend, 1)
    assert all(row.bare and row.felixpy for row in (loaded, filled, nothing))
    watched = change("the same, watched", SMALL, partial(objects, SMALL), backend, 1, watch=True)
    assert watched.bare is None
    assert (nothing.summary, watched.summary) == ("nothing", "nothing")
    assert re.fullmatch(r"\d+ sets and \d+ chains in \d tables", loaded.summary)
    assert {str(row).index(backend) for row in (loaded, filled, nothing)} == {HEAD.index("backend")}
