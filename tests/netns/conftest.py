"""Fixtures of the tests that need a real kernel: root, its tools, and a network namespace for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.netns.namespace import Namespace, fresh_namespace, obstacle


@pytest.fixture(scope="session")
def kernel() -> None:
    """Skip where there is no kernel to try things on, but fail in CI: there it is a broken set-up, not a choice."""
    if reason := obstacle():
        (pytest.fail if os.environ.get("CI", "").lower() not in ("", "0", "false") else pytest.skip)(reason)


@pytest.fixture
def netns(kernel: None) -> Iterator[Namespace]:
    """The test runs inside a fresh network namespace; every process it starts does too."""
    with fresh_namespace() as namespace:
        yield namespace
