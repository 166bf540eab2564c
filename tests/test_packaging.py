"""What people install works: the wheel carries the templates, and the command runs anywhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import jinja2
import pytest

from tests.conformance.comparison import difference
from tests.conformance.recordings import ROOT as RECORDINGS
from tests.conformance.recordings import Case

CHECKOUT = Path(__file__).parents[1]
CASE = Case(RECORDINGS / "k8s" / "shop-three-tiers")


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints; nothing in its environment may lead it back to the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), folder=CHECKOUT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment that has the wheel, and of everything else what is installed here.

    The checkout must not be found: the other packages come from a path file that names only their folder.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    (site / "libraries.pth").write_text(f"{Path(jinja2.__file__).parents[1]}\n")
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--quiet", "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", "--no-compile", wheel, folder=folder)
    return folder / "bin" / "felixpy"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), folder=CHECKOUT)
    (found,) = folder.glob("*.tar.gz")
    return found


def interpreters() -> dict[str, Path]:
    """The Pythons of this machine that felixpy supports, by version: those on the PATH, and pyenv's."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    folders += sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin"))
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": Path(sys.executable)}
    for minor in range(11, 20):
        for file in (folder / f"python3.{minor}" for folder in folders):
            asked = (file, "-c", "import ensurepip, sys; print('{}.{}'.format(*sys.version_info))")
            if os.access(file, os.X_OK) and subprocess.run(asked, capture_output=True, check=False).returncode == 0:
                found.setdefault(f"3.{minor}", file)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("version", interpreters())
@pytest.mark.parametrize("kind", ["wheel", "sdist", "checkout"])
def test_pip_installs_it_under_every_python(kind: str, version: str, wheel: Path, sdist: Path, tmp_path: Path) -> None:
    """As users do: dependencies and what builds it come from the index."""
    run(interpreters()[version], "-m", "venv", tmp_path / "environment", folder=tmp_path)
    python = tmp_path / "environment" / "bin" / "python"
    source = {"wheel": wheel, "sdist": sdist, "checkout": CHECKOUT}[kind]
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", source, folder=tmp_path)
    run(python, "-m", "pip", "check", folder=tmp_path)
    command = ("render", CASE.folder / "manifests.yaml", "--node", CASE.node)
    expected = CASE.expected(4)
    assert difference(expected, run(python.with_name("felixpy"), *command, folder=tmp_path)) == ""
    assert difference(expected, run(python, "-m", "felixpy", *command, folder=tmp_path)) == ""


def test_the_wheel_holds_the_templates_and_nothing_foreign(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {f"felixpy/{file.relative_to(CHECKOUT)}" for file in (CHECKOUT / "templates").rglob("*.j2")}
    modules = {str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "felixpy").rglob("*.py")}
    assert templates
    assert templates | modules <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name and ".data/" not in name} == {"felixpy"}
    assert [name for name in names if name.endswith(".data/data/share/man/man1/felixpy.1")]
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_manual_page_is_one_that_man_shows() -> None:
    text = (CHECKOUT / "docs" / "felixpy.1").read_text()
    assert all(f'.SS "felixpy {command} ' in text for command in ("render", "trace", "lab probe"))
    if not shutil.which("groff"):
        pytest.skip("no groff here")
    command = ("groff", "-man", "-Tutf8", "-ww", "-z", CHECKOUT / "docs" / "felixpy.1")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_command_renders(installed: Path, tmp_path: Path) -> None:
    site = run(installed.parent / "python", "-c", "import felixpy; print(felixpy.__file__)", folder=tmp_path)
    assert site.startswith(str(installed.parents[1])), "the checkout was found instead of the wheel"
    for family in CASE.families:
        command = (installed, "render", CASE.folder / "manifests.yaml", "--node", CASE.node, f"-{family}")
        assert difference(CASE.expected(family), run(*command, folder=tmp_path)) == ""


def test_the_pytest_plugin_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The sample project, as somebody runs it who installed felixpy and pytest."""
    project = tmp_path / "project"
    shutil.copytree(CHECKOUT / "fixtures" / "sample-project", project)
    assert run(installed, "test", "-v", folder=project).count(": passed: ") == 3
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not packets")
    assert "2 passed" in run(installed.parent / "python", *arguments, folder=project)


def locked(name: str) -> dict[str, str]:
    """The entries of a lock by package."""
    text = re.sub(r"^ *#.*\n", "", (CHECKOUT / name).read_text(), flags=re.MULTILINE)
    assert "://" not in text
    return {entry.partition("==")[0]: entry for entry in re.split(r"\n(?=\w)", text.replace("\\\n", " "))}


def names(requirements: Iterable[object]) -> set[str]:
    return {re.split("[<>=!]", name)[0].lower().replace(".", "-") for name in requirements if isinstance(name, str)}


def test_the_locks_pin_and_hash_everything() -> None:
    """Nothing is installed that a lock does not name, by version and content, whatever index it comes from."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    run_time, rest = locked("requirements.lock"), locked("requirements-test.lock")
    legacy = locked("requirements-legacy.lock")
    for entry in (*run_time.values(), *rest.values(), *legacy.values()):
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{64})+\s*", entry)
    assert names(project["project"]["dependencies"]) <= set(run_time)
    assert names(item for group in project["dependency-groups"].values() for item in group) <= set(rest)
    assert names(project["project"]["optional-dependencies"]["legacy"]) == set(legacy)
    assert not set(run_time) & set(rest), "a package is pinned twice"
