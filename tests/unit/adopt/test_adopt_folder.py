# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder becomes a release by which the very same containers are wanted; only the engine's answers are made up here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.adopt.host import adopt as adopt_adopt
from ansible_collections.evenkeel.deploy.plugins.module_utils.adopt.host import callers, view
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.compose_project import call as resolve
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.release_adopt import call as adopt
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.symlink_release import call as manage_release
from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.host.container_edits import Edits
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import Compose
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import adopted, retention
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host import project as releases_project
from tests.unit import compose_answers
from tests.unit.engine_in_memory import NOBODY
from tests.unit.restored_folder import Restored

ROOT = Path(__file__).resolve().parents[3]
FILE = "docker-compose.prod.yml"
NAME = "shop"
_STANDING = ("db", "nginx", "redis")


class Containers:
    """An engine that has these containers and gives each service's image one id."""

    def __init__(self, folder: Path, project: str = NAME) -> None:
        compose = Compose(str(folder), (str(folder / FILE),), (), (), project)
        self.hashes = compose.hashes(compose.resolved())
        self.names: dict[str, str] = {}
        self.stands = [
            {
                "Name": f"/{project}-{service}-1", "Image": f"sha256:{service}", "State": {"Running": True, "Pid": NOBODY},
                "Config": {"Labels": {
                    "com.docker.compose.project": project, "com.docker.compose.service": service,
                    "com.docker.compose.config-hash": config_hash, "com.docker.compose.oneoff": "False",
                    "com.docker.compose.project.working_dir": str(folder),
                    "com.docker.compose.project.config_files": str(folder / FILE),
                }},
            }
            for service, config_hash in self.hashes.items()
        ]  # fmt: skip

    def containers(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        return [c for c in self.stands if labels.items() <= c["Config"]["Labels"].items()]

    def image(self, name: str) -> dict[str, Any]:
        known = {f"{NAME}-{s}": s for s in self.hashes} | {"evenkeel/postgres:17": "db", "evenkeel/redis:8": "redis"}
        service = known.get(name, "nginx" if name == "evenkeel/nginx:1.26" else "")
        return {"Id": f"sha256:{service}"} if service else {}

    def tag(self, image: str, repository: str, tag: str) -> None:
        self.names[f"{repository}:{tag}"] = image

    def untag(self, name: str) -> None:
        self.names.pop(name, None)


def git(folder: Path, *words: str) -> str:
    argv = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.com", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Restored[dict[str, Any]]:
    return Restored(tmp_path_factory.mktemp("adopted"), cloned)


@pytest.fixture
def params(folders: Restored[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    compose_answers.remember(monkeypatch)
    return folders()


def cloned(folder: Path) -> dict[str, Any]:
    """The demo's repository, a clone of it that somebody runs, and how that is adopted."""
    repository, home = folder / "shop.git", folder / "home/app"
    made = [sys.executable, str(ROOT / "demo/repository.py"), str(repository), "--tag", "v1", "--tag", "v2"]
    subprocess.run(made, check=True, capture_output=True)
    git(folder, "clone", "-q", "--branch", "v1", str(repository), str(home))
    (home / ".env").write_text((ROOT / "demo/shop/.env.example").read_text())
    return {
        "path": str(folder / "srv"), "project_name": NAME, "files": [FILE], "env_file": ".env", "state": "present",
        "capture": False, "home": home, "repository": repository, "owner": "",
    }  # fmt: skip


def run_it(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Containers:
    engine = Containers(params["home"])
    monkeypatch.setattr(view, "connect", lambda _src: engine)
    # What this machine's own cron says, and may be read, is no part of it.
    monkeypatch.setattr(callers, "PLACES", ())
    monkeypatch.setattr(releases_project, "connect", lambda _src: engine)
    monkeypatch.setattr(adopt_adopt, "edits_in_containers", lambda *_args: Edits())
    monkeypatch.setattr(retention.Used, "seen", lambda _store: retention.Used(engine))  # type: ignore[arg-type]
    return engine


def lock_in(params: dict[str, Any]) -> LockOptions:
    return LockOptions(f"{params['path']}/.evenkeel")


def hashes_in(folder: str) -> dict[str, str]:
    compose = Compose(folder, ("compose.yaml",), (), (), NAME)
    return compose.hashes(json.loads((Path(folder) / "compose.yaml").read_text()))


def activate(params: dict[str, Any], release: str) -> None:
    manage_release({"path": params["path"], "state": "active", "release": release, "verified": True}, False)


def next_release(params: dict[str, Any], version: str) -> tuple[str, dict[str, Any]]:
    """What an update makes of a version."""
    about = {"path": params["path"], "shared": [".env"], "inputs": {"files": [FILE]}, "owner": ""}
    made = manage_release({**about, "state": "present", "repo": str(params["repository"]), "version": version}, False)
    src, root = made["release_path"], params["path"]
    places = {"mounts_dir": f"{root}/mounts", "live_dir": f"{root}/shared/proxy", "data_dir": f"{root}/shared"}
    result = resolve(
        {
            "project_src": src, "files": [FILE], "env_files": [".env"], "project_name": NAME, "revision": made["revision"],
            "state_dir": f"{root}/.evenkeel", "regenerate": True, **places,
        },
        False,
    )  # fmt: skip
    assert result["project_name"] == NAME
    manage_release({"path": root, "state": "built", "release": made["release"]}, False)
    return made["release"], hashes_in(src)


def test_what_runs_is_what_is_wanted_and_no_update_touches_what_stands(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, home, root = run_it(params, monkeypatch), params["home"], Path(params["path"])
    looked = adopt(params, True)
    assert looked["changed"] and not root.exists() and engine.names == {}
    result = adopt(params, False)
    commit = git(home, "rev-parse", "HEAD")
    assert (result["revision"], result["local_edits"], result["notes"]) == (commit, [], [])
    # Not one of the containers that run is outdated by it.
    assert hashes_in(result["release_path"]) == engine.hashes
    activate(params, result["release"])
    assert adopt(params, False)["changed"] is False
    # Even the revision that runs is another release when an update makes it, and the standing services stay.
    later, hashes = next_release(params, "v1")
    assert later != result["release"]
    assert {s: hashes[s] for s in _STANDING} == {s: engine.hashes[s] for s in _STANDING}
    assert hashes["api"] != engine.hashes["api"]
    # Until something has taken its place it is as it was found, afterwards it comes back by its own images and copies.
    assert "image" not in json.loads((Path(result["release_path"]) / "compose.yaml").read_text())["services"]["api"]
    activate(params, later)
    returning = json.loads((Path(result["release_path"]) / "compose.yaml").read_text())
    assert returning["services"]["api"]["image"] == f"{NAME}-api:{commit[:12]}"
    # Each by what it ran, although one recipe stands for all three.
    assert engine.names == {f"{NAME}-{s}:{commit[:12]}": f"sha256:{s}" for s in ("api", "celery", "celery-beat")}
    again = hashes_in(result["release_path"])
    assert {s: again[s] for s in _STANDING} == {s: engine.hashes[s] for s in _STANDING}
    with pytest.raises(BadInput, match="a later release is active"):
        adopt({**params, "state": "absent"}, False)


def test_a_failed_update_goes_back_to_what_still_runs_or_to_what_can_be_started(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = run_it(params, monkeypatch)
    result = adopt(params, False)
    monkeypatch.setattr(adopted, "Engine", lambda: engine)
    call: tuple[str, LockOptions, dict[str, Any]] = (result["release_path"], lock_in(params), {})
    assert not adopted.see_to_return(*call) and hashes_in(result["release_path"]) == engine.hashes
    engine.stands = [c for c in engine.stands if c["Name"] != f"/{NAME}-api-1"]
    assert adopted.see_to_return(*call) and not adopted.see_to_return(*call)
    again = hashes_in(result["release_path"])
    assert {s for s, h in again.items() if h == engine.hashes[s]} == set(_STANDING)


def test_giving_up_takes_away_all_that_was_made(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, root = run_it(params, monkeypatch), Path(params["path"])
    result = adopt(params, False)
    activate(params, result["release"])
    assert adopt({**params, "state": "absent"}, True)["changed"] and (root / "current").exists()
    assert adopt({**params, "state": "absent"}, False)["changed"]
    assert [p.name for p in root.iterdir()] == [".evenkeel"] and engine.names == {}
    assert not adopted.record(f"{root}/.evenkeel") and not adopt({**params, "state": "absent"}, False)["changed"]
    # And it can be done again.
    assert adopt(params, False)["changed"]


def test_a_stop_sign_is_set_once_a_release_is_active_and_stays_until_it_is_given_up(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_it(params, monkeypatch)
    signed, file = {**params, "stop_sign": True}, params["home"] / FILE
    before = file.read_text()
    (params["home"] / "deploy.sh").write_text("docker compose up -d\n")
    result = adopt(signed, False)
    # Whoever takes up a run that was killed before the release was active reads the folder again.
    assert file.read_text() == before and f"  {params['home']}/deploy.sh:1: docker compose up -d" in result["callers"]
    activate(params, result["release"])
    assert adopt(signed, True)["changed"] and file.read_text() == before
    told = adopt(signed, False)
    assert told["changed"] and file.read_text() != before and "git status" in told["notes"][0]
    assert adopt(signed, False)["changed"] is False and adopt(params, False)["changed"] is False
    later, _hashes = next_release(params, "v2")
    activate(params, later)
    # A later release is active, and stays so.
    again = adopt(signed, False)
    assert (again["changed"], again["release"]) == (False, later)
    with pytest.raises(BadInput, match="has releases already"):
        adopt(params, False)
    activate(params, result["release"])
    adopt({**params, "state": "absent"}, False)
    assert file.read_text() == before and not file.with_name(f"{FILE}.adopted").exists()


def test_a_call_that_was_killed_is_taken_up(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run_it(params, monkeypatch)
    root = Path(params["path"])

    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    for step in ("put_aside", "live_of", "image_name", "write_private", "copy"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(adopt_adopt, step, killed)
            adopt(params, False)
        assert not (root / "current").exists()
        shutil.rmtree(root / "shared", ignore_errors=True)
        (root / "shared").mkdir()
    result = adopt(params, False)
    activate(params, result["release"])
    assert [p.name for p in (root / "releases").iterdir()] == [result["release"]]
    adopt({**params, "state": "absent"}, False)
    assert [p.name for p in root.iterdir()] == [".evenkeel"]


def test_local_changes_are_part_of_it_and_kept_as_a_commit(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = params["home"]
    (home / "manage.py").unlink()
    (home / "README.md").write_text("by hand\n")
    (home / "new ü.txt").write_text("new\n")
    run_it(params, monkeypatch)
    result = adopt({**params, "capture": True}, False)
    commit = git(home, "rev-parse", "HEAD")
    assert result["local_edits"] == ["README.md", "manage.py", "new ü.txt"] and result["revision"] != commit
    release, mirror = Path(result["release_path"]), Path(params["path"]) / "mirror.git"
    assert (release / "README.md").read_text() == "by hand\n" and not (release / "manage.py").exists()
    kept = git(mirror, "-c", "core.quotePath=false", "diff", "--name-status", commit, result["branch"]).splitlines()
    assert kept == ["M\tREADME.md", "D\tmanage.py", "A\tnew ü.txt"]
    # A fetch does not take it away.
    activate(params, result["release"])
    next_release(params, "v2")
    assert git(mirror, "rev-parse", result["branch"])
    assert git(home, "status", "--porcelain", "-z").split("\0")[1:] == [" D manage.py", "?? new ü.txt", ""]


def test_a_folder_without_git_is_its_content_without_the_data(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = params["home"]
    shutil.rmtree(home / ".git")
    compose = home / FILE
    compose.write_text(compose.read_text().replace("- pgdata:/var/lib/postgresql", "- ./pgdata:/var/lib/postgresql"))
    (home / "pgdata").mkdir()
    (home / "pgdata/rows").write_text("1")
    run_it(params, monkeypatch)
    result = adopt(params, False)
    assert len(result["revision"]) == 40 and result["data"] == {"pgdata": str(home / "pgdata")}
    release = Path(result["release_path"])
    assert not (release / "pgdata").exists() and (release / ".env").is_symlink()
    returning = json.loads((release / adopted.RETURNING).read_text())
    sources = {v["target"]: v["source"] for s in ("db", "nginx") for v in returning["services"][s]["volumes"]}
    assert sources["/var/lib/postgresql/data"] == str(home / "pgdata")
    assert sources["/etc/nginx/conf.d/default.conf"] == str(home / "deploy/nginx.conf")


def test_uploads_beside_committed_ones_are_data_and_stay(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, compose = params["home"], params["home"] / FILE
    git(params["repository"].parent, "clone", "-q", str(params["repository"]), "work")
    work = params["repository"].parent / "work"
    for version, seed in (("v1", "one"), ("v2", "two")):
        git(work, "checkout", "-q", version)
        text = (work / FILE).read_text()
        (work / FILE).write_text(text.replace("- media_files:", "- ./pictures:"))
        (work / "pictures").mkdir()
        (work / "pictures/seed.png").write_text(seed)
        git(work, "add", "-A")
        git(work, "commit", "-qm", "pictures")
        git(work, "tag", f"{version}-pictures")
    git(work, "push", "-q", "--tags", "origin")
    git(home, "fetch", "-q", "--tags")
    git(home, "checkout", "-q", "v1-pictures")
    assert "./pictures:" in compose.read_text()
    (home / "pictures/2024").mkdir()
    (home / "pictures/2024/mine.png").write_text("mine")
    run_it(params, monkeypatch)
    result = adopt(params, False)
    assert result["data"] == {"pictures": str(home / "pictures")}
    activate(params, result["release"])
    release, _hashes = next_release(params, "v2-pictures")
    project = json.loads((Path(params["path"]) / "releases" / release / "compose.yaml").read_text())
    sources = {
        v["source"] for s in project["services"].values() for v in s.get("volumes") or [] if "pictures" in v["source"]
    }
    assert sources == {str(home / "pictures")}


def test_code_and_data_in_one_folder_are_refused_before_anything(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, compose = params["home"], params["home"] / FILE
    compose.write_text(compose.read_text().replace("- media_files:", "- ./shop:"))
    (home / ".git/info/exclude").write_text("*.sqlite3\n__pycache__\n")
    (home / "shop/db.sqlite3").write_text("rows")
    (home / "shop/__pycache__").mkdir(exist_ok=True)
    (home / "shop/__pycache__/x.pyc").write_text("x")
    run_it(params, monkeypatch)
    with pytest.raises(BadInput, match=r"\./shop is mounted .* \(db\.sqlite3\)"):
        adopt(params, False)
    (home / "shop/db.sqlite3").unlink()
    assert "shop" not in adopt(params, False)["data"]


def test_an_update_of_what_nobody_has_adopted_is_refused_and_hinders_nobody_from_doing_so(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, releases = run_it(params, monkeypatch), Path(params["path"]) / "releases"
    (releases.parent / "shared").mkdir(parents=True)
    shutil.copy(params["home"] / ".env", releases.parent / "shared/.env")
    for state in ({"Running": True, "Pid": NOBODY}, {"Running": False, "Pid": 0}):
        for container in engine.stands:
            container["State"] = state
        with pytest.raises(BadInput, match=f"already, started by hand from {params['home']}: api, celery"):
            next_release(params, "v2")
    for container in engine.stands:
        container["State"] = {"Running": True, "Pid": NOBODY}
    assert os.listdir(releases), "what was fetched for the update"
    result = adopt(params, False)
    assert os.listdir(releases) == [result["release"]]
    activate(params, result["release"])
    release, _hashes = next_release(params, "v2")
    assert set(os.listdir(releases)) == {release, result["release"]}


def test_what_cannot_be_adopted_is_named(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, home, root = run_it(params, monkeypatch), params["home"], Path(params["path"])
    compose, text = home / FILE, (home / FILE).read_text()

    def refused(match: str, **others: Any) -> None:
        with pytest.raises(BadInput, match=match):
            adopt({**params, **others}, False)
        assert not root.exists()

    refused("there run: shop", project_name="other")
    refused("is the folder that runs", path=str(home))
    refused("lies in the folder that runs", path=str(home / "srv"))
    refused("was not started from /elsewhere", folder="/elsewhere")
    refused("it runs from docker-compose.prod.yml", files=["compose.yaml"])
    compose.write_text(text.replace("stop_grace_period: 60s", "stop_grace_period: 61s"))
    refused("is not what runs: celery$")
    compose.write_text(f"{text}\n  broken")
    refused("is not valid")
    compose.write_text(text)
    engine.stands[0]["Config"]["Labels"]["com.docker.compose.project.working_dir"] = "/other"
    refused("was started in several ways")
    engine.stands[0]["Config"]["Labels"]["com.docker.compose.project.working_dir"] = str(home)
    (home / "sub/.git").mkdir(parents=True)
    (root / "releases").mkdir(parents=True)
    (root / "current").symlink_to("releases/20261120T084911Z-5d33865")
    with pytest.raises(BadInput, match="has releases already"):
        adopt(params, False)


def test_of_a_job_nothing_has_to_be_there_to_go_back_to_what_runs(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = run_it(params, monkeypatch)
    monkeypatch.setattr(adopted, "Engine", lambda: engine)
    path = Path(adopt(params, False)["release_path"])
    project = json.loads((path / "compose.yaml").read_text())
    project["services"]["frontend"] = {**project["services"]["api"], "command": ["npm", "run", "build"]}
    (path / "compose.yaml").write_text(json.dumps(project))
    assert not adopted.see_to_return(str(path), lock_in(params), {})
