"""``make sweep``: all recorded clusters of at most 40 pods, every deletion, and the number of disagreements."""

from __future__ import annotations

import random
import sys
from time import perf_counter

from tests.conformance.recordings import AREAS, cases
from tests.sweep.damage import deletions, others
from tests.sweep.judge import RecordedNode

MOST_PODS = 40
SHOTS = 1500


def main(areas: list[str]) -> int:
    total = wrong = 0
    for case in cases(*(areas or AREAS)):
        for family in case.families:
            start = perf_counter()
            draw = random.Random(f"{case} {family}")
            node = RecordedNode(case, family, SHOTS, draw)
            if len(node.cluster.workloads) > MOST_PODS or family not in node.ruleset.families:
                continue
            more = list(others(node.dump, family, draw))
            node.extra = tuple(damage.dump for damage in more)
            damages = [*deletions(node.dump, family), *more]
            said = [line for damage in damages for line in node.judge(damage)]
            total, wrong = total + len(damages), wrong + len(said)
            print(
                f"{case} IPv{family}: {len(damages)} damages, {len(said)} disagreements, {perf_counter() - start:.1f} s"
            )
            for line in said[:5]:
                print(f"    {line[:600]}")
            sys.stdout.flush()
    print(f"{total} damages, {wrong} disagreements")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
