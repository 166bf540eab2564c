"""What a rule does to a packet: a table of targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from felixpy.dump import Option, Rule
from felixpy.errors import UsageError
from felixpy.walk.matches import FULL_MARK, mark_and_mask, ranges
from felixpy.walk.packet import STATES, parse_address, spell_address
from felixpy.walk.run import ACCEPT, DROP, REJECT, RETURNED, Act, Code, Run

FINAL = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": REJECT, "RETURN": RETURNED}

HARMLESS = frozenset({
    "", "LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "LED", "IDLETIMER", "RATEEST", "SET",
    "DSCP", "TOS", "TTL", "HL", "ECN", "TCPMSS", "TCPOPTSTRIP", "CHECKSUM", "CLASSIFY", "SECMARK", "CONNSECMARK",
})  # fmt: skip
"""Targets that note something or change what no criterion here looks at; the next rule follows."""

Arguments = Mapping[str, str]


class UnknownTarget(Exception):
    """A target that the walk does not understand."""


def make_act(rule: Rule, family: int, chain: Callable[[str], Code | None]) -> Act:
    """What the rule does; `chain` finds chains of its table. Raises UnknownTarget."""
    if rule.target in FINAL:
        outcome = FINAL[rule.target]
        return lambda run: outcome
    if rule.target in HARMLESS:
        return nothing
    target = chain(rule.target)
    if target is not None:
        if rule.goto:
            return _goto(target)
        return nothing if target.is_empty else _jump(target)
    if rule.target not in ACTS:
        raise UnknownTarget(f"-j {rule.target}")
    try:
        return ACTS[rule.target](_arguments(rule.arguments), family)
    except (ValueError, KeyError, UsageError) as wrong:
        raise UnknownTarget(f"-j {rule.target}: {wrong}") from wrong


def _arguments(options: tuple[Option, ...]) -> Arguments:
    return {option.name: " ".join(option.values) for option in options}


def nothing(run: Run) -> None:
    return None


def _jump(target: Code) -> Act:
    def act(run: Run) -> str | None:
        outcome = run.traverse(target)
        return None if outcome is RETURNED else outcome

    return act


def _goto(target: Code) -> Act:
    def act(run: Run) -> str | None:
        outcome = run.traverse(target)
        return RETURNED if outcome is None else outcome

    return act


def _mark(arguments: Arguments, family: int) -> Act:
    """``--set-xmark V/M`` clears M and flips V; ``--set-mark V/M`` clears M and sets V."""
    if "--set-xmark" in arguments:
        value, mask = mark_and_mask(arguments["--set-xmark"])
    else:
        value, mask = mark_and_mask(arguments["--set-mark"])
        mask |= value
    keep = FULL_MARK & ~mask

    def act(run: Run) -> None:
        run.mark = run.mark & keep ^ value

    return act


def _connection_mark(arguments: Arguments, family: int) -> Act:
    nf_mask = int(arguments.get("--nfmask", arguments.get("--mask", "0xffffffff")), 0)
    ct_mask = int(arguments.get("--ctmask", arguments.get("--mask", "0xffffffff")), 0)

    def save(run: Run) -> None:
        run.connection_mark = run.connection_mark & ~ct_mask ^ run.mark & nf_mask

    def restore(run: Run) -> None:
        run.mark = run.mark & ~nf_mask ^ run.connection_mark & ct_mask

    if "--save-mark" in arguments:
        return save
    if "--restore-mark" in arguments:
        return restore
    value, mask = mark_and_mask(arguments.get("--set-xmark") or arguments["--set-mark"])

    def put(run: Run) -> None:
        run.connection_mark = run.connection_mark & ~(mask | value) ^ value

    return put


def _no_track(arguments: Arguments, family: int) -> Act:
    def act(run: Run) -> None:
        run.tracked = False

    return act


def _connection_tracking(arguments: Arguments, family: int) -> Act:
    return _no_track(arguments, family) if "--notrack" in arguments else nothing


def _end(text: str, family: int) -> tuple[int | None, int | None]:
    """Address and port of ``10.0.0.1-10.0.0.9:80-90`` or ``[fd00::1]:80``: of a range the first, None for none."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif family == 6:
        address, port = text, ""
    else:
        address, _, port = text.partition(":")
    first = address.partition("-")[0]
    return parse_address(first).number if first else None, int(port.partition("-")[0]) if port else None


def _destination(arguments: Arguments, family: int) -> Act:
    address, port = _end(arguments["--to-destination"], family)
    return lambda run: rewrite_destination(run, address, port)


def _redirect(arguments: Arguments, family: int) -> Act:
    """To the machine itself: the address of the interface, for its own packets loopback."""
    port = ranges(arguments["--to-ports"].replace("-", ":"))[0][0] if "--to-ports" in arguments else None
    loopback = parse_address("127.0.0.1" if family == 4 else "::1").number

    def act(run: Run) -> str:
        own = run.local.get(run.in_interface) if run.in_interface else None
        return rewrite_destination(run, min(own) if own else loopback, port)

    return act


def rewrite_destination(run: Run, address: int | None, port: int | None) -> str:
    """DNAT: the packet gets a new destination, and its connection is one with a rewritten destination."""
    if address is not None:
        run.destination = address
    if port is not None:
        run.port = port
    run.ct |= STATES["DNAT"]
    run.rewritten["destination"] = spell_end(run.destination, run.port, run.family)
    return ACCEPT


def spell_end(address: int, port: int, family: int) -> str:
    text = spell_address(address, family)
    if not port:
        return text
    return f"[{text}]:{port}" if family == 6 else f"{text}:{port}"


def _source(arguments: Arguments, family: int) -> Act:
    words = arguments["--to-source"]
    address, _ = _end(words, family)

    def act(run: Run) -> str:
        if address is not None:
            run.source = address
        run.rewritten["source"] = words
        return ACCEPT

    return act


def _masquerade(arguments: Arguments, family: int) -> Act:
    def act(run: Run) -> str:
        run.rewritten["source"] = "the address of " + (run.out_interface or "the machine")
        return ACCEPT

    return act


ACTS: Mapping[str, Callable[[Arguments, int], Act]] = {
    "MARK": _mark,
    "CONNMARK": _connection_mark,
    "NOTRACK": _no_track,
    "CT": _connection_tracking,
    "DNAT": _destination,
    "REDIRECT": _redirect,
    "SNAT": _source,
    "MASQUERADE": _masquerade,
}
