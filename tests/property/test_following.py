"""Random changes of random clusters: the cluster and the rules that are kept are those of a fresh load and compile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import felixpy
from felixpy.live import Change, LiveCluster
from felixpy.manifests.followed_files import FollowedFiles
from felixpy.manifests.following import Following
from felixpy.manifests.loading import Options
from felixpy.manifests.reading.objects import placed
from tests.conformance.recordings import Case, cases
from tests.property.changing import EXTRA, Sequence, content, items, key_of, of_kind

pytestmark = pytest.mark.property


@given(st.integers(0, 2**32))
def test_any_changes_of_documents(seed: int) -> None:
    Sequence(seed).run()


def test_every_kind_takes_part() -> None:
    from felixpy.manifests.kinds import CALICO, CALICO_KINDS, KUBERNETES

    kinds = {kind for _, kind in of_kind()}
    missing = {kind.name for kind in CALICO_KINDS} - kinds
    missing |= {
        kind.name for version, listed in KUBERNETES.items() if "gateway" not in version for kind in listed
    } - kinds
    assert missing <= {"Route"}
    assert (CALICO, "Node") in {(item["apiVersion"], item["kind"]) for item in EXTRA}


# --- files


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop}\nspec: {nodeName: node1}\n"
RUNNING = POD + "status: {phase: Running, podIP: %s}\n"
SHOP = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop%s}\n"
FILES = (
    ("b.yaml", RUNNING % ("web", "10.65.0.1") + "---\n" + RUNNING % ("db", "10.65.0.2"), True),
    ("b.yaml", "# moved down\n" + RUNNING % ("web", "10.65.0.3"), True),
    ("a.yaml", SHOP % ", labels: {team: red}", True),
    ("c.yaml", RUNNING % ("cache", "10.65.0.4"), False),
    ("a.yaml", "", False),
)
"""A file, its text, and whether it is enough to look at the objects that changed."""


@pytest.mark.parametrize("broken", [False, True])
def test_files_that_are_written_are_read_again(tmp_path: Path, broken: bool) -> None:
    """Files change, come and lose what others need, maybe after they were unreadable for a while."""
    (tmp_path / "a.yaml").write_text(SHOP % "")
    (tmp_path / "b.yaml").write_text(RUNNING % ("web", "10.65.0.1"))
    followed = FollowedFiles([str(tmp_path)], Options())
    for name, text, by_object in FILES:
        path = tmp_path / name
        if broken:
            path.write_text("apiVersion: [")
            with pytest.raises(felixpy.InputError):
                followed.step([str(path)])
        path.write_text(text)
        step = followed.step([str(path)])
        fresh = felixpy.load([tmp_path])
        assert step.cluster == replace(fresh, warnings=step.cluster.warnings, where=step.cluster.where)
        assert (step.changes is not None) == (by_object and not broken)


# --- what Felix recorded


@pytest.mark.parametrize("case", cases("transitions"), ids=lambda case: case.name)
@pytest.mark.parametrize("back", [False, True], ids=["there", "and back"])
def test_recorded_transitions_are_taken_object_by_object(case: Case, back: bool) -> None:
    """The rules after the step are those of a fresh compile, which `test_transitions.py` compares with Felix's."""
    before, after = (list(items(case.folder / name)) for name in ("before.yaml", "after.yaml"))
    if back:
        before, after = after, before
    documents = [{key_of(item): placed("test", item) for item in listed} for listed in (before, after)]
    following = Following({"test": documents[0]}, Options())
    live = LiveCluster(following.cluster)
    live.add(case.node, case.host)
    changed = {key: documents[1].get(key) for key in documents[0].keys() | documents[1].keys()}
    step = following.take({"test": changed})
    assert step.changes is not None
    live.apply([Change(*pair) for pair in step.changes], step.cluster)
    fresh = felixpy.compile(felixpy.load(after), case.node, host=case.host)
    assert content(live.ruleset(case.node)) == content(fresh)
