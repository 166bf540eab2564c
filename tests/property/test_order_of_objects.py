"""In which order the objects of a cluster stand does not matter to the text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import felixpy
from felixpy.config import Setting
from felixpy.model import Host
from tests.clusters import cluster
from tests.property.strategies import fewer, hosts, settings, things
from tests.property.test_repeatable import texts

pytestmark = pytest.mark.property


@fewer
@given(things(), hosts, settings, st.randoms(use_true_random=False))
def test_shuffled_objects_give_the_same_text(
    found: list[object], host: Host, given_settings: tuple[Setting, ...], draw: random.Random
) -> None:
    shuffled = draw.sample(found, len(found))
    one, other = (
        felixpy.compile(cluster(*order), "node1", host=host, settings=given_settings) for order in (found, shuffled)
    )
    assert texts(one) == texts(other)
