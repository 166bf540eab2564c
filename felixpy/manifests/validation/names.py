"""The syntax of names and labels in Kubernetes and Calico."""

from __future__ import annotations

import re

from felixpy.model import Labels
from felixpy.remembered import remembered

LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{LABEL}(?:\.{LABEL})*", re.ASCII)
_NAME_PART = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)


@remembered(1 << 14)
def is_subdomain(text: str) -> bool:
    """DNS-1123 subdomain: at most 253 lower-case letters, digits, "-" and "."."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


@remembered(1 << 14)
def is_qualified_name(text: str) -> bool:
    """A label's or annotation's key: at most 63 characters, maybe behind a DNS subdomain and "/"."""
    prefix, slash, name = text.rpartition("/")
    if slash and not is_subdomain(prefix):
        return False
    return len(name) <= 63 and _NAME_PART.fullmatch(name) is not None


@remembered(1 << 14)
def is_label_value(text: str) -> bool:
    """A label's value: empty, or at most 63 characters that begin and end with a letter or digit."""
    return not text or (len(text) <= 63 and _NAME_PART.fullmatch(text) is not None)


def labels_to_apply(labels: Labels) -> Labels:
    """The labels of a profile: all of them, or none if one is malformed.

    Calico validates a profile as a whole and keeps only the rules of an invalid one; a prefix such as ``pcns.`` can
    make a valid label of a namespace too long. (felix/calc: validation filter)
    """
    sound = all(is_qualified_name(key) and is_label_value(value) for key, value in labels.items())
    return labels if sound else {}


_PORT_NAME = re.compile(r"(?!-)(?!.*--)(?=.*[a-z])[a-z0-9-]{1,15}(?<!-)", re.ASCII)


@remembered(1 << 12)
def is_port_name(text: str) -> bool:
    """A port name in a rule: 1 to 15 of a-z, 0-9 and "-", at least one letter, "-" neither outside nor doubled.

    >>> is_port_name("http"), is_port_name("8080"), is_port_name("8000-8010"), is_port_name("a--b")
    (True, False, False, False)
    """
    return _PORT_NAME.fullmatch(text) is not None


_ENDPOINT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)


def is_endpoint_name(text: str) -> bool:
    """Whether Felix accepts the name of an endpoint's port or profile. (libcalico-go/lib/validator/v1)"""
    return _ENDPOINT_NAME.fullmatch(text) is not None


def too_long_to_inherit(labels: Labels, prefix: str) -> str:
    """The first label with a valid key that is invalid with `prefix` in front of it, or ""."""
    return next((key for key in labels if len(key) > 50 and not is_qualified_name(prefix + key)), "")
