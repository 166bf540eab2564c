"""One run of loading: documents are judged one by one, converted, and put together."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TextIO

from felixpy.errors import InputError, Path, Place, Problem
from felixpy.manifests import assembly, strangers
from felixpy.manifests.completion.assumptions import assume
from felixpy.manifests.completion.installation import Installed, installed
from felixpy.manifests.completion.owners import Owners
from felixpy.manifests.completion.workloads import expand
from felixpy.manifests.kinds import CALICO, STORED, Key, Kind, known
from felixpy.manifests.objects import enterprise, storage
from felixpy.manifests.objects.pods import Pods, absence
from felixpy.manifests.reading.documents import Document, Reading, no_garbage_collection, read, subject
from felixpy.manifests.reading.files import Input
from felixpy.manifests.reading.positions import locate
from felixpy.manifests.validation.findings import Finding, Ignored
from felixpy.model import Cluster, Source

DEFAULT_PREFIX = "cali"
"""What names of pods' interfaces begin with unless Felix's environment says something else."""

_PLAIN = re.compile(r"[^\s\[\]{},#\"'][^\[\]{},#\"\n]*")
"""A scalar without quotes, up to what ends it."""

_TOLD = 3
"""How many pods of one sort a warning names."""


class Places:
    """Finds places in the texts that were read. A cluster keeps it, so it keeps nothing else alive."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    def find(self, source: Source, path: Path, *, key: bool = False) -> Place:
        """File, line and column of the value at a path of an object, or of its key."""
        text = self.texts.get(source.file)
        if text is None:
            return Place(source.file, source.line)
        return Place(source.file, *locate(text, source, path, key=key))

    def in_quotes(self, place: Place) -> str:
        """Advice to put the plain scalar at a place into quotes, as it is written there; "" if there is none."""
        lines = self.texts.get(place.file, "").splitlines()
        line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
        written = _PLAIN.match(line, max(place.column - 1, 0))
        return f'write "{written[0].rstrip()}"' if written else ""


class Loading:
    """What was read, and everything that there is to say about it."""

    def __init__(self, *, strict: bool | None, interface_prefix: str = "") -> None:
        self.strict, self.interface_prefix = strict, interface_prefix
        self.reading = Reading()
        self.places = Places({})
        self.problems: list[Problem] = []
        self.objects: dict[Key, Document] = {}
        self.refused: set[Key] = set()
        self.told: set[tuple[Source, Finding]] = set()
        self.skipped: dict[tuple[bool, str], list[Source]] = defaultdict(list)
        self.found = Installed()
        self.printed_nodes: set[Source] = set()

    def load(self, paths: Sequence[Input], *, node: str | None, expanding: bool, stdin: TextIO | None) -> Cluster:
        """Read, judge, convert. Raises InputError with all problems when one is an error."""
        with no_garbage_collection():
            self.reading = read(paths, stdin=stdin)
            self.places = Places(self.reading.texts)
            self.problems += self.reading.problems
            documents = self.judged(self.reading.documents)
            documents = self.installed(documents)
            if expanding:
                documents = self.completed(documents, expand(documents, node=node))
            documents = self.completed(documents, self.assumed(documents))
            self.gather(documents, without=frozenset(strangers.WORKLOADS if expanding else ()))
            cluster = self.assembled(Owners(documents))
        if self.failed:
            raise InputError(self.problems)
        return cluster

    def installed(self, documents: list[Document]) -> list[Document]:
        """What installs Calico counts as it would on the cluster; its pools are added."""
        self.found = installed(documents)
        for document, finding in self.found.findings:
            self.report(document.source, subject(document.data), finding)
        if not self.interface_prefix:
            self.interface_prefix = self.found.interface_prefix or DEFAULT_PREFIX
        return documents + self.judged(self.found.pools)

    @property
    def failed(self) -> bool:
        return any(problem.severity == "error" for problem in self.problems)

    def judged(self, documents: Sequence[Document]) -> list[Document]:
        """The documents that are sound, without nulls and with a namespace where there must be one.

        Kinds that have no effect on rules pass unseen.
        """
        table, sound = known(), []
        for document in documents:
            data = document.data
            version = data["apiVersion"]
            kind = table.get((version, data["kind"]))
            if (version, data["kind"]) == (CALICO, "Node"):
                data = storage.kubernetes_node(data)
                version, document = data["apiVersion"], Document(data, document.source)
                kind = table[version, "Node"]
                self.printed_nodes.add(document.source)
            if kind is None and (current := strangers.OLD.get((version, data["kind"]))):
                self.report(document.source, self.described(data, document.source), _outdated(version, current))
                version, data = current, {**data, "apiVersion": current}
                document = Document(data, document.source)
                kind = table.get((version, data["kind"]))
            if kind is None:
                complaint = strangers.judge(version, data["kind"])
                if complaint is None:
                    sound.append(document)
                else:
                    self.report(document.source, self.described(data, document.source), Finding((), *complaint))
                continue
            if version == STORED:
                data = storage.restored(data)
            if kind.name == "FelixConfiguration":
                data = self.without_enterprise(kind, data, document.source)
            if not kind.clean(data):
                if not self.passes(kind, data, document.source):
                    continue
                data = kind.shape.normal(data)
            if kind.namespaced and not data["metadata"].get("namespace"):
                data = {**data, "metadata": {**data["metadata"], "namespace": "default"}}
            sound.append(document if data is document.data else Document(data, document.source))
        return sound

    def without_enterprise(self, kind: Kind, data: dict[str, Any], source: Source) -> dict[str, Any]:
        """A FelixConfiguration as this release of Calico knows it."""
        known: Mapping[str, object] = getattr(getattr(kind.shape, "fields", {}).get("spec"), "fields", {})
        spec, names = enterprise.split(data.get("spec"), known)
        for finding in enterprise.told(names):
            self.report(source, self.described(data, source), finding)
        return {**data, "spec": spec} if names else data

    def passes(self, kind: Kind, data: dict[str, Any], source: Source) -> bool:
        """Report everything about one object; whether it may go on."""
        findings = list(kind.shape.findings(data, ()))
        title = self.described(data, source)
        for finding in findings:
            self.report(source, title, finding)
        sound = all(finding.severity != "error" for finding in findings)
        name = data["metadata"].get("name") if isinstance(data.get("metadata"), dict) else None
        if not sound and isinstance(name, str):
            self.refused.add(Key("", name, kind))
        return sound

    def assumed(self, documents: list[Document]) -> tuple[list[Document], list[Problem]]:
        """Namespaces and service accounts that must exist; the strict want to be asked for them."""
        documents, problems = assume(documents)
        return documents, [replace(problem, severity="error") for problem in problems] if self.strict else problems

    def completed(self, known: list[Document], result: tuple[list[Document], list[Problem]]) -> list[Document]:
        """What expansion and assumptions add, judged as well. After errors they may be misled, so they keep silent."""
        documents, problems = result
        if not self.failed:
            self.problems += problems
        seen = set(map(id, known))
        added = self.judged([document for document in documents if id(document) not in seen])
        return [document for document in documents if id(document) in seen] + added

    def gather(self, documents: Sequence[Document], without: frozenset[str]) -> None:
        """Objects by their identity; of several with one identity the last one counts, as with kubectl apply."""
        table = known()
        for document in documents:
            data = document.data
            kind = table.get((data["apiVersion"], data["kind"]))
            if kind is None:
                if data["kind"] not in without and id(document) not in self.found.used:
                    harmless = strangers.harmless(data["apiVersion"], data["kind"])
                    told = data["kind"] if harmless else f"{data['kind']} ({data['apiVersion']})"
                    self.skipped[harmless, told].append(document.source)
                continue
            metadata = data["metadata"]
            key = Key(metadata["namespace"] if kind.namespaced else "", metadata["name"], kind)
            earlier = self.objects.get(key)
            printed = document.source in self.printed_nodes
            if earlier is not None and (earlier.source in self.printed_nodes) != printed:
                own, other = (earlier, document) if printed else (document, earlier)
                self.objects[key] = Document(storage.joined(own.data, other.data), own.source)
                continue
            if earlier is not None and earlier.data != data:
                self.report(document.source, str(key), self.replaced(earlier.source, document.source))
            self.objects[key] = document
        if self.skipped:
            self.mention_skipped()

    def replaced(self, earlier: Source, later: Source) -> Finding:
        """How an object that is given twice is told; kubectl apply takes both, one after the other."""
        starts = self.reading.starts
        first, second = (bisect_right(starts.get(where.file, []), where.start) for where in (earlier, later))
        if earlier.file == later.file and first != second:
            places = f"documents {first} and {second}"
        else:
            places = f"{earlier.file}:{earlier.line} and {later.file}:{later.line}"
        reason = f"is given twice ({places}) with different content"
        return Finding((), reason, "only the last survives on a cluster", "warning")

    def mention_skipped(self) -> None:
        for words, sort in (("without effect on rules", True), ("of kinds that felixpy does not know", False)):
            found = {kind: sources for (harmless, kind), sources in self.skipped.items() if harmless is sort}
            if found:
                counts = ", ".join(f"{len(sources)} {kind}" for kind, sources in sorted(found.items()))
                first = min(source for sources in found.values() for source in sources)
                reason = f"skipped, {words}: {counts}"
                self.problems.append(Problem(place=Place(first.file), reason=reason, severity="warning"))

    def mention_absent(self, absent: Mapping[str, Sequence[Key]]) -> None:
        """Pods that are not endpoints, by the reason; who looks for one in an answer learns why it is not there."""
        told = []
        for reason, keys in sorted(absent.items()):
            names = [f"{key.namespace}/{key.name}" for key in sorted(keys)[:_TOLD]]
            more = [f"{len(keys) - _TOLD} more"] if len(keys) > _TOLD else []
            told.append(f"{len(keys)} pod{'s' if len(keys) > 1 else ''} {reason} ({', '.join(names + more)})")
        first = min(self.objects[key].source for keys in absent.values() for key in keys)
        reason = f"no endpoints, so no policy selects them: {'; '.join(told)}"
        self.problems.append(Problem(place=Place(first.file, first.line), reason=reason, severity="warning"))

    def assembled(self, owners: Owners) -> Cluster:
        """The cluster; objects that Calico or Felix would ignore are left out with a warning."""
        pods = Pods(self.interface_prefix, owners)
        parts = assembly.Parts()
        absent: dict[str, list[Key]] = defaultdict(list)
        for key, (data, source) in self.objects.items():
            convert = pods if key.kind.name == "Pod" else key.kind.convert
            if convert is None:
                continue
            try:
                converted = convert(data, source)
            except Ignored as why:
                self.report(source, str(key), why.finding)
            else:
                if converted is not None:
                    parts.add(key, converted)
                elif convert is pods:
                    absent[absence(data)].append(key)
                    if on_host := pods.on_host(data, source):
                        parts.add(key, on_host, part="host_pods")
        if absent:
            self.mention_absent(absent)
        for key, finding in parts.drop_twins():
            self.report(self.objects[key].source, str(key), finding)
        parts.sort()
        nodes = sorted(key for key in self.objects if key.kind.part == "nodes")
        parts.add_automatic([self.objects[key] for key in nodes])
        refused_tiers = {key.name for key in self.refused if key.kind.part == "tiers"}
        for key, finding in parts.doubts(refused_tiers, self.objects):
            self.report(self.objects[key].source, str(key), finding)
        return replace(parts.cluster(self.found, self.problems, self.places.find), texts=self.places.texts)

    def described(self, data: dict[str, Any], source: Source) -> str:
        """Kind and name of an object, or as much of them as there is."""
        metadata = data.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        kind = known().get((data["apiVersion"], data["kind"]))
        title = kind.title if kind else data["kind"]
        texts = {field: value for field, value in metadata.items() if isinstance(value, str)}
        name, namespace = texts.get("name"), texts.get("namespace")
        if name and kind:
            return f"{title} {namespace or 'default'}/{name}" if kind.namespaced else f"{title} {name}"
        number = self.reading.ordinal(source)
        if name:
            return f"{number}, {title} {namespace + '/' if namespace else ''}{name}"
        return f"{number}, a {title}" + (f" in namespace {namespace}" if namespace else "")

    def report(self, source: Source, subject: str, finding: Finding) -> None:
        """Keep a finding as a problem with its place.

        Pods that were made of one template are told once what is wrong with it.
        """
        if (source, finding) in self.told:
            return
        self.told.add((source, finding))
        lenient = finding.severity == "refused" and self.strict is False
        place = self.places.find(source, finding.path, key=finding.unknown)
        self.problems.append(
            Problem(
                place=place,
                subject=subject,
                path=finding.path,
                reason=finding.reason,
                hint=self.places.in_quotes(place) if finding.quoted else finding.hint,
                severity="warning" if lenient or finding.severity == "warning" else "error",
                excerpt=finding.excerpt,
            )
        )


def _outdated(version: str, current: str) -> Finding:
    reason = f"apiVersion {version} is not served any more; it is read as {current}"
    return Finding((), reason, severity="warning")
