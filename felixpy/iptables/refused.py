"""Rules that no kernel accepts, tried with iptables 1.8.9 and both backends."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from felixpy.netfilter.criteria import Protocol
from felixpy.netfilter.numbers import NUMBERS, WITH_PORTS
from felixpy.netfilter.rules import Body

MAX_INTERFACE = 15
MAX_LIMIT_RATE = LIMIT_SCALE = 10_000
MAX_LIMIT_BURST = 10_000
DEFAULT_LIMIT_BURST = 5
CLOCK = 250
WORD = (1 << 32) - 1


class Refusal(NamedTuple):
    """Rules that no kernel accepts: those with `trigger` in their text for which `finds` is true; `name` is for JSON.

    `finds` gets the rule and its table; it is called only if `doubt` matches the rule's text. `verdict` and
    `consequence` replace the data plane's usual sentences.
    """

    name: str
    trigger: str
    finds: Callable[[Body, str], bool]
    reason: str
    doubt: re.Pattern[str] = re.compile("")
    verdict: str = ""
    consequence: str = ""


def _long_interface(body: Body, table: str) -> bool:
    names = (match.options[0].values[0] for match in body.matches if match.module in ("-i", "-o"))
    return any(len(name.removesuffix("+").encode()) > MAX_INTERFACE - name.endswith("+") for name in names)


def _two_protocols(body: Body, table: str) -> bool:
    return sum(match.module == "-p" for match in body.matches) > 1


LONG_INTERFACE = Refusal(
    "interface",
    "-interface ",
    _long_interface,
    f"interface names have at most {MAX_INTERFACE} characters",
    re.compile(rf"-interface (?:\S{{{MAX_INTERFACE + 1}}}|\S*[^\x00-\x7f])"),
)
TWO_PROTOCOLS = Refusal(
    "protocols", "! -p ", _two_protocols, "a rule has room for one -p: protocol excludes notProtocol"
)


def _positive_protocol(body: Body) -> int:
    """The number of the protocol that a rule matches, 0 for none, any or a negated one."""
    criteria = (test.criterion for test in body.tests if not test.negated)
    return next((criterion.number for criterion in criteria if isinstance(criterion, Protocol)), 0)


def _icmp_without_protocol(body: Body, table: str) -> bool:
    wanted = {"icmp": NUMBERS["icmp"], "icmp6": NUMBERS["icmpv6"]}
    return any(wanted.get(match.module, _positive_protocol(body)) != _positive_protocol(body) for match in body.matches)


def _ports_without_protocol(body: Body, table: str) -> bool:
    return _positive_protocol(body) not in WITH_PORTS


ICMP_ALONE = Refusal(
    "icmp",
    "-m icmp",
    _icmp_without_protocol,
    "an ICMP type can only be matched together with protocol ICMP or ICMPv6",
)
PORTS_ALONE = Refusal(
    "ports",
    "-m multiport ",
    _ports_without_protocol,
    "ports can only be matched together with TCP, UDP, UDPLite or SCTP",
)


def _impossible_limit(body: Body, table: str) -> bool:
    for match in body.matches:
        given = {option.name: option.values[0] for option in match.options if match.module == "limit"}
        if "--limit" in given:
            count, _, unit = given["--limit"].partition("/")
            rate, burst = int(count), int(given.get("--limit-burst", DEFAULT_LIMIT_BURST))
            ticks = LIMIT_SCALE * _SECONDS.get(unit, 1)
            if rate == 0 or rate > ticks or burst > MAX_LIMIT_BURST or _overflows(ticks // rate, burst):
                return True
    return False


def _overflows(period: int, burst: int) -> bool:
    """Whether the kernel's counter of 32 bits runs over with a period (in ticks) and a burst.

    The kernel sees most overflows by the product being smaller than the factor, and so does this. It depends on the
    kernel's clock; 250 Hz is that of most distributions. (net/netfilter/xt_limit.c: limit_mt_check, user2credits)
    """
    return _credits(period * burst & WORD) < _credits(period)


def _credits(ticks: int) -> int:
    per_tick = CLOCK * (1 << (WORD // (CLOCK * _SECONDS["day"])).bit_length() - 1)
    if ticks > WORD // per_tick:
        return ticks // LIMIT_SCALE * per_tick & WORD
    return ticks * per_tick // LIMIT_SCALE


_SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400}

LIMIT = Refusal(
    "limit",
    "--limit ",
    _impossible_limit,
    f"a rate must be above zero and at most {MAX_LIMIT_RATE} a second, a burst at most {MAX_LIMIT_BURST}, "
    "and the time that a whole burst takes to come back at most a few days",
)


def _foreign_address(body: Body, table: str) -> bool:
    return any(
        _is_foreign(option.values[0], body.family)
        for option in body.arguments
        if option.name in ("--to-source", "--to-destination")
    )


def _is_foreign(address: str, family: int) -> bool:
    bare = address.rpartition(":")[0] if address.count(":") == 1 else address
    return (":" in bare) != (family == 6)


def _reject_elsewhere(body: Body, table: str) -> bool:
    return table != "filter" and body.target == "REJECT" and not body.arguments


def _broken_log_prefix(body: Body, table: str) -> bool:
    """Whether a log prefix contains a quote: it ends the prefix, and what follows is another word."""
    start, end = body.text.find('--log-prefix "'), body.text.rfind('" --log-level')
    return body.target == "LOG" and '"' in body.text[start + len('--log-prefix "') : end]


FOREIGN = Refusal("address", "--to-", _foreign_address, "an address of the other IP family")
REJECTS = Refusal("reject", "REJECT", _reject_elsewhere, "REJECT works in the filter table only, not in raw or mangle")
PREFIX = Refusal("log-prefix", "LOG ", _broken_log_prefix, "a log prefix cannot hold a quote")
