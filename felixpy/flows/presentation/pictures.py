"""Connections as pictures: a grid of signs, a graph for Graphviz, and a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from string import ascii_lowercase, ascii_uppercase

from felixpy.escape import dot as dot_text
from felixpy.escape import xml
from felixpy.flows.presentation.flow import Flow, Peer

NONE, ITSELF, WHOLE, SOME, UNASKED = "X", "-", ".", "~", " "
"""Signs of cells. As in tables of cyclonus and ``felixpy lab probe``, a dot is traffic that gets through."""

READING = "Rows send, columns receive."

SIGNS = (*ascii_lowercase.replace("x", ""), *ascii_uppercase.replace("X", ""))
"""Signs of traffic that is neither none nor all, for the most frequent first."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The traffic between peers: `peers` in order, `cells` with the traffic in words by (sender, receiver) positions.

    `whole` are the words for all selected traffic, `asked` the positions of the peers in focus (None: all peers).
    """

    peers: tuple[Peer, ...]
    cells: Mapping[tuple[int, int], str]
    whole: str = "All"
    asked: frozenset[int] | None = None

    @property
    def digits(self) -> int:
        return len(str(len(self.peers)))

    @property
    def names(self) -> int:
        """The number of characters of the longest name."""
        return max((len(str(peer)) for peer in self.peers), default=0)

    @property
    def width(self) -> int:
        """The number of columns that the grid takes in a terminal."""
        return self.digits + 1 + self.names + 2 * len(self.peers)

    def signs(self) -> dict[str, str]:
        """Return a sign for each kind of traffic; too many kinds that are less than the whole share one."""
        counts: dict[str, int] = {}
        for words in self.cells.values():
            counts[words] = counts.get(words, 0) + 1
        others = sorted((words for words in counts if words != self.whole), key=lambda words: (-counts[words], words))
        few = dict(zip(others, SIGNS, strict=False)) if len(others) <= len(SIGNS) else dict.fromkeys(others, SOME)
        return {self.whole: WHOLE} | few

    def blank(self, row: int, column: int) -> str:
        """Return the sign of a cell without traffic, or out of focus."""
        if self.asked is not None and not self.asked & {row, column}:
            return UNASKED
        return ITSELF if row == column and self.peers[row].kind != "external" else NONE


def matrix(
    flows: Iterable[Flow], peers: Sequence[Peer], whole: str = "All", asked: Iterable[Peer] | None = None
) -> Matrix:
    """Return the matrix of flows between some peers and addresses outside, which must be apart (see `Pairs.flows`)."""
    found = list(flows)
    ends = (peer for flow in found for peer in (flow.source, flow.destination))
    outside = {peer for peer in ends if peer.kind == "external"}
    everybody = (*peers, *sorted(outside, key=lambda peer: peer.lowest))
    positions = {peer: position for position, peer in enumerate(everybody)}
    cells: dict[tuple[int, int], str] = {}
    for flow in found:
        words = f"{flow.traffic} (IPv{flow.family})" if flow.family else str(flow.traffic)
        at = positions[flow.source], positions[flow.destination]
        cells[at] = f"{cells[at]}; {words}" if at in cells else words
    chosen = None if asked is None else frozenset(positions[peer] for peer in asked if peer in positions)
    return Matrix(everybody, cells, whole, chosen)


def grid(found: Matrix) -> Iterator[str]:
    """Yield a row for each sender, with a column for each receiver below its number, then the meaning of signs."""
    signs, digits, names = found.signs(), found.digits, found.names
    columns = range(len(found.peers))
    numbers = [f"{column + 1:>{digits}}" for column in columns]
    for digit in range(digits):
        yield (" " * (digits + 1 + names) + "".join(f" {number[digit]}" for number in numbers)).rstrip()
    for row, peer in enumerate(found.peers):
        marks = (signs.get(found.cells.get((row, column), ""), found.blank(row, column)) for column in columns)
        yield (f"{row + 1:>{digits}} {peer!s:<{names}}" + "".join(f" {mark}" for mark in marks)).rstrip()
    yield ""
    yield READING
    yield f"{NONE} nothing"
    used = set(found.cells.values())
    told = {sign: words for words, sign in signs.items() if words in used}
    yield from (f"{sign} {'something' if sign == SOME else words}" for sign, words in told.items())


# --- Graphviz


def dot(found: Matrix) -> Iterator[str]:
    """Yield a graph for Graphviz with a box for each namespace."""
    yield "digraph connectivity {"
    yield "  rankdir=LR; node [shape=box, fontname=sans]; edge [fontname=sans, fontsize=10];"
    spaces = sorted({peer.space for peer in found.peers if peer.space})
    for number, space in enumerate(spaces):
        yield f"  subgraph cluster_{number} {{ label={dot_text(space)};"
        yield from (f"    {_node(peer)}" for peer in found.peers if peer.space == space)
        yield "  }"
    yield from (f"  {_node(peer)}" for peer in found.peers if not peer.space)
    for (row, column), words in found.cells.items():
        ends = f"{dot_text(str(found.peers[row]))} -> {dot_text(str(found.peers[column]))}"
        yield f"  {ends} [label={dot_text(words)}];"
    yield "}"


def _node(peer: Peer) -> str:
    shape = ", shape=ellipse" if peer.kind == "external" else ""
    label = "\\n".join(dot_text(part)[1:-1] for part in ((peer.name, peer.title) if peer.space else (str(peer),)))
    return f'{dot_text(str(peer))} [label="{label}"{shape}];'


# --- a drawing

CELL, LETTER, LINE, MARGIN = 18, 7.3, 20, 12
COLOURS = {WHOLE: "#2a9d4a", SOME: "#8e6bbf", NONE: "#eeeeee"}
PALETTE = ("#8e6bbf", "#4f81bd", "#c9772c", "#b5495b", "#5d8a8a", "#9a8b3c")
"""Colours of traffic that is less than the whole, in addition to its letter."""

STYLE = "text { font: 12px sans-serif; fill: #222 } .c { text-anchor: middle } .w { fill: #fff; text-anchor: middle }"


def svg(found: Matrix) -> Iterator[str]:
    """Yield an SVG of the grid. Neighbouring cells with the same traffic are one field, whose title names it."""
    signs = found.signs()
    left, top = MARGIN + found.names * LETTER + 40, MARGIN + LINE
    size = len(found.peers) * CELL
    legend = [(words, sign) for words, sign in signs.items() if words in set(found.cells.values())]
    height = top + size + LINE * (len(legend) + 2)
    width = max(left + size, left + max((len(words) for words, _ in legend), default=0) * LETTER) + MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}">'
    yield f"<style>{STYLE}</style>"
    yield '<rect width="100%" height="100%" fill="#fff"/>'
    for row, peer in enumerate(found.peers):
        y = top + row * CELL
        yield f'<text x="{MARGIN}" y="{y + 13}">{row + 1} {xml(str(peer))}</text>'
        yield f'<text class="c" x="{left + (row + 0.5) * CELL:.1f}" y="{top - 6}">{row + 1}</text>'
        yield f'<rect x="{left:.1f}" y="{y}" width="{size}" height="{CELL - 1}" fill="{COLOURS[NONE]}"/>'
        yield from _fields(found, row, signs, left, y)
    for number, (words, sign) in enumerate(legend):
        y = top + size + LINE * (number + 1)
        yield f'<rect x="{left:.1f}" y="{y - 13}" width="{CELL - 1}" height="{CELL - 1}" fill="{_colour(sign)}"/>'
        yield f'<text class="w" x="{left + CELL / 2:.1f}" y="{y}">{sign}</text>'
        yield f'<text x="{left + CELL + 6:.1f}" y="{y}">{xml(words)}</text>'
    yield f'<text x="{MARGIN}" y="{top + size + LINE}">{READING}</text>'
    yield "</svg>"


def _fields(found: Matrix, row: int, signs: Mapping[str, str], left: float, y: float) -> Iterator[str]:
    columns = range(len(found.peers))
    for words, run in groupby(columns, lambda column: found.cells.get((row, column), "")):
        fields = list(run)
        if not words:
            continue
        last = "" if len(fields) == 1 else f" … {found.peers[fields[-1]]}"
        told = f"{found.peers[row]} => {found.peers[fields[0]]}{last} : {words}"
        x, width = left + fields[0] * CELL, len(fields) * CELL - 1
        yield (
            f'<rect x="{x:.1f}" y="{y}" width="{width}" height="{CELL - 1}" fill="{_colour(signs[words])}">'
            f"<title>{xml(told)}</title></rect>"
        )
        for column in fields:
            yield f'<text class="w" x="{left + (column + 0.5) * CELL:.1f}" y="{y + 13}">{signs[words]}</text>'


def _colour(sign: str) -> str:
    return COLOURS.get(sign) or PALETTE[SIGNS.index(sign) % len(PALETTE)]
