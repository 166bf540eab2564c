"""``make sweep``: all recorded clusters of at most 40 pods, on both data planes: every deletion, other damage, and the
number of disagreements. Areas of the recordings and ``--dataplane`` narrow it.
"""

from __future__ import annotations

import argparse
import random
import sys
from time import perf_counter

from tests.conformance.recordings import AREAS, cases
from tests.sweep.judge import NODES

MOST_PODS = 40
SHOTS = 1500


def main(areas: list[str], planes: list[str]) -> int:
    total = wrong = 0
    for case in cases(*(areas or AREAS)):
        for family in case.families:
            for plane in planes:
                start = perf_counter()
                node = NODES[plane](case, family, SHOTS, random.Random(f"{case} {family}"))
                if len(node.cluster.workloads) > MOST_PODS or family not in node.ruleset.families:
                    continue
                if plane == "nftables" and node.ruleset.refused:
                    continue  # nothing is programmed there
                more = list(node.others())
                node.extra = tuple(damage.dump for damage in more)
                damages = [*node.deletions(), *more]
                said = [line for damage in damages for line in node.judge(damage)]
                total, wrong = total + len(damages), wrong + len(said)
                took = perf_counter() - start
                print(f"{case} IPv{family} {plane}: {len(damages)} damages, {len(said)} disagreements, {took:.1f} s")
                for line in said[:5]:
                    print(f"    {line[:600]}")
                sys.stdout.flush()
    print(f"{total} damages, {wrong} disagreements")
    return 1 if wrong else 0


if __name__ == "__main__":
    options = argparse.ArgumentParser(prog="python -m tests.sweep")
    options.add_argument("area", nargs="*", help="area of the recordings; all of them by default")
    options.add_argument("--dataplane", choices=NODES, help="one data plane only")
    asked = options.parse_args()
    sys.exit(main(asked.area, [asked.dataplane] if asked.dataplane else [*NODES]))
