"""Follow the changes in a cluster: a watch for each resource, and the current objects.

When the connection is lost, a watch continues from the last revision that it has seen, bookmarks included; if the API
server no longer has that revision (410 Gone), the resource is listed again.
(kubernetes.io/docs/reference/using-api/api-concepts, efficient detection of changes)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, NamedTuple

from felixpy.errors import FelixpyError
from felixpy.kubectl.client import Expired, Forbidden, Kubectl, Unauthorized
from felixpy.kubectl.listing import Listed, Listing, group, kept, list_named, list_resource
from felixpy.kubectl.resources import RESOURCES

WATCH_SECONDS = 300
"""How long the API server answers one watch: so long at most a connection that died unseen goes unnoticed."""

NAMED_SECONDS = 30.0
"""The interval, in seconds, for reading objects by name: watching them would need further permissions."""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
MOST_TOMBSTONES = 10_000

VERBS = {"ADDED": "added", "MODIFIED": "changed", "DELETED": "deleted"}

Key = tuple[str, str]
"""Namespace and name."""


class WatchEvent(NamedTuple):
    """An object that was added, changed or deleted (`action`), and `by` which manager, if managed fields name one."""

    action: str
    kind: str
    namespace: str
    name: str
    by: str = ""

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {name} {self.action}" + (f" by {self.by}" if self.by else "")


class _News(NamedTuple):
    """One event of a watch, or the whole list of a resource that was listed again; `said` is an error message."""

    resource: str
    verb: str = ""
    item: dict[str, Any] | None = None
    listed: Listed | None = None
    said: str = ""


class Mirror:
    """The objects of a cluster, kept current by watches that start from a listing. Error messages go to `tell`."""

    def __init__(self, kubectl: Kubectl, listing: Listing, tell: Callable[[str], None]) -> None:
        self._kubectl, self._tell = kubectl, tell
        self._listing = listing
        self._objects = {key: _keyed(listed) for key, listed in listing.listed.items()}
        self._revisions: dict[tuple[str, Key], int] = {}
        """The newest revision of each object in watch events, including deleted objects."""
        self._changed: dict[str, dict[Key, dict[str, Any] | None]] = {}
        self._news: SimpleQueue[_News] = SimpleQueue()
        self._stopping = Event()
        self._threads: list[Thread] = []
        for key, objects in self._objects.items():
            self._note_revisions(key, objects)

    def start(self) -> None:
        """Start the watches; objects that are read by name are polled."""
        for key, listed in self._listing.listed.items():
            follow = self._read_named if RESOURCES[key].objects else self._watch
            thread = Thread(target=follow, args=(key, listed), name=f"watch {key}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End all watches."""
        self._stopping.set()
        for thread in self._threads:
            # A thread that was about to ask again starts one more process.
            while thread.is_alive():
                self._kubectl.close()
                thread.join(timeout=0.1)

    def changes(self, wait: float) -> list[WatchEvent]:
        """The changes since the last call; waits at most `wait` seconds for the first one."""
        found: list[WatchEvent] = []
        try:
            news = self._news.get(timeout=wait)
            while True:
                found += self._take(news)
                news = self._news.get_nowait()
        except Empty:
            return found

    def taken(self) -> dict[str, dict[Key, dict[str, Any] | None]]:
        """The objects that changed since the last call, None for deleted ones, by `group` and key."""
        changed, self._changed = self._changed, {}
        return {group(self._listing, resource): objects for resource, objects in changed.items()}

    # --- taking news, in the caller's thread

    def _take(self, news: _News) -> Iterator[WatchEvent]:
        if news.said:
            self._tell(news.said)
        elif news.listed:
            yield from self._replace(news.resource, _keyed(news.listed))
        elif news.item is not None:
            yield from self._one(news.resource, news.verb, news.item)

    def _replace(self, resource: str, after: dict[Key, dict[str, Any]]) -> Iterator[WatchEvent]:
        """Replace the known objects of a resource by a new list; yield the differences."""
        before = self._objects[resource]
        for key in sorted(before.keys() | after.keys()):
            old, new = before.get(key), after.get(key)
            if _meaning(old) != _meaning(new):
                self._changed.setdefault(resource, {})[key] = new
                yield self._change(resource, key, "DELETED" if new is None else "MODIFIED" if old else "ADDED", "")
        self._objects[resource] = after
        self._note_revisions(resource, after)

    def _one(self, resource: str, verb: str, item: dict[str, Any]) -> Iterator[WatchEvent]:
        """Apply an event. One that is older than the known object comes from a restarted watch, and is ignored."""
        metadata = item.get("metadata", {})
        key = (metadata.get("namespace", ""), metadata.get("name", ""))
        revision, known = _number(metadata.get("resourceVersion")), self._revisions.get((resource, key), 0)
        if revision and revision <= known:
            return
        self._revisions[resource, key] = revision
        objects = self._objects[resource]
        old = objects.get(key)
        if verb == "DELETED":
            objects.pop(key, None)
            self._bury()
        else:
            objects[key] = kept(item, resource, self._listing.listed[resource].version)
        if _meaning(old) != _meaning(objects.get(key)):
            self._changed.setdefault(resource, {})[key] = objects.get(key)
            yield self._change(resource, key, "ADDED" if old is None else verb if verb == "DELETED" else "MODIFIED",
                               _manager(metadata))  # fmt: skip

    def _bury(self) -> None:
        """Drop the revisions of deleted objects when there are many."""
        living = sum(len(objects) for objects in self._objects.values())
        if len(self._revisions) > living + MOST_TOMBSTONES:
            self._revisions = {
                (resource, key): number for (resource, key), number in self._revisions.items()
                if key in self._objects[resource]
            }  # fmt: skip

    def _note_revisions(self, resource: str, objects: dict[Key, dict[str, Any]]) -> None:
        for key, item in objects.items():
            self._revisions[resource, key] = _number(item["metadata"].get("resourceVersion"))

    @staticmethod
    def _change(resource: str, key: Key, verb: str, by: str) -> WatchEvent:
        return WatchEvent(VERBS[verb], RESOURCES[resource].kind, *key, by)

    # --- watching, in a thread for each resource

    def _watch(self, resource: str, listed: Listed) -> None:
        revision, pause, said = listed.revision, FIRST_PAUSE_SECONDS, ""
        while not self._stopping.is_set():
            try:
                for event in self._events(resource, listed.version, revision):
                    item = event.get("object") or {}
                    revision = item.get("metadata", {}).get("resourceVersion") or revision
                    pause, said = FIRST_PAUSE_SECONDS, ""
                    if event.get("type") in VERBS:
                        self._news.put(_News(resource, event["type"], item))
            except Expired:
                revision = self._list_again(resource, listed) or revision
            except (Forbidden, Unauthorized) as wrong:
                said = self._trouble(
                    said, f"{wrong}; changes of {resource} are seen every {LONGEST_PAUSE_SECONDS:.0f} s"
                )
                revision = self._list_again(resource, listed) or revision
                pause = LONGEST_PAUSE_SECONDS
            except FelixpyError as wrong:
                said = self._trouble(said, f"{wrong}; watching {resource} goes on when the server answers")
            # Also after a watch that ended normally: a proxy may end each of them at once.
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _read_named(self, resource: str, listed: Listed) -> None:
        said = ""
        while not self._stopping.wait(NAMED_SECONDS):
            try:
                self._news.put(_News(resource, listed=list_named(self._kubectl, resource, listed.version)))
                said = ""
            except FelixpyError as wrong:
                said = self._trouble(said, f"{wrong}; changes of {resource} are seen when the server answers")

    def _trouble(self, before: str, now: str) -> str:
        """Report an error message unless it is the same as the one before; return it."""
        if not before and not self._stopping.is_set():
            self._news.put(_News("", said=now))
        return now

    def _events(self, resource: str, version: str, revision: str) -> Iterator[dict[str, Any]]:
        query = f"watch=1&resourceVersion={revision}&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
        for line in self._kubectl.follow(f"{RESOURCES[resource].path(version)}?{query}"):
            try:
                event = json.loads(line)
            except ValueError:  # the connection ended within a line: the next watch repeats the event
                return
            if event.get("type") == "ERROR" or event.get("kind") == "Status":
                said = (event.get("object") or event).get("message") or "the watch was ended"
                raise Expired(f"{resource}: {said}")
            yield event

    def _list_again(self, resource: str, listed: Listed) -> str:
        """List a resource again and return its revision, "" if that fails."""
        try:
            found = list_resource(self._kubectl, resource, listed.version)
        except FelixpyError:  # said by the watch that follows
            return ""
        self._news.put(_News(resource, listed=found))
        return found.revision


def _keyed(listed: Listed) -> dict[Key, dict[str, Any]]:
    return {(item["metadata"].get("namespace", ""), item["metadata"]["name"]): item for item in listed.items}


def _meaning(item: dict[str, Any] | None) -> Any:
    """An object without the fields that change with every write, and without an empty status, for comparing."""
    if item is None:
        return None
    kept = {key: value for key, value in item.items() if key != "status" or value}
    return {**kept, "metadata": {key: value for key, value in item["metadata"].items() if key != "resourceVersion"}}


def _number(revision: Any) -> int:
    """A revision as a number, to compare with others of the same resource; 0 if it is not a number."""
    return int(revision) if isinstance(revision, str) and revision.isdigit() else 0


def _manager(metadata: dict[str, Any]) -> str:
    """The manager that wrote an object last, such as kubectl-edit or argocd-controller."""
    fields = [each for each in metadata.get("managedFields") or () if isinstance(each, dict)]
    last = max(fields, key=lambda each: str(each.get("time") or ""), default={})
    return str(last.get("manager") or "")
