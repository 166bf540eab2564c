"""Pass: documents → valid documents, by the shape of their kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from felixpy.manifests import strangers
from felixpy.manifests.kinds import CALICO, STORED, Key, Kind, known
from felixpy.manifests.objects import enterprise, storage
from felixpy.manifests.passes.remarks import Remark
from felixpy.manifests.reading.documents import Document
from felixpy.manifests.validation.findings import Finding
from felixpy.model import Source

Data = dict[str, Any]
Ordinal = Callable[[Source], str]
"""Which document of its file an object is: "the third document"."""


class Sound(Struct, frozen=True):
    """Valid documents, without nulls, and with a namespace if their kind has one.

    `printed` are the sources of Nodes in the form that calicoctl prints, `refused` the keys of invalid objects.
    """

    documents: list[Document]
    printed: set[Source] = field(default_factory=set)
    refused: set[Key] = field(default_factory=set)


def validate(
    documents: Sequence[Document], ordinal: Ordinal, before: Sound | None = None
) -> tuple[Sound, list[Remark]]:
    """The valid documents, and remarks on the others. Kinds without effect on rules are not checked.

    Documents that are in `before` already are not validated again.
    """
    before = before or Sound([])
    seen = set(map(id, before.documents))
    validation = _Validation(ordinal)
    new = validation.sound([document for document in documents if id(document) not in seen])
    kept = [document for document in documents if id(document) in seen] if seen else []
    printed, refused = before.printed | validation.printed, before.refused | validation.refused
    return Sound(kept + new, printed, refused), validation.remarks


def _outdated(version: str, current: str) -> Finding:
    reason = f"apiVersion {version} is not served any more; it is read as {current}"
    return Finding((), reason, severity="warning")


class _Validation:
    def __init__(self, ordinal: Ordinal) -> None:
        self.ordinal = ordinal
        self.remarks: list[Remark] = []
        self.printed: set[Source] = set()
        self.refused: set[Key] = set()
        self._specs: dict[int, tuple[Kind, Any]] = {}
        """Clean specs by their ids, which remain theirs as they are kept here: several objects may have one."""

    def sound(self, documents: Sequence[Document]) -> list[Document]:
        table, sound = known(), []
        for document in documents:
            data = document.data
            version = data["apiVersion"]
            kind = table.get((version, data["kind"]))
            if (version, data["kind"]) == (CALICO, "Node"):
                data = storage.kubernetes_node(data)
                version, document = data["apiVersion"], Document(data, document.source)
                kind = table[version, "Node"]
                self.printed.add(document.source)
            if kind is None and (current := strangers.OLD.get((version, data["kind"]))):
                self._remark(data, document.source, _outdated(version, current))
                version, data = current, {**data, "apiVersion": current}
                document = Document(data, document.source)
                kind = table.get((version, data["kind"]))
            if kind is None:
                complaint = strangers.judge(version, data["kind"])
                if complaint is None:
                    sound.append(document)
                else:
                    self._remark(data, document.source, Finding((), *complaint))
                continue
            if version == STORED:
                data = storage.restored(data)
            if kind.name == "FelixConfiguration":
                data = self._without_enterprise(kind, data, document.source)
            if not self._is_clean(kind, data):
                if not self._passes(kind, data, document.source):
                    continue
                data = kind.shape.normal(data)
            if kind.namespaced and not data["metadata"].get("namespace"):
                data = {**data, "metadata": {**data["metadata"], "namespace": "default"}}
            sound.append(document if data is document.data else Document(data, document.source))
        return sound

    def _is_clean(self, kind: Kind, data: Data) -> bool:
        spec, clean_frame = data.get("spec"), kind.clean_frame
        if spec is None or clean_frame is None:
            return kind.clean(data)
        known = self._specs.get(id(spec))
        if known is not None and known[0] is kind:
            return clean_frame(data)
        if not kind.clean(data):
            return False
        self._specs[id(spec)] = kind, spec
        return True

    def _without_enterprise(self, kind: Kind, data: Data, source: Source) -> Data:
        """A FelixConfiguration without the fields of Calico Enterprise, on which it remarks."""
        fields: Mapping[str, object] = getattr(getattr(kind.shape, "fields", {}).get("spec"), "fields", {})
        spec, names = enterprise.split(data.get("spec"), fields)
        for finding in enterprise.told(names):
            self._remark(data, source, finding)
        return {**data, "spec": spec} if names else data

    def _passes(self, kind: Kind, data: Data, source: Source) -> bool:
        """Record all findings about an object; return whether it is valid."""
        findings = list(kind.shape.findings(data, ()))
        for finding in findings:
            self._remark(data, source, finding)
        sound = all(finding.severity != "error" for finding in findings)
        name = data["metadata"].get("name") if isinstance(data.get("metadata"), dict) else None
        if not sound and isinstance(name, str):
            self.refused.add(Key("", name, kind))
        return sound

    def _remark(self, data: Data, source: Source, finding: Finding) -> None:
        self.remarks.append(Remark(source, described(data, source, self.ordinal), finding))


def described(data: Data, source: Source, ordinal: Ordinal) -> str:
    """Kind and name of an object, as far as they are known, for messages."""
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    kind = known().get((data["apiVersion"], data["kind"]))
    title = kind.title if kind else data["kind"]
    texts = {name: value for name, value in metadata.items() if isinstance(value, str)}
    name, namespace = texts.get("name"), texts.get("namespace")
    if name and kind:
        return f"{title} {namespace or 'default'}/{name}" if kind.namespaced else f"{title} {name}"
    number = ordinal(source)
    if name:
        return f"{number}, {title} {namespace + '/' if namespace else ''}{name}"
    return f"{number}, a {title}" + (f" in namespace {namespace}" if namespace else "")
