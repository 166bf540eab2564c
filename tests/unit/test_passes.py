"""The passes of loading are pure: called again with equal documents they return equal values and remarks."""

from __future__ import annotations

from copy import deepcopy

from felixpy.errors import Problem
from felixpy.manifests.completion.owners import Owners
from felixpy.manifests.objects.pods import Pods
from felixpy.manifests.passes.convert import convert
from felixpy.manifests.passes.index import index
from felixpy.manifests.passes.remarks import Remark, Remarked
from felixpy.manifests.passes.validate import Sound, validate
from felixpy.manifests.reading.documents import Document
from felixpy.manifests.reading.places import Places, Texts
from felixpy.manifests.validation.findings import Finding
from felixpy.model import Source

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"hostNetwork": True}}
TIER = {"apiVersion": "projectcalico.org/v3", "kind": "Tier", "metadata": {"name": "x"}, "spec": {"order": "first"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}


def documents() -> list[Document]:
    return [Document(deepcopy(data), Source("a.yaml", line)) for line, data in enumerate((POD, TIER, SECRET), 1)]


def ordinal(source: Source) -> str:
    return f"document {source.line}"


def test_validation_returns_what_is_sound_and_what_is_wrong() -> None:
    given = documents()
    sound, remarks = validate(given, ordinal)
    assert given == documents()
    assert [document.data["kind"] for document in sound.documents] == ["Pod", "Secret"]
    assert [key.name for key in sound.refused] == ["x"]
    assert {(remark.source.line, remark.subject) for remark in remarks} == {(2, "Tier x")}
    assert (sound.documents, remarks) == ((again := validate(given, ordinal))[0].documents, again[1])


def test_documents_that_are_known_to_be_sound_are_not_validated_again() -> None:
    known = Sound(documents()[1:2])
    sound, remarks = validate(known.documents, ordinal, known)
    assert (sound.documents, remarks) == (known.documents, [])


def test_index_and_conversion_return_their_remarks() -> None:
    sound, _ = validate(documents(), ordinal)
    objects, skipped = index(sound, {})
    assert [str(key) for key in objects] == ["Pod default/web"]
    assert [str(remark.reason) for remark in skipped if isinstance(remark, Problem)] == [
        "skipped, without effect on rules: 1 Secret"
    ]
    _, remarks = convert(objects, Pods("cali", Owners()), sound.refused)
    assert [remark.reason for remark in remarks if isinstance(remark, Problem)] == [
        "no endpoints, so no policy selects them: 1 pod in the network of a node (default/web)"
    ]
    assert convert(objects, Pods("cali", Owners()), sound.refused)[1] == remarks


def test_remarks_become_problems_once_for_each_place_and_keep_quiet_after_an_error() -> None:
    one = Source("a.yaml", 1)
    flaw = Finding(("spec",), "is odd", severity="refused")
    lenient, strict = Remarked(strict=False), Remarked(strict=True)
    for remarked in (lenient, strict):
        assert remarked.keep(("values", [Remark(one, "Pod a", flaw), Remark(one, "Pod b", flaw)])) == "values"
        remarked.keep_unless_failed((None, [Remark(one, "Pod a", Finding((), "is assumed", severity="warning"))]))
    assert [problem.reason for problem in lenient.problems(Places(Texts()))] == ["is odd", "is assumed"]
    assert [(problem.reason, problem.severity) for problem in strict.problems(Places(Texts()))] == [("is odd", "error")]
