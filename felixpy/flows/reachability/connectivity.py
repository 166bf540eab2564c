"""The connections of one input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

from felixpy.flows.packets.packet_sets import PacketSet, bits, of_traffic, union
from felixpy.flows.presentation.flow import Flow
from felixpy.flows.reachability.grid import Doubt, Grid
from felixpy.flows.reachability.halves import Hands, here, make_grids
from felixpy.flows.reachability.pairs import Pairs, Sheet
from felixpy.flows.reachability.sides import InputSide, SideEndpoint
from felixpy.flows.reachability.universe import Nets, PortChoice, Universe
from felixpy.topology.nodes import Nodes


class Connectivity:
    """The connections of one input. Endpoints are by their position in the universe, `grids` by family.

    The row of a pod does not include itself: it always reaches itself, as such packets never leave it.
    """

    def __init__(
        self,
        side: InputSide,
        universe: Universe,
        *,
        hands: Hands = here,
        grids: Mapping[int, Grid] | None = None,
    ) -> None:
        self.side, self.universe = side, universe
        self.endpoints: Mapping[int, SideEndpoint] = {
            universe.position(side, endpoint.identity): endpoint for endpoint in side.endpoints
        }
        self.grids = make_grids(universe, [side], hands)[0] if grids is None else grids

    @cached_property
    def doubts(self) -> tuple[Doubt, ...]:
        """Rules that are not understood and could change connections; they are evaluated as not met."""
        return tuple(doubt for grid in self.grids.values() for doubt in grid.doubts)

    @cached_property
    def assumed(self) -> tuple[str, ...]:
        """Assumptions about rules."""
        spaces = (self.universe.families[family] for family in self.grids)
        rules = (rule for space in spaces for chain in space.library.chains for rule in chain.rules)
        return tuple(sorted({words for rule in rules for words in rule.body.assumed}))

    def flows(self, *, fold: bool = True, external: bool = True, hosts: bool | None = None) -> Iterator[Flow]:
        """Yield all flows; see `pairs`."""
        return self.pairs(fold=fold, external=external, hosts=hosts).flows()

    def pairs(
        self,
        *,
        fold: bool = True,
        external: bool = True,
        hosts: bool | None = None,
        ports: Iterable[PortChoice] = (),
        classes: bool = False,
    ) -> Pairs:
        """Return endpoints with names and their flows. `hosts` includes nodes: by default if there are host endpoints.

        `ports` are the selected ones, all traffic if there are none; the universe must have been made with them.
        """
        shown = self.endpoints_shown(hosts=hosts)
        chosen = tuple(ports)
        sheets = [self._sheet(grid, Grid.row, Grid.column, chosen) for grid in self.grids.values()]
        return Pairs(sheets, shown, fold=fold, external=external, classes=classes)

    def unsure(self, *, fold: bool = True, external: bool = True, hosts: bool | None = None) -> Iterator[Flow]:
        """Yield the flows that depend on rules that are not understood."""
        if not self.doubts:
            return iter(())
        sheets = [self._sheet(grid, Grid.unsure_row, Grid.unsure_column, ()) for grid in self.grids.values()]
        return Pairs(sheets, self.endpoints_shown(hosts=hosts), fold=fold, external=external).flows()

    def whole(self, ports: Iterable[PortChoice]) -> str:
        """Return the words for all selected traffic."""
        chosen = tuple(ports)
        for family, space in self.universe.families.items():
            if chosen and family in self.grids:
                return str(space.traffic.tell(union(choice.mask(space.traffic) for choice in chosen)))
        return "All"

    def endpoints_shown(self, *, hosts: bool | None = None) -> dict[int, SideEndpoint]:
        with_hosts = self.side.has_hosts if hosts is None else hosts
        return {
            position: endpoint
            for position, endpoint in self.endpoints.items()
            if with_hosts or endpoint.identity.kind != "host"
        }

    def _sheet(
        self,
        grid: Grid,
        row: Callable[[Grid, int], PacketSet],
        column: Callable[[Grid, int], PacketSet],
        ports: tuple[PortChoice, ...],
    ) -> Sheet:
        traffic = grid.space.traffic
        chosen = traffic.all
        if ports:
            chosen = union(choice.mask(traffic) for choice in ports)

        def only(packets: PacketSet) -> PacketSet:
            return of_traffic(packets, chosen) if ports else packets

        return Sheet(
            space=grid.space,
            rows={position: only(row(grid, position)) for position in grid.positions},
            columns={position: only(column(grid, position)) for position in bits(grid.outside)},
            never={position: grid.never(position) & chosen for position in grid.positions},
            present=grid.everybody,
            kinds={position: grid.kind(position) for position in grid.positions},
        )


def survey(
    nodes: Nodes,
    *,
    universe: Universe | None = None,
    ports: Iterable[PortChoice] = (),
    nets: Iterable[Nets] = (),
    every_icmp: bool = False,
    hands: Hands = here,
) -> Connectivity:
    """Return all connections of one input.

    A `universe` is given where several inputs share numbers; the input is its only or first side. Otherwise `ports`
    and `nets` that will be selected are distinguished, and `every_icmp` includes ICMP types that open no connection.
    `hands` returns the workers that evaluate the rules. Raises what compiling raises, and InputError for dumps that
    cannot be read.
    """
    if universe is not None:
        return Connectivity(next(side for side in universe.sides if side.nodes is nodes), universe, hands=hands)
    for apart in (False, True):
        universe = Universe([InputSide(nodes, apart=apart)], ports=ports, nets=nets, every_icmp=every_icmp)
        found = Connectivity(universe.sides[0], universe, hands=hands)
        if not found.doubts or found.side.apart:
            break
    return found
