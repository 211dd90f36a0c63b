# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing live files, in a process of its own as in a container: order, owner, kills, ways back; and the call around it."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.build import asset_names
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.inside import publish, published
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import hotfix_live
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.app_script import answer_in, as_text
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.compose import ComposeFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix import live_files
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import ledger as hotfix_ledger
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import live_files as hotfix_live_files
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.inside import (
    live_files as hotfix_live_files_module,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.host import smoke_test
from tests.unit.restored_folder import Restored
from tests.unit.script_processes import ScriptProcesses, killed_at_move
from tests.unit.serving_shop import Shop

APP, PAGE = "assets/app-1a2b3c4d.js", "index.html"


class Site:
    """A folder that is served."""

    def __init__(self, folder: Path, processes: ScriptProcesses) -> None:
        self.processes = processes
        self.live, self.order, self.kill_at = folder / "live", [""], 0
        self.put({PAGE: "<script src=/assets/app-1a2b3c4d.js>", APP: "old", f"{PAGE}.gz": "gz", f"{PAGE}.br": "br"})

    def put(self, files: dict[str, str]) -> None:
        for path, text in files.items():
            (self.live / path).parent.mkdir(parents=True, exist_ok=True)
            (self.live / path).write_text(text)

    def ask(
        self,
        kind: str,
        name: str,
        files: Mapping[str, str | bytes] | None = None,
        dry: bool = False,
        kill_at: int = 0,
        **more: Any,
    ) -> Any:
        state = "applied" if files is not None else "reverted"
        contents = {p: t if isinstance(t, bytes) else t.encode() for p, t in (files or {}).items()}
        given = {p: base64.b64encode(t).decode() for p, t in contents.items()}
        modules = [published, publish, asset_names, hotfix_live_files_module]
        script = as_text(modules, [state, str(self.live), kind, name, dry])
        code = f"{killed_at_move(kill_at, told=True)}\n{script}"
        done = self.processes.run(code, stdin=json.dumps({"files": given, **more}))
        assert done.returncode == (137 if kill_at else 0), done.stderr
        self.order = [os.path.relpath(line, self.live) for line in done.stderr.splitlines()]
        return answer_in(done.stdout)

    def seen(self) -> dict[str, str]:
        own = [p for p in self.live.rglob("*") if p.is_file() and ".evenkeel" not in p.parts]
        return {str(p.relative_to(self.live)): p.read_bytes().decode("latin-1") for p in own}


@pytest.fixture
def site(tmp_path: Path, script_processes: ScriptProcesses) -> Site:
    return Site(tmp_path, script_processes)


def test_a_changed_asset_is_there_before_its_page_and_goes_back(site: Site) -> None:
    before = site.seen()
    told = site.ask("frontend", "a", {APP: "new"}, dry=True)
    assert told["changed"] and site.seen() == before and not (site.live / ".evenkeel").exists()
    told = site.ask("frontend", "a", {APP: "new"})
    fresh = next(p for p in site.seen() if p.startswith("assets/") and p != APP)
    assert site.order == [fresh, PAGE, f"{PAGE}.gz"] and site.seen()[APP] == "old" and site.seen()[fresh] == "new"
    page = (site.live / PAGE).read_bytes()
    assert os.path.basename(fresh).encode() in page and gzip.decompress((site.live / f"{PAGE}.gz").read_bytes()) == page
    # Python cannot write that form: none at all is better than that of the page before.
    assert f"{PAGE}.br" not in site.seen() and "without its br form" in " ".join(told["notes"])
    assert site.ask("frontend", "a", {APP: "new"})["changed"] is False
    assert "is another one" in site.ask("frontend", "a", {APP: "newer"})["error"]
    assert site.ask("frontend", "a")["changed"] and site.seen() == {**before, fresh: "new"}
    assert site.ask("frontend", "a")["changed"] is False and os.listdir(site.live / ".evenkeel/hotfix") == []


def test_a_picture_of_a_build_gets_another_name_and_every_byte(site: Site) -> None:
    logo, content = "assets/logo-9f8e7d6c.png", b"\x89PNG\r\n\x1a\n\0\xff\xfe"
    site.put({logo: "old", APP: "icon('/assets/logo-9f8e7d6c.png')"})
    before = site.seen()
    site.ask("frontend", "logo", {logo: content})
    fresh = next(p for p in site.seen() if p.endswith(".png") and p != logo)
    assert (site.live / fresh).read_bytes() == content and site.seen()[logo] == "old"
    script = next(p for p in site.seen() if p.endswith(".js") and p not in before)
    assert os.path.basename(fresh) in site.seen()[script] and os.path.basename(script) in site.seen()[PAGE]
    site.ask("frontend", "logo")
    assert site.seen()[PAGE] == before[PAGE] and (site.live / fresh).read_bytes() == content


def test_uploads_get_owner_and_mode_and_go_back(site: Site) -> None:
    before = site.seen()
    (site.live / PAGE).chmod(0o640)
    site.ask("media", "m", {PAGE: "other", "new/deep/a.txt": "x"}, mode="0600")
    assert (site.live / PAGE).stat().st_mode & 0o777 == 0o600 and site.seen()["new/deep/a.txt"] == "x"
    site.ask("media", "m")
    assert site.seen() == before and (site.live / PAGE).stat().st_mode & 0o777 == 0o640
    site.ask("media", "m", {PAGE: "other", "b.txt": "x"})
    assert (site.live / PAGE).stat().st_mode & 0o777 == 0o640 and (site.live / "b.txt").stat().st_mode & 0o777 == 0o644
    assert site.ask("media", "n", {PAGE: "other"})["changed"] is False


@pytest.mark.parametrize("kill_at", range(1, 6))
def test_killed_at_each_rename_the_same_call_ends_it_and_so_does_going_back(site: Site, kill_at: int) -> None:
    before, files = site.seen(), {PAGE: "two", APP: "two", "c.txt": "two"}
    site.ask("media", "k", files, kill_at=kill_at)
    told = site.ask("media", "k", files)
    assert told["changed"] or kill_at == 5
    assert site.seen() == {**before, **files}
    if kill_at in (2, 3):
        site.ask("media", "k", kill_at=kill_at)
        assert "was being taken back" in site.ask("media", "k", files)["error"]
    site.ask("media", "k")
    assert site.seen() == before
    site.ask("media", "k", files, kill_at=kill_at)
    site.ask("media", "k")
    assert site.seen() == before


def test_out_of_order_is_refused_and_what_a_build_replaced_is_left(site: Site) -> None:
    site.ask("media", "one", {PAGE: "1"})
    site.ask("media", "two", {PAGE: "2"})
    assert "the hotfix two changed index.html after one" in site.ask("media", "one")["error"]
    site.ask("media", "two")
    assert site.seen()[PAGE] == "1"
    site.put({PAGE: "of a build"})
    assert "is another one since" in site.ask("media", "one", {PAGE: "1"})["error"]
    assert "left as it is" in " ".join(site.ask("media", "one")["notes"]) and site.seen()[PAGE] == "of a build"


def test_out_of_order_is_refused_also_where_the_content_is_the_same_again(site: Site) -> None:
    before = site.seen()
    site.ask("media", "one", {PAGE: "1"})
    site.ask("media", "two", {PAGE: before[PAGE]})
    assert "the hotfix two changed index.html after one" in site.ask("media", "one")["error"]
    assert "first" in site.ask("media", "one", dry=True)["advice"]
    site.ask("media", "two")
    site.ask("media", "one")
    assert site.seen() == before


def test_only_permissions_may_change_and_come_back(site: Site) -> None:
    (site.live / APP).chmod(0o640)
    for kind in ("media", "frontend"):
        assert site.ask(kind, "m", {APP: "old"})["changed"] is False
        assert site.ask(kind, "m", {APP: "old"}, dry=True, mode="0644")["changed"]
        assert site.ask(kind, "m", {APP: "old"}, mode="0644")["changed"]
        assert (site.live / APP).stat().st_mode & 0o777 == 0o644
        assert site.ask(kind, "m", {APP: "old"}, mode="0644")["changed"] is False
        assert site.ask(kind, "m")["changed"] and (site.live / APP).stat().st_mode & 0o777 == 0o640
        assert site.ask(kind, "m", {APP: "old"}, mode="0640")["changed"] is False


def test_folders_of_its_own_go_with_it_unless_somebody_uses_them(site: Site) -> None:
    files = {"new/deep/a.txt": "x", "other/b.txt": "x"}
    site.ask("media", "m", files)
    site.put({"other/mine.txt": "mine"})
    site.ask("media", "m")
    assert not (site.live / "new").exists() and (site.live / "other/mine.txt").exists()


def test_what_names_new_files_comes_after_them_also_without_being_a_page(site: Site) -> None:
    site.put({"a-runtime.js": f'load("{os.path.basename(APP)}")'})
    site.ask("frontend", "r", {APP: "new"})
    assert [p.split("-")[0] for p in site.order[:2]] == ["assets/app", "a"] and site.order[2] == PAGE


def test_a_new_page_goes_again_and_a_new_asset_stays_for_who_has_the_page_open(site: Site) -> None:
    before = site.seen()
    site.ask("frontend", "p", {"more.html": "<img src=new.png>", "new.png": "x"})
    told = site.ask("frontend", "p")
    assert site.seen() == {**before, "new.png": "x"} and told["notes"] == ["new.png stays for pages that are open"]


def test_a_folder_that_cannot_be_written_is_told_without_a_traceback(site: Site) -> None:
    (site.live / ".evenkeel").write_text("in the way")
    told = site.ask("media", "m", {PAGE: "x"})
    assert told["error"].startswith(".evenkeel") and told["begun"] == "" and site.seen()[PAGE] != "x"


def test_links_and_folders_are_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (site.live / "link").symlink_to(tmp_path / "out")
    (site.live / "file").symlink_to(tmp_path / "out/x")
    before = site.seen()
    for path, expected in (("link/a", "behind a link"), ("file", "no plain file"), ("assets", "no plain file")):
        assert expected in site.ask("media", "x", {path: "y"})["error"], path
    assert site.seen() == before and os.listdir(tmp_path / "out") == []


# -- which mount --------------------------------------------------------------------------------------------------


def project(**mounts: list[str]) -> dict[str, Any]:
    def volume(text: str) -> dict[str, Any]:
        source, target, *read_only = text.split(":")
        return {"type": "volume", "source": source, "target": target, "read_only": bool(read_only)}

    return {"name": "shop", "services": {n: {"volumes": [volume(v) for v in vs]} for n, vs in mounts.items()}}


def test_the_mount_is_found_or_named() -> None:
    seen = project(api=["up:/app/media", "st:/app/static"], nginx=["up:/m:ro", "web:/x:ro", "st:/s:ro"], b=["web:/out"])
    kinds = {"api": "web", "nginx": "proxy", "b": "job"}
    assert live_files.found(seen, kinds, "media", "api").source == "up"
    assert live_files.found(seen, kinds, "frontend", "api") == live_files.Live("web", "/x", "nginx", True)
    assert live_files.found(seen, kinds, "media", "api", "/app/static/").source == "st"
    with pytest.raises(live_files.NoLiveFiles, match="no volume or folder of uploads"):
        live_files.found(project(api=["x:/app/x"]), kinds, "media", "api")
    with pytest.raises(live_files.NoLiveFiles, match="more than one"):
        live_files.found(project(api=["x:/a/media", "y:/b/uploads"]), kinds, "media", "api")
    made = live_files.container(seen, "sha256:x", live_files.Live("web", "/x", "nginx"))
    assert made["volumes"] == {"web": {}} and made["services"][live_files.SERVICE]["network_mode"] == "none"


# -- the call -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(shops: Restored[Shop], monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = shops()
    made.use_its_engine(monkeypatch, hotfix_live_files)
    return made


def call(shop: Shop, check: bool = False, **more: Any) -> dict[str, Any]:
    params = {"path": str(shop.root), "kind": "media", "django_service": "api", "target": "/app/static_files", "state": "applied",
              "timeout": 10.0, "files": [{"path": "a.txt", "content": "eA=="}], **more}  # fmt: skip
    return hotfix_live.call(params, check)


@pytest.fixture
def served(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The folder as the container of the module has it."""

    def run_by(_self: Any, _project: Any, *words: str, **more: Any) -> str:
        text = words[-1].replace('"/evenkeel/live"', json.dumps(str(site.live)))
        done = site.processes.run(f"{killed_at_move(site.kill_at, told=True)}\n{text}", stdin=more["stdin"])
        if done.returncode:
            raise ComposeFailed(f"ended with {done.returncode}")
        return done.stdout

    monkeypatch.setattr(hotfix_live_files.Compose, "run_by", run_by)
    return site


def test_killed_before_it_was_told_it_goes_back_by_its_name(shop: Shop, served: Site) -> None:
    before, ledger = served.seen(), str(shop.root / ".evenkeel")
    served.kill_at = 3
    with pytest.raises(BadInput) as caught:
        call(shop, name="m", files=[{"path": PAGE, "content": "eA=="}, {"path": "a.txt", "content": "eA=="}])
    assert "some of the files may be new already" in caught.value.message() and served.seen() != before
    served.kill_at = 0
    assert call(shop, state="reverted", name="m", files=[])["changed"] and served.seen() == before
    told = hotfix_ledger.read(ledger, "m")["reverted"]
    assert told and call(shop, state="reverted", name="m", files=[])["changed"] is False
    assert hotfix_ledger.read(ledger, "m")["reverted"] == told


def test_of_what_was_refused_or_changes_nothing_the_ledger_knows_nothing(shop: Shop, served: Site) -> None:
    with pytest.raises(BadInput) as caught:
        call(shop, name="m", files=[{"path": "assets", "content": "eA=="}])
    assert "nothing was touched" in caught.value.message()
    assert call(shop, name="n", files=[{"path": APP, "content": "b2xk"}])["changed"] is False
    assert hotfix_ledger.names(str(shop.root / ".evenkeel")) == []


def test_the_ledger_knows_sums_and_what_came_back(shop: Shop, served: Site) -> None:
    site = served
    ledger = str(shop.root / ".evenkeel")
    assert call(shop, True, name="m")["changed"] and hotfix_ledger.read(ledger, "m") == {}
    told = call(shop, name="m")
    assert told["changed"] and site.seen()["a.txt"] == "x" and told["public_paths"] == ["/media/a.txt"]
    assert told["diff"]["before"] == "a.txt nothing\n" and told["diff"]["after"].endswith(", 1 bytes\n")
    again = call(shop, name="m")
    assert again["changed"] is False and again["public_paths"] == told["public_paths"]
    assert list(hotfix_ledger.read(ledger, "m")["sums"]) == ["a.txt"]
    assert call(shop, state="reverted", name="m", files=[])["changed"] and "a.txt" not in site.seen()
    assert hotfix_ledger.read(ledger, "m")["reverted"]
    assert call(shop, state="reverted", name="m", files=[])["changed"] is False
    assert call(shop, name="m")["changed"] and hotfix_ledger.read(ledger, "m")["reverted"] == ""
    with pytest.raises(BadInput, match="uploads or built files is called m"):
        shop.fix(files={"backend/shop/views.py": "three\n"}, name="m")
    with pytest.raises(BadInput) as caught:
        call(shop, state="reverted", name="typo", files=[])
    assert caught.value.advice == "there are: m"
    fix = shop.fix(files={"backend/shop/views.py": "two\n"}, name="code")
    with pytest.raises(BadInput, match=fix["release"]):
        call(shop, state="reverted", name="code", files=[])


def test_a_site_that_answers_wrongly_has_its_files_back(
    shop: Shop, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, ledger, wrong = served.seen(), str(shop.root / ".evenkeel"), ["GET / answered 500"]
    monkeypatch.setattr(smoke_test, "wrong", lambda *_args, **_more: wrong[0])
    for _again in range(2):
        with pytest.raises(BadInput) as caught:
            call(shop, name="m")
        assert "the files are again those of before" in caught.value.message() and wrong[0] in caught.value.message()
        assert served.seen() == before and hotfix_ledger.read(ledger, "m")["reverted"]
    wrong[0] = ""
    assert call(shop, name="m")["changed"] and hotfix_ledger.read(ledger, "m")["proven"]
    assert hotfix_ledger.patch_of(ledger, "m").startswith("a.txt: nothing -> ")
    wrong[0] = "GET / answered 500"
    assert call(shop, name="m")["changed"] is False, "of what was proven nothing is taken back later"
    with pytest.raises(BadInput) as caught:
        call(shop, name="m", state="reverted", files=[])
    assert "those of before the hotfix" in caught.value.message() and served.seen() == before
    assert hotfix_ledger.read(ledger, "m")["reverted"]


def test_killed_before_the_site_was_asked_the_same_call_asks_it(
    shop: Shop, served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, asked = served.seen(), []

    def killed(*_args: Any, **_more: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(smoke_test, "wrong", killed)
    with pytest.raises(KeyboardInterrupt):
        call(shop, name="m")
    assert served.seen() != before
    monkeypatch.setattr(smoke_test, "wrong", lambda *_args, **_more: asked.append(1) or "GET / answered 500")
    with pytest.raises(BadInput, match="GET / answered 500"):
        call(shop, name="m")
    assert asked and served.seen() == before


def test_what_became_of_uploads_is_told_once(shop: Shop, served: Site) -> None:
    ledger = str(shop.root / ".evenkeel")

    def checked(check: bool = False) -> list[str]:
        told = call(shop, check, state="checked", files=[])
        assert told["changed"] is False
        return list(told["notes"])

    assert checked() == []
    for name, text, paths in (("m", "eA==", ["a.txt", "b.txt", "c.txt"]), ("n", "eQ==", ["a.txt"])):
        call(shop, name=name, files=[{"path": path, "content": text} for path in paths])
    # The later one lies on the one before.
    assert checked() == [] and sorted(hotfix_ledger.of_uploads(ledger)) == ["m", "n"]
    (served.live / "b.txt").unlink()
    (served.live / "a.txt").write_text("by hand")
    other, lost = (
        "of the hotfix {} is another one since (the app, or somebody by hand)",
        "is again as before the hotfix m: IT IS LOST",
    )
    seen = [f"a.txt {other.format('m')}", f"b.txt {lost}", f"a.txt {other.format('n')}"]
    assert checked(True) == seen and checked() == seen and checked() == []
    (served.live / "c.txt").unlink()
    assert checked() == [f"c.txt {lost}"]
    call(shop, state="reverted", name="n", files=[])
    assert sorted(hotfix_ledger.of_uploads(ledger)) == ["m"] and checked() == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"files": [{"path": "../x", "content": ""}]}, "not written plainly"),
        ({"files": [{"path": ".evenkeel/x", "content": ""}]}, "its own record"),
        ({"files": [{"path": "/x", "content": ""}]}, "absolute"),
        ({"files": []}, "no file is given"),
        ({"file_owner": "shop"}, "not written as"),
        ({"mode": "u+x"}, "not written as"),
        ({"name": "../x"}, "cannot be the name"),
        ({"target": "/elsewhere"}, "no volume or folder"),
        ({"kind": "frontend", "target": "/etc/nginx/conf.d/default.conf"}, "made of the repository's files"),
        ({"django_service": "nobody"}, "no volume or folder"),
    ],
)
def test_what_cannot_be_is_refused_by_name(shop: Shop, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        call(shop, **more)
    assert expected in caught.value.message()
