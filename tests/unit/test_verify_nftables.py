"""verify and an nftables listing."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from felixpy.cli import app
from felixpy.errors import UsageError

DEMO = Path(__file__).parents[2] / "fixtures" / "demo"


def test_verify_refuses_an_nftables_listing(tmp_path: Path) -> None:
    listing = tmp_path / "node.listed"
    listing.write_text("table ip calico {\n}\n")
    done = CliRunner().invoke(app, ["verify", "-f", str(DEMO), "--rules", str(listing)])
    assert isinstance(done.exception, UsageError)
    assert "nftables listing, which verify does not support" in str(done.exception)
