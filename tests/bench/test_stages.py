"""The measuring of stages still finds them all; how long they take decides nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.clusters import SHAPES, write
from tests.bench.stages import STAGES


def test_every_stage_takes_some_time(tmp_path: Path) -> None:
    file = write(SHAPES["S"], tmp_path, "json")
    command = [sys.executable, "-m", "tests.bench.stages", str(file), "node1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    seconds = json.loads(done.stdout)
    assert [stage for stage in STAGES if seconds.pop(stage) > 0] == list(STAGES)
    assert not seconds
