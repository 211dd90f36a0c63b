# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's git repository: the same everywhere, and each version as it is meant."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[3] / "demo"
GOOD = ["v1", "v2", "v3"]
BAD = {
    "bad-unhealthy": {"shop/health.py"},
    "bad-crash": {"gunicorn.conf.py"},
    "bad-import": {"shop/wsgi.py"},
    "bad-500": {"tours/catalogue.py"},
    "bad-worker": {"docker-compose.prod.yml"},
    "bad-beat": {"docker-compose.prod.yml"},
    "bad-build": {"Dockerfile"},
    "bad-oom": {"docker-compose.prod.yml", "shop/wsgi.py", "tours/recommend.py"},
    "bad-reserve": {"docker-compose.prod.yml"},
}
VARIANTS = {
    "frontend": {
        "docker-compose.prod.yml",
        "deploy/nginx.conf",
        "frontend/Dockerfile",
        "frontend/build.py",
        "frontend/src/app.js",
        "frontend/src/index.html",
    },
    "frontend-2": {"frontend/src/app.js"},
    "entrypoint": {"Dockerfile", "entrypoint.sh"},
}


def load_script():
    """Import demo/repository.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("demo_repository", DEMO / "repository.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


repository = load_script()


def git(repo: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "--git-dir", str(repo), *args],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def snapshot(repo: Path) -> dict[str, bytes]:
    """Every file of the bare repository with its content."""
    return {str(path.relative_to(repo)): path.read_bytes() for path in repo.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One repository that tests only read."""
    dest = tmp_path_factory.mktemp("demo") / "shop.git"
    repository.build(dest)
    return dest


@pytest.fixture
def copy(shop: Path, tmp_path: Path) -> Path:
    """A repository of the test's own."""
    return Path(shutil.copytree(shop, tmp_path / "shop.git"))


def changed(repo: Path, old: str, new: str) -> dict[str, str]:
    """Path → A, M or D between two revisions."""
    rows = git(repo, "diff", "--no-renames", "--name-status", old, new).splitlines()
    return {path: status for status, path in (row.split("\t") for row in rows)}


def test_ids_are_nobodys_settings(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".gitconfig").write_text(
        "[user]\nname = Someone\n[core]\nautocrlf = true\n"
        "[commit]\ngpgsign = true\n[init]\ndefaultBranch = trunk\n"
        "defaultObjectFormat = sha256\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Someone")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2001-01-01T00:00:00Z")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    made = repository.build(tmp_path / "again.git")
    assert made == {tag: git(shop, "rev-parse", tag) for tag in made}
    assert git(tmp_path / "again.git", "symbolic-ref", "HEAD") == "refs/heads/main"
    assert not (tmp_path / "elsewhere").exists()


def test_second_run_changes_nothing(copy: Path) -> None:
    before = snapshot(copy)
    repository.build(copy)
    assert snapshot(copy) == before


def test_history(shop: Path) -> None:
    assert set(git(shop, "tag").split()) == {*GOOD, *BAD, *VARIANTS}
    assert git(shop, "rev-parse", "main") == git(shop, "rev-parse", "v3")
    assert git(shop, "rev-parse", "v3~1", "v2~1").split() == [
        git(shop, "rev-parse", "v2"),
        git(shop, "rev-parse", "v1"),
    ]
    assert git(shop, "rev-list", "--count", "v1") == "1"
    for tag in BAD:
        assert git(shop, "rev-parse", f"{tag}~1") == git(shop, "rev-parse", "v2")
    git(shop, "fsck", "--strict")


@pytest.mark.parametrize("tag", [*GOOD, *BAD, *VARIANTS])
def test_each_version_names_itself(shop: Path, tag: str) -> None:
    assert f'VERSION = "{tag}"' in git(shop, "show", f"{tag}:shop/version.py")


def test_v1_is_the_shop(shop: Path) -> None:
    names = git(shop, "ls-tree", "-r", "--name-only", "v1").splitlines()
    assert {"manage.py", "Dockerfile", ".env.example", ".gitignore"} <= set(names)
    assert not [name for name in names if name == ".env" or "__pycache__" in name]
    assert git(shop, "ls-tree", "v1", "manage.py").startswith("100755 ")


@pytest.mark.parametrize(("old", "new"), [("v1", "v2"), ("v2", "v3")])
def test_good_versions_show_but_do_not_migrate(shop: Path, old: str, new: str) -> None:
    difference = changed(shop, old, new)
    assert not [path for path in difference if "migrations" in path]
    assert {
        "tours/static/tours/site.css",
        "tours/templates/tours/index.html",
        "tours/catalogue.py",
    } <= set(difference)


def test_v2_changes_the_static_manifest(shop: Path) -> None:
    difference = changed(shop, "v1", "v2")
    assert difference["tours/static/tours/summer.css"] == "A"
    assert difference["tours/static/tours/winter.css"] == "D"


@pytest.mark.parametrize("tag", BAD)
def test_bad_versions_differ_from_v2_by_their_fault_only(shop: Path, tag: str) -> None:
    assert set(changed(shop, "v2", tag)) == {"shop/version.py", *BAD[tag]}


@pytest.mark.parametrize("tag", VARIANTS)
def test_variants_differ_by_what_they_vary(shop: Path, tag: str) -> None:
    assert set(changed(shop, f"{tag}~1", tag)) == {"shop/version.py", *VARIANTS[tag]}


@pytest.mark.parametrize(
    ("tag", "name", "most"),
    [
        ("bad-oom", "docker-compose.prod.yml", 4),
        ("bad-reserve", "docker-compose.prod.yml", 4),
        ("bad-build", "Dockerfile", 4),
        ("frontend", "docker-compose.prod.yml", 15),
        ("frontend", "deploy/nginx.conf", 12),
        ("entrypoint", "Dockerfile", 1),
    ],
)
def test_copies_of_big_files_have_not_drifted(shop: Path, tag: str, name: str, most: int) -> None:
    """An overlay of a compose file or Dockerfile adds lines and changes none."""
    added, removed, _path = git(shop, "diff", "--numstat", f"{tag}~1", tag, "--", name).split()
    assert (int(added) <= most, int(removed)) == (True, 0)


def test_some_tags_only(tmp_path: Path) -> None:
    made = repository.build(tmp_path / "shop.git", ["bad-500"])
    assert list(made) == ["v1", "v2", "bad-500"]
    assert git(tmp_path / "shop.git", "rev-parse", "main") == made["v2"]
    all_made = repository.build(tmp_path / "shop.git")
    assert git(tmp_path / "shop.git", "rev-parse", "main") == all_made["v3"]


def test_changed_source_moves_tags(copy: Path, tmp_path: Path) -> None:
    source = tmp_path / "demo"
    shutil.copytree(DEMO / "shop", source / "shop")
    shutil.copytree(DEMO / "overlays", source / "overlays")
    (source / "shop" / ".env").write_text("SECRET_KEY=mine\n")
    cache = source / "shop" / "tours" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "views.cpython-313.pyc").write_bytes(b"\0")
    before = git(copy, "rev-parse", "main")
    repository.build(copy, source=source)
    assert git(copy, "rev-parse", "main") == before, "leftovers are not source"
    (source / "shop" / "extra.txt").write_text("x\n")
    made = repository.build(copy, source=source)
    assert git(copy, "rev-parse", "main") == git(copy, "rev-parse", "v3") == made["v3"]
    assert made["v3"] != before


def test_add_commit(copy: Path) -> None:
    files = {
        "manage.py": "#!/usr/bin/env python\n",
        "new/über file.txt": b"\x00\xff",
        ".dockerignore": None,
    }
    commit = repository.add_commit(copy, files, "fix-1", parent="v2", message="Fix")
    assert changed(copy, "v2", "fix-1") == {
        "manage.py": "M",
        '"new/\\303\\274ber file.txt"': "A",
        ".dockerignore": "D",
    }
    assert git(copy, "ls-tree", "fix-1", "manage.py").startswith("100755 ")
    assert git(copy, "rev-parse", "main") == git(copy, "rev-parse", "v3")
    assert repository.add_commit(copy, files, "fix-1", "v2", "Fix") == commit
    with pytest.raises(repository.RepositoryError, match="fix-1 is there"):
        repository.add_commit(copy, {"x": "y"}, "fix-1", "v2")


def test_add_commit_on_main_outlives_a_rebuild(copy: Path) -> None:
    commit = repository.add_commit(copy, {"x": "y\n"}, "v4", branch="main")
    repository.build(copy)
    assert git(copy, "rev-parse", "main") == commit


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ".git/config", "a/.git/x", "", "a//b"])
def test_add_commit_refuses_paths_outside(copy: Path, name: str) -> None:
    before = snapshot(copy)
    with pytest.raises(repository.RepositoryError, match="not a path inside"):
        repository.add_commit(copy, {name: "x"}, "evil")
    assert snapshot(copy) == before


def test_add_commit_says_what_is_missing(copy: Path) -> None:
    with pytest.raises(repository.RepositoryError, match="no revision 'nowhere'"):
        repository.add_commit(copy, {"x": "y"}, "t", parent="nowhere")
    with pytest.raises(repository.RepositoryError, match="cannot remove gone"):
        repository.add_commit(copy, {"gone.txt": None}, "t")
    with pytest.raises(repository.RepositoryError, match="check-ref-format"):
        repository.add_commit(copy, {"x": "y"}, "no tag..")


def test_command_line_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter.txt").write_text("precious")
    assert repository.main([str(taken)]) == 1
    assert "not a bare git repository" in capsys.readouterr().err
    assert [path.name for path in taken.iterdir()] == ["letter.txt"]

    assert repository.main([str(taken / "letter.txt")]) == 1
    assert "not a directory" in capsys.readouterr().err

    assert repository.main([str(tmp_path / "x.git"), "--tag", "v9"]) == 1
    assert "no version 'v9'; there are: v1, v2" in capsys.readouterr().err

    monkeypatch.setenv("PATH", str(tmp_path))
    assert repository.main([str(tmp_path / "y.git")]) == 1
    assert "git is not installed" in capsys.readouterr().err


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert repository.main([str(tmp_path / "a" / "shop.git"), "--tag", "v1"]) == 0
    commit = git(tmp_path / "a" / "shop.git", "rev-parse", "v1")
    assert capsys.readouterr().out == f"{commit} v1\n"
    assert len(commit) == 40
