"""Objects that were read elsewhere, such as those of a running cluster: no file has them, and every place is a name."""

from __future__ import annotations

from dataclasses import fields

import felixpy
from felixpy.manifests.reading.objects import KindObjects
from felixpy.model import Cluster
from tests.manifests import CALICO, manifest, namespace, pod

NOT_COMPARED = {"warnings", "texts", "where"}
OBJECTS = [
    namespace("shop"),
    pod("web", "10.65.0.1", labels={"app": "web"}),
    pod("db", "10.65.0.2", labels={"app": "db"}),
    manifest("networking.k8s.io/v1", "NetworkPolicy", "db", {"podSelector": {}}, "shop"),
]


def given(*items: dict) -> list[KindObjects]:
    kinds = dict.fromkeys(item["kind"] for item in items)
    return [KindObjects(f"test/{kind}", [item for item in items if item["kind"] == kind]) for kind in kinds]


def test_they_mean_what_they_mean_in_a_file(tmp_path) -> None:
    for items in (OBJECTS, OBJECTS[1:]):
        direct, read = felixpy.load(given(*items), expand=False), felixpy.load(items, expand=False)
        for field in fields(Cluster):
            if field.name not in NOT_COMPARED:
                one, other = (_placeless(getattr(each, field.name)) for each in (direct, read))
                assert one == other, field.name


def _placeless(value: object) -> object:
    from msgspec import Struct
    from msgspec.structs import replace

    from tests.clusters import HERE

    if isinstance(value, dict):
        return {key: _placeless(each) for key, each in value.items()}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(_placeless, value))
    return replace(value, source=HERE) if isinstance(value, Struct) and hasattr(value, "source") else value


def test_mistakes_are_told_with_the_name_of_the_object() -> None:
    bad = manifest(CALICO, "GlobalNetworkPolicy", "bad", {"selector": "app = 'web'"})
    try:
        felixpy.load(given(*OBJECTS, bad), expand=False)
    except felixpy.InputError as wrong:
        (problem,) = [each for each in wrong.problems if each.severity == "error"]
        assert str(problem).startswith("test/GlobalNetworkPolicy/bad: GlobalNetworkPolicy bad: spec.selector: ")
    else:
        raise AssertionError


def test_pods_of_two_clusters_are_told_apart() -> None:
    """The later one counts, as among files."""
    first, second = pod("web", "10.65.0.1"), pod("web", "10.65.0.9")
    cluster = felixpy.load([KindObjects("one", [first]), KindObjects("two", [second])], expand=False)
    assert [each.addresses for each in cluster.workloads] == [("10.65.0.9",)]
