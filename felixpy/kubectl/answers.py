"""Parsing responses of an API server, and describing unexpected ones."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from felixpy.kubectl.client import Unreachable

LISTS = "…List"
"""Any kind that ends so; custom resources choose theirs."""

Found = TypeVar("Found")

_WEB_PAGE = re.compile(rb"\s*<(!doctype\s+html|html|\?xml)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)


class _Metadata(msgspec.Struct):
    following: str = msgspec.field(default="", name="continue")


class _Head(msgspec.Struct):
    """A list without its items, which are skipped in parsing."""

    metadata: _Metadata


def decoded(answer: bytes, path: str, kind: str) -> dict[str, Any]:
    """An object of a kind. Raises Unreachable for anything else, such as the login page of a proxy."""
    found = _decoded(answer, path, dict[str, Any])
    told = str(found.get("kind"))
    if told != kind and not (kind == LISTS and told.endswith("List")):
        raise Unreachable(f"{path}: the answer is not that of an API server: no {kind}, but kind {told}")
    return found


def continuation(answer: bytes, path: str) -> str:
    """The continue token of a page of a list, "" on the last page. Raises Unreachable as `decoded` does."""
    return _decoded(answer, path, _Head).metadata.following


def _decoded(answer: bytes, path: str, kind: type[Found]) -> Found:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as wrong:
        said = _strange(answer) or f"the answer is not that of an API server: {wrong}"
        raise Unreachable(f"{path}: {said}") from None


def _strange(answer: bytes) -> str:
    """A description of a response that is not JSON, if it is empty or a web page; else ""."""
    if not answer.strip():
        return "the answer is empty"
    if not _WEB_PAGE.match(answer):
        return ""
    title = _TITLE.search(answer)
    named = f' ("{" ".join(title[1].decode(errors="replace").split())}")' if title else ""
    return f"the answer is a web page{named}, not that of an API server; a proxy in between may ask for a login"
