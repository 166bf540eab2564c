"""Files of git revisions as input, in a repository made for the purpose."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from felixpy import revisions
from felixpy.errors import EnvironmentMissing, InputError, UsageError
from felixpy.manifests import load

POD = "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n"
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits: the second changes a file, which is changed once more in the work tree."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    _git("init", "--quiet", "--initial-branch=main")
    (tmp_path / "shop" / ".hidden").mkdir(parents=True)
    (tmp_path / "shop" / ".hidden" / "x.yaml").write_text("nonsense")
    (tmp_path / "shop" / "notes.txt").write_text("no manifest")
    (tmp_path / "shop" / "link.yaml").symlink_to("a.yaml")
    for name in ("first", "second"):
        (tmp_path / "shop" / "a.yaml").write_text(POD.format(name))
        _git("add", ".")
        _git("commit", "--quiet", "-m", name)
    (tmp_path / "shop" / "a.yaml").write_text(POD.format("third"))
    return tmp_path


def _git(*arguments: str) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], check=True)


def _namespaces(*paths: str) -> list[str]:
    return sorted(name for name in load(paths).profiles if name.startswith("kns."))


@pytest.mark.parametrize(
    "path, namespace",
    [
        ("git:main:shop/a.yaml", "second"),
        ("git:main:shop", "second"),
        ("git:HEAD~1:shop/", "first"),
        ("git:HEAD^:./shop", "first"),
        ("git:main", "second"),
        ("shop/a.yaml", "third"),
    ],
)
def test_a_path_may_be_in_a_revision(repository: Path, path: str, namespace: str) -> None:
    assert _namespaces(path) == [f"kns.{namespace}"]


def test_the_path_counts_from_the_top_unless_it_begins_with_a_dot(repository: Path, monkeypatch) -> None:
    monkeypatch.chdir(repository / "shop")
    assert _namespaces("git:HEAD~1") == _namespaces("git:HEAD~1:./") == _namespaces("git:HEAD~1:shop") == ["kns.first"]


def test_files_of_a_folder_are_named_as_one_would_write_them(repository: Path) -> None:
    cluster = load(["git:main:shop/", "git:HEAD~1:shop/a.yaml"])
    assert {profile.source.file for name, profile in cluster.profiles.items() if name.startswith("kns.")} == {
        "git:main:shop/a.yaml",
        "git:HEAD~1:shop/a.yaml",
    }


@pytest.mark.parametrize(
    "path, words",
    [
        ("git:nope:shop", "git knows no such revision here"),
        ("git:main:shap", "has no such file or folder"),
        ("git::shop", "write git:REVISION:PATH"),
        ("git:--help:shop", "write git:REVISION:PATH"),
    ],
)
def test_what_is_not_there_is_said(repository: Path, path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load([path])


def test_a_folder_without_manifests_is_an_error_there_too(repository: Path) -> None:
    _git("rm", "--quiet", "--cached", "shop/a.yaml")
    _git("commit", "--quiet", "-m", "third")
    with pytest.raises(InputError, match="holds no manifests"):
        load(["git:main:shop"])


def test_outside_of_a_repository_git_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match="not a git repository"):
        load(["git:main:shop"])


def test_without_git_the_tool_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentMissing, match="git is missing"):
        list(revisions.files("git:main:shop"))


@pytest.mark.parametrize("path", ["git:main:shop/big.yaml", "git:main:shop/", "git:main"])
def test_files_that_are_too_large_are_refused_before_git_prints_them(repository: Path, path: str, monkeypatch) -> None:
    (repository / "shop" / "big.yaml").write_bytes(b"#" * (2**20 + 1))
    _git("add", ".")
    _git("commit", "--quiet", "-m", "big")
    monkeypatch.setattr("felixpy.manifests.reading.files.MAX_SIZE", 2**20)
    with pytest.raises(UsageError, match=r"big.yaml: larger than 1 MiB"):
        load([path])


def test_only_manifests_of_a_folder_count(repository: Path, monkeypatch) -> None:
    (repository / "shop" / "notes.txt").write_bytes(b"#" * (2**20 + 1))
    _git("add", ".")
    _git("commit", "--quiet", "-m", "notes")
    monkeypatch.setattr("felixpy.manifests.reading.files.MAX_SIZE", 2**20)
    assert _namespaces("git:main:shop") == ["kns.third"]
