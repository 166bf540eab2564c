"""What scalars of a manifest mean. The expectations are what sigs.k8s.io/yaml v1.6.0 answers."""

from __future__ import annotations

import pytest

from felixpy.manifests.reading import scalars
from felixpy.manifests.reading.scalars import Refused

PLAIN = [
    # words
    ("yes", True), ("On", True), ("TRUE", True), ("y", True), ("Y", True),
    ("no", False), ("OFF", False), ("false", False), ("n", False),
    ("yEs", "yEs"), ("tRUE", "tRUE"), ("Null", None), ("~", None), ("", None), ("nULL", "nULL"),
    # integers
    ("0", 0), ("-0", 0), ("80", 80), ("+80", 80), ("022", 18), ("-022", -18), ("0o22", 18), ("00", 0),
    ("0x1F90", 8080), ("0XfF", 255), ("-0x10", -16), ("0b101", 5), ("0B11", 3),
    ("1_000", 1000), ("1__0", 10), ("0_", 0), ("_1", "_1"),
    ("9223372036854775807", 2**63 - 1), ("18446744073709551615", 2**64 - 1), ("-9223372036854775808", -(2**63)),
    # too long for 64 bits
    ("18446744073709551616", 18446744073709552000), ("+18446744073709551615", 18446744073709552000),
    ("1" + "0" * 24, 1e24), ("9" * 5000, "9" * 5000), ("0x1FFFFFFFFFFFFFFFFF", "0x1FFFFFFFFFFFFFFFFF"),
    # floats
    ("089", 89), ("08", 8), ("1e3", 1000), ("1E3", 1000), ("12e03", 12000), ("1.", 1), ("1.5", 1.5), (".5", 0.5),
    ("+.5", 0.5), ("1_000.5", 1000.5), ("._5", "._5"), ("1e-7", 1e-7), ("1e20", 10**20), ("1e21", 1e21),
    ("1e400", "1e400"), ("12e34567", "12e34567"),
    # text that looks like a number elsewhere
    ("12:30", "12:30"), ("53:54", "53:54"), ("2024-01-01", "2024-01-01"), ("2024-01-01T00:00:00Z",) * 2,
    ("1.2.3.4", "1.2.3.4"), ("10.0.0.0/8", "10.0.0.0/8"), ("0o8", "0o8"), ("0b2", "0b2"), ("0x", "0x"), ("0xg", "0xg"),
    ("-", "-"), ("+", "+"), (".", "."), (".e5", ".e5"), ("1e", "1e"), ("=", "="), ("<<", "<<"), ("NaN", "NaN"),
    ("Inf", "Inf"), ("1,000", "1,000"), ("٣", "٣"), ("1٣", "1٣"),
]  # fmt: skip


@pytest.mark.parametrize("text, value", PLAIN, ids=[text[:24] or "empty" for text, _ in PLAIN])
def test_plain_scalars(text, value):
    found = scalars.plain(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", [".inf", "-.Inf", "+.INF", ".nan", ".NaN"])
def test_numbers_that_json_cannot_spell_are_refused(text):
    with pytest.raises(Refused, match="not a number that Kubernetes can store"):
        scalars.plain(text)


KEYS = [
    ("app", "app"), ("on", "true"), ("No", "false"), ("1", "1"), ("0x10", "16"), ("010", "8"), ("2024-01-01",) * 2,
    ("1.5", "1.5"), ("1.50", "1.5"), ("1e3", "1000"), ("1e6", "1e+06"), ("123456.7", "123456.7"),
    ("123456789.123", "1.2345679e+08"), ("0.0001", "0.0001"), ("0.00001", "1e-05"), ("-0.0", "-0"), ("0.1", "0.1"),
    ("1e20", "1e+20"), ("5E75", ".inf"), ("-.inf", "-.inf"), (".nan", ".nan"), ("1e400", "1e400"),
]  # fmt: skip


@pytest.mark.parametrize("text, key", KEYS)
def test_plain_keys(text, key):
    assert scalars.plain_key(text) == key


@pytest.mark.parametrize("text, reason", [("~", "not null"), ("", "not null"), ("0xffffffffffffffff", "be text")])
def test_keys_that_are_refused(text, reason):
    with pytest.raises(Refused, match=reason):
        scalars.plain_key(text)


TAGGED = [
    ("str", "80", "80"), ("str", "", ""), ("str", "yes", "yes"), ("int", "80", 80), ("int", "0x10", 16),
    ("float", "3", 3), ("float", "3.5", 3.5), ("bool", "yes", True), ("null", "", None), ("null", "~", None),
    ("binary", "aGVsbG8=", "hello"), ("binary", "aGVs\nbG8=", "hello"), ("binary", "/w==", "\ufffd"),
    ("timestamp", "2024-01-01", "2024-01-01"),
]  # fmt: skip


@pytest.mark.parametrize("tag, text, value", TAGGED)
def test_tagged_scalars(tag, text, value):
    assert scalars.tagged(f"tag:yaml.org,2002:{tag}", text) == value


@pytest.mark.parametrize(
    "tag, text, reason",
    [
        ("tag:yaml.org,2002:int", "abc", '"abc" does not fit its tag !!int'),
        ("tag:yaml.org,2002:int", "1e3", "does not fit"),
        ("tag:yaml.org,2002:int", "true", "does not fit"),
        ("tag:yaml.org,2002:bool", "1", "does not fit"),
        ("tag:yaml.org,2002:null", "x", "does not fit"),
        ("tag:yaml.org,2002:float", "18446744073709551615", "does not fit"),
        ("tag:yaml.org,2002:binary", "a b*", "not base64"),
        ("tag:yaml.org,2002:python/name:os.system", "", "the tag !!python/name:os.system is not known"),
        ("!secret", "x", "the tag !secret is not known"),
        ("int", "1", "the tag int is not known"),
    ],
)
def test_tags_that_are_refused(tag, text, reason):
    with pytest.raises(Refused, match=reason):
        scalars.tagged(tag, text)


def test_a_tagged_key_is_text():
    assert scalars.tagged_key("tag:yaml.org,2002:int", "0x10") == "16"
    assert scalars.tagged_key("tag:yaml.org,2002:str", "on") == "on"
