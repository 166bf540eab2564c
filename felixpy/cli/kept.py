"""The rules of nodes, updated with each change of what a command follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from felixpy.errors import FelixpyError

if TYPE_CHECKING:
    from felixpy.calico_versions import CalicoVersion
    from felixpy.cli.given import Given
    from felixpy.live import LiveCluster, RulesetChange
    from felixpy.manifests.following import Step
    from felixpy.model import Cluster


class Kept:
    """Keeps a `LiveCluster` current, and replaces it when the input states another release of Calico."""

    def __init__(self, given: Given, cluster: Cluster) -> None:
        self._given = given
        self.version = given.version_of(cluster)
        self.live = self._begin(cluster, self.version)
        self._missed = False

    def take(self, step: Step) -> dict[str, RulesetChange]:
        """Apply a step and return the change of each node's rules. Raises FelixpyError if no node can be compiled."""
        version = self._given.version_of(step.cluster)
        try:
            found = self._changed(step) if version is self.version else self._anew(step.cluster, version)
        except FelixpyError:
            self._missed = True
            raise
        self._missed = False
        return found

    def _begin(self, cluster: Cluster, version: CalicoVersion) -> LiveCluster:
        from felixpy.live import LiveCluster

        given = self._given
        return LiveCluster(
            cluster, calico_version=version, dataplane=given.chosen_data_plane(), settings=given.settings
        )

    def _changed(self, step: Step) -> dict[str, RulesetChange]:
        from felixpy.live import Change

        if step.changes is None or self._missed:
            return self.live.update(step.cluster)
        return self.live.apply([Change(*pair) for pair in step.changes], step.cluster)

    def _anew(self, cluster: Cluster, version: CalicoVersion) -> dict[str, RulesetChange]:
        """Compile all nodes for another release of Calico and return the changes."""
        from felixpy.live import difference

        before, live = self.live, self._begin(cluster, version)
        changes = {name: difference(before.ruleset(name), live.add(name, self._given.host)) for name in before.nodes}
        self.live, self.version = live, version
        return {name: change for name, change in changes.items() if change}
