"""Locks decide what is installed, whatever an index offers besides.

The index here is a folder of pages on this machine. It has every locked package as an empty wheel of that version (so
the hashes are those of the empty ones), as a newer release, and as a still newer one whose metadata no pip can read.
What is tried is the real command of the Makefile with an old pip, Debian 12's, and a new one.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
LOCKS = "requirements.lock", "requirements-test.lock"
PIPS = {"Debian 12's": "pip==23.0.1", "new": "pip>=26"}

ENTRY = re.compile(r"^([\w.-]+)==([\w.]+)( ; [^\\]*?)? \\$", re.MULTILINE)


def entries(lock: str) -> list[tuple[str, str, str]]:
    """Name, version and condition of each package of a lock."""
    found = ENTRY.findall((CHECKOUT / lock).read_text())
    assert found
    return found


def release(folder: Path, name: str, version: str, *, needs: str = "", broken: bool = False) -> str:
    """An empty wheel with its own metadata; its hash."""
    stem = f"{name.replace('-', '_').replace('.', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    files = {
        f"{stem}.dist-info/METADATA": "Metadata-Version: what\nNo such thing" if broken else metadata,
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }

    def line(path: str, content: str) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        return f"{path},sha256={digest},{len(content)}\n"

    record = "".join(line(path, content) for path, content in files.items()) + f"{stem}.dist-info/RECORD,,\n"
    page = folder / "simple" / re.sub(r"[-_.]+", "-", name).lower()
    page.mkdir(parents=True, exist_ok=True)
    wheel = page / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**files, f"{stem}.dist-info/RECORD": record}.items():
            archive.writestr(path, content)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the index, and the folder with locks whose hashes are those of what it offers."""
    folder = tmp_path_factory.mktemp("index")
    for lock in LOCKS:
        text = ""
        for name, version, condition in entries(lock):
            # What broke a set-up once: an extra of a dependency, which pip resolved past the pin.
            digest = release(folder, name, version, needs=f"{name}[extra]>={version}")
            release(folder, name, "999999.1")
            release(folder, name, "999999.2", broken=True)
            text += f"{name}=={version}{condition} --hash=sha256:{digest}\n"
        (folder / lock).write_text(text)
    for page in (folder / "simple").iterdir():
        links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>\n' for wheel in page.glob("*.whl"))
        (page / "index.html").write_text(links)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple/", folder
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=PIPS.values(), ids=list(PIPS))
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with that pip."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    interpreter = folder / "bin" / "python"
    command = (interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", request.param)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return interpreter


def recipe() -> list[str]:
    """The words after "pip" with which the Makefile installs a lock."""
    text = (CHECKOUT / "Makefile").read_text()
    (install,) = re.findall(r"^INSTALL := \$\(BIN\)/python -m pip (.*)$", text, re.MULTILINE)
    (options,) = set(
        re.findall(r"^\t@\$\(INSTALL\) (.*) --requirement requirements(?:-test)?\.lock$", text, re.MULTILINE)
    )
    return [*install.split(), *options.split()]


def test_newer_releases_on_the_index_are_not_looked_at(index: tuple[str, Path], python: Path) -> None:
    address, folder = index
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_INDEX_URL": address, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    for lock in LOCKS:
        command = (str(python), "-m", "pip", *recipe(), "--no-compile", "--requirement", str(folder / lock))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        (python, "-m", "pip", "freeze", "--all"), env=environment, capture_output=True, text=True, check=True
    )
    there = {
        line.partition("==")[0].lower().replace("_", "-"): line.partition("==")[2]
        for line in listed.stdout.splitlines()
    }
    wanted = {name: version for lock in LOCKS for name, version, condition in entries(lock) if "win32" not in condition}
    assert {name: there.get(name) for name in wanted} == wanted


def test_this_environment_is_the_locked_one() -> None:
    listed = subprocess.run(
        (sys.executable, "-m", "pip", "freeze", "--all"), capture_output=True, text=True, check=True
    )
    there = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in listed.stdout.splitlines()}
    wanted = {name for lock in LOCKS for name, _, condition in entries(lock) if not condition}
    assert wanted <= there
