# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of ``hotfix_patch`` on a real repository and real Compose files, with an engine that only remembers."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.hotfix.host import ledger, patch
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from ansible_collections.evenkeel.deploy.plugins.module_utils.status.host.store import hotfixes_of
from tests.unit.app_on_a_server import commit, git
from tests.unit.restored_folder import Restored
from tests.unit.serving_shop import VIEWS, Shop


@pytest.fixture
def shop(shops: Restored[Shop], monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = shops()
    made.use_its_engine(monkeypatch)
    return made


def test_only_what_has_the_file_gets_another_image(shop: Shop) -> None:
    told = shop.fix(files={VIEWS: "two\n", "backend/shop/new.py": "new\n"}, name="a")
    assert told["changed"] and told["kinds"] == {"backend": ["backend/shop/new.py", VIEWS]}
    assert told["services"] == ["api", "celery"] and told["release"].endswith(f"-{shop.first[:7]}.h1")
    services, short = shop.project(told["release"])["services"], told["revision"][:12]
    images = {n: s["image"] for n, s in services.items()}
    assert images["builder"] == f"shop-builder:{shop.first[:12]}" and images["api"] == f"shop-api:{short}"
    made = shop.engine.images[shop.engine.names[images["api"]]]
    assert made["files"]["/app/shop/views.py"] == (b"two\n", 1000, 1000, 0o640)
    assert made["files"]["/app/shop/new.py"] == (b"new\n", 1000, 1000, 0o644)
    assert made["config"]["Labels"]["evenkeel.hotfix.image"] == shop.base and made["config"]["Cmd"] == ["x"]
    assert shop.engine.made == {}
    about = ledger.read(str(shop.root / ".evenkeel"), "a")
    assert about["commit"] == told["revision"] and about["base"] == shop.first
    # Killed here, the same call takes up what is there.
    again = shop.fix(files={VIEWS: "two\n", "backend/shop/new.py": "new\n"}, name="a")
    assert again["release"] == told["release"] and len(shop.names()) == 2


@pytest.mark.parametrize("left", ["both", "the new one"])
@pytest.mark.parametrize("pruned", [False, True])
def test_killed_in_its_roll_it_is_found_again(shop: Shop, left: str, pruned: bool) -> None:
    made = shop.fix(files={VIEWS: "two\n"}, name="a")
    name = shop.project(made["release"])["services"]["api"]["image"]
    if left == "the new one":
        shop.engine.running = [i for i in shop.engine.running if i["Name"] != "/api-1"]
    shop.engine.serve("shop", "api", shop.engine.names[name], name)
    if pruned and left == "both":
        del shop.engine.names[f"shop-api:{shop.first[:12]}"]
    again = shop.fix(files={VIEWS: "two\n"}, name="a")
    assert (again["release"], again["services"]) == (made["release"], ["api", "celery"])


def test_a_second_one_lies_on_the_first_and_the_same_one_is_there_already(shop: Shop) -> None:
    before = shop.names()[0]
    first = shop.fix(files={VIEWS: "two\n"}, name="a")
    shop("active", release=first["release"])
    assert shop("found", release=before)["code_alone"] is True
    image = shop.engine.names[f"shop-api:{first['revision'][:12]}"]
    for container in shop.engine.running:
        container["Image"] = image
    same = shop.fix(files={VIEWS: "two\n"}, name="a")
    assert (same["changed"], same["release"]) == (False, first["release"]) and "already" in same["msg"]
    with pytest.raises(BadInput, match="a hotfix called a is in production"):
        shop.fix(files={VIEWS: "three\n"}, name="a")
    second = shop.fix(files={"backend/shop/urls.py": "other\n"}, name="b")
    assert second["release"].endswith(".h2")
    chain = Store(str(shop.root)).manifest(second["release"])["hotfixes"]
    assert [h["name"] for h in chain] == ["a", "b"] and chain[1]["base"] == first["revision"]
    files = shop.engine.images[shop.engine.names[f"shop-api:{second['revision'][:12]}"]]["files"]
    assert files["/app/shop/views.py"][0] == b"two\n" and files["/app/shop/urls.py"][0] == b"other\n"
    with pytest.raises(BadInput, match="an update to a version that has them is due") as caught:
        shop.fix(files={"backend/shop/urls.py": "other\n"}, name="b", max_chain=1)
    assert caught.value.advice.startswith("ansible-playbook evenkeel.deploy.update -e update_version=")


CSS, LOGO = "backend/shop/static/site.css", "backend/shop/static/logo.png"


def serve_it(shop: Shop, told: dict[str, Any]) -> dict[str, Any]:
    """The release serves, and its containers run what its project says."""
    shop("active", release=told["release"])
    Store(str(shop.root)).note(told["release"], state="verified")
    services = shop.project(told["release"])["services"]
    for container in shop.engine.running:
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        container["Config"]["Image"] = services[service]["image"]
        container["Image"] = shop.engine.names[services[service]["image"]]
    return told


def test_static_files_leave_the_worker_and_what_comes_on_them_keeps_them(shop: Shop) -> None:
    told = serve_it(shop, shop.fix(files={CSS: "b {}\n", LOGO: "\x89PNG\r\n\0"}, name="css"))
    assert told["kinds"] == {"static": [LOGO, CSS]} and told["services"] == ["api"]
    images = {n: s["image"] for n, s in shop.project(told["release"])["services"].items()}
    assert images["celery"] == f"shop-api:{shop.first[:12]}" and images["api"] == f"shop-api:{told['revision'][:12]}"
    assert shop.engine.images[shop.engine.names[images["api"]]]["files"]["/app/shop/static/site.css"][0] == b"b {}\n"
    assert f"{LOGO}: nothing -> 8 bytes (" in told["diff"]["prepared"]
    assert told["service_options"] == {"api": {"prove_seconds": 1.0, "monitor": 1.0}}
    # Worker and web share a recipe: what has code next is put on the image that has the static files.
    code = shop.fix(files={VIEWS: "two\n"}, name="code")
    images = {n: s["image"] for n, s in shop.project(code["release"])["services"].items()}
    assert code["services"] == ["api", "celery"] and images["celery"] == images["api"] and not code["service_options"]
    files = shop.engine.images[shop.engine.names[images["celery"]]]["files"]
    assert files["/app/shop/static/site.css"][0] == b"b {}\n" and files["/app/shop/views.py"][0] == b"two\n"


def test_a_picture_of_a_branch_is_measured_in_bytes_and_not_as_text(shop: Shop) -> None:
    # Read as text each of its bytes would count as three.
    (shop.source / LOGO).write_bytes(b"\0" + b"\xff" * 700 * 1024)
    commit(shop.source)
    git(shop.source, "branch", "logo")
    told = shop.fix(True, ref="logo")
    assert (
        told["kinds"] == {"static": [LOGO]} and f"{LOGO}: nothing -> {1 + 700 * 1024} bytes" in told["diff"]["prepared"]
    )
    (shop.source / LOGO).write_bytes(b"\0" * 1025 * 1024)
    commit(shop.source)
    git(shop.source, "branch", "--force", "logo")
    with pytest.raises(BadInput, match="1025 KiB, more than 1024"):
        shop.fix(True, ref="logo")


def test_mounted_code_is_a_new_copy_and_nginx_has_its_own_kind(shop: Shop) -> None:
    before = shop.project(shop.names()[0])["services"]
    told = shop.fix(files={"backend/shared/texts.py": "other\n", "deploy/nginx.conf": "server { }\n"}, name="a")
    assert told["kinds"] == {"backend": ["backend/shared/texts.py"], "nginx": ["deploy/nginx.conf"]}
    after = shop.project(told["release"])["services"]
    (old,), (new,) = ([v["source"] for v in s["api"]["volumes"] if v["type"] == "bind"] for s in (before, after))
    assert (
        old != new and Path(new, "texts.py").read_text() == "other\n" and Path(old, "texts.py").read_text() == "text\n"
    )
    # The worker mounts nothing, and has it in its image.
    assert told["services"] == ["api", "celery"] and after["celery"]["image"] != before["celery"]["image"]
    assert {n: after[n]["image"] for n in ("builder", "nginx")} == {n: before[n]["image"] for n in ("builder", "nginx")}


def test_source_of_a_front_end_is_put_on_its_builder_alone(shop: Shop) -> None:
    before = shop.project(shop.names()[0])["services"]
    looked = shop.fix(check=True, files={"frontend/app.js": "mended\n"})
    assert looked["jobs"] == ["builder", "mounted"] and "up to 400 lines" in " ".join(looked["notes"])
    told = shop.fix(files={"frontend/app.js": "mended\n", "frontend/new.js": "new\n"}, name="a")
    assert told["kinds"] == {"frontend": ["frontend/app.js", "frontend/new.js"]} and told["services"] == []
    # They fill one volume, so what one of them has not built would be missing there.
    assert told["jobs"] == ["builder", "mounted"] and told["release"].endswith(".h1")
    after = shop.project(told["release"])["services"]
    assert {n for n in after if after[n].get("image") != before[n].get("image")} == {"builder"}
    files = shop.engine.images[shop.engine.names[after["builder"]["image"]]]["files"]
    assert files["/app/app.js"] == (b"mended\n", 1000, 1000, 0o640) and files["/app/new.js"][0] == b"new\n"
    assert before["mounted"]["volumes"] == after["mounted"]["volumes"]


def test_its_release_knows_the_jobs_that_need_not_run_again(shop: Shop) -> None:
    def folder(release: str) -> Path:
        return shop.root / "releases" / release / ".evenkeel/jobs"

    folder(shop.names()[0]).mkdir()
    for job in ("builder", "mounted", "seed"):
        (folder(shop.names()[0]) / f"{job}.json").write_text(f'{{"service": "{job}", "identity": "x"}}')
    told = shop.fix(files={"frontend/app.js": "mended\n"}, name="a")
    (record,) = folder(told["release"]).iterdir()
    assert record.name == "seed.json" and json.loads(record.read_text())["identity"] == "x"
    assert record.stat().st_mode & 0o777 == 0o600


def test_source_that_a_builder_mounts_is_a_new_copy_for_it(shop: Shop) -> None:
    before = shop.project(shop.names()[0])["services"]
    told = shop.fix(files={"landing/page.js": "mended\n"}, name="a")
    assert told["kinds"] == {"frontend": ["landing/page.js"]} and told["jobs"] == ["builder", "mounted"]
    after = shop.project(told["release"])["services"]
    assert before["mounted"]["volumes"] != after["mounted"]["volumes"]
    assert {n for n in after if after[n].get("image") != before[n].get("image")} == set()


def test_what_an_image_only_has_along_replaces_nobody(shop: Shop) -> None:
    for path in ("app.js", "templates/x.html"):
        shop.engine.images[shop.base]["files"][f"/app/frontend/{path}"] = (b"js\n", 0, 0, 0o644)
    told = shop.fix(files={"frontend/app.js": "mended\n"}, name="a")
    assert told["kinds"] == {"frontend": ["frontend/app.js"]} and told["services"] == []
    assert "the images of api, celery, migrate, which have it along, get it with the next update" in " ".join(
        told["notes"]
    )
    services = shop.project(told["release"])["services"]
    assert services["api"]["image"] == f"shop-api:{shop.first[:12]}"


def test_a_front_end_whose_image_was_pruned_or_that_was_changed_where_it_is_served_is_refused(shop: Shop) -> None:
    state_dir = str(shop.root / ".evenkeel")
    live = {"name": "until", "base": shop.first, "live": {"built": True}, "sums": {"app.js": {}}, "reverted": ""}
    ledger.write(state_dir, "until", live, "")
    with pytest.raises(BadInput, match="build over the hotfix until of built files") as caught:
        shop.fix(files={"frontend/app.js": "mended\n"})
    assert "rollback_hotfix=until" in caught.value.message()
    ledger.forget(state_dir, "until")
    shop.engine.names.pop(f"shop-builder:{shop.first[:12]}")
    shop.engine.images[shop.base]["files"]["/app/frontend/app.js"] = (b"js\n", 0, 0, 0o644)
    with pytest.raises(BadInput, match="whose image is not on this host any more"):
        shop.fix(files={"frontend/app.js": "mended\n"})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"backend/gone.py": "x\n"}, "in no container"),
        ({"README.md": "x\n"}, "in no container"),
        ({"frontend/left_out.js": "x\n"}, "of the front end that builder builds, whose image does not have it"),
        ({"frontend/new.css": "x" * 70 + "\n" * 401, "frontend/package.json": "{}\n"}, "names packages"),
        ({"backend/static_files/made.css": "x\n"}, "volume is mounted over"),
        ({"backend/Dockerfile": "x\n"}, "how images are built"),
        ({VIEWS: "x\r\n"}, "CRLF"),
        ({"deploy/new.conf": "x\n"}, "in no container"),
    ],
)
def test_refused_with_nothing_left(shop: Shop, files: dict[str, str], expected: str) -> None:
    before = shop.seen()
    with pytest.raises(BadInput) as caught:
        shop.fix(files=files)
    assert expected in caught.value.message() and shop.seen() == before


def test_what_does_not_pass_its_check_leaves_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any) -> list[str]:
        raise BadInput("api would not work with it")

    monkeypatch.setattr(patch, "checked", refuse)
    before = shop.seen()
    with pytest.raises(BadInput, match="would not work"):
        shop.fix(files={VIEWS: "two\n"})
    assert shop.seen() == before
    # Static files alone are seen when they are collected.
    assert shop.fix(files={CSS: "b {}\n"}, name="css")["services"] == ["api"]


def test_check_mode_tells_and_writes_nothing(shop: Shop) -> None:
    before = {str(p) for p in shop.root.rglob("*")}
    told = shop.fix(check=True, files={VIEWS: "two\n"})
    assert told["changed"] and told["services"] == ["api", "celery"] and "-one\n+two" in told["diff"]["prepared"]
    assert {str(p) for p in shop.root.rglob("*")} == before and shop.engine.made == {}


def test_hand_edits_and_another_environment_stop_it(shop: Shop) -> None:
    shop.engine.edited["/app/shop/urls.py"] = "by hand\n"
    with pytest.raises(BadInput, match=r"by hand.*/app/shop/urls\.py"):
        shop.fix(files={VIEWS: "two\n"})
    assert "/app/shop/urls.py" in " ".join(shop.fix(files={VIEWS: "two\n"}, drop_edits=True)["notes"])
    (shop.root / "shared/.env").write_text("SECRET=2")
    with pytest.raises(BadInput, match="would come along"):
        shop.fix(files={VIEWS: "three\n"})


def test_nothing_is_put_on_what_nobody_found_good(shop: Shop) -> None:
    Store(str(shop.root)).note(shop.names()[0], state="active")
    with pytest.raises(BadInput, match="nobody has found it good"):
        shop.fix(files={VIEWS: "two\n"})
    # A run that was killed right after its switch finds its own release, and what is left to do for it.
    told = shop.fix(files={VIEWS: "one\n"})
    assert (told["changed"], told["release"], told["release_state"]) == (False, shop.names()[0], "active")


# -- hand edits -----------------------------------------------------------------------------------------


def test_what_was_edited_by_hand_becomes_a_hotfix(shop: Shop) -> None:
    shop.engine.edited.update({"/app/shop/urls.py": "by hand\n", "/app/shop/new.py": "new\n"})
    shop.engine.added.add("/app/shop/new.py")
    before = shop.seen()
    told = shop.fix(check=True, capture=True)
    assert told["kinds"] == {"backend": ["backend/shop/new.py", "backend/shop/urls.py"]} and shop.seen() == before
    told = shop.fix(capture=True)
    assert told["name"].startswith("by-hand-") and told["services"] == ["api", "celery"]
    made = shop.engine.images[shop.engine.names[shop.project(told["release"])["services"]["celery"]["image"]]]["files"]
    assert made["/app/shop/urls.py"][0] == b"by hand\n" and made["/app/shop/new.py"][0] == b"new\n"
    about = ledger.read(str(shop.root / ".evenkeel"), told["name"])
    assert about["captured"] is True and about["commit"] == told["revision"]
    # Killed here the same call finds the same; containers that went with their edits leave the patch.
    assert shop.fix(capture=True)["release"] == told["release"]
    shop.engine.edited.clear()
    again = shop.fix(capture=True)
    assert again["changed"] is False and f"{told['name']}.patch" in " ".join(again["notes"])
    shop("active", release=told["release"])
    again = shop.fix(capture=True)
    assert (again["changed"], again["notes"]) == (False, [])


def test_what_no_commit_can_hold_stays_and_stops_it(shop: Shop) -> None:
    shop.engine.edited.update({"/app/shop/urls.py": "by hand\n", "/etc/hosts.more": "x\n"})
    shop.engine.added.add("/etc/hosts.more")
    before = shop.seen()
    with pytest.raises(BadInput, match=r"by hand.*/etc/hosts\.more"):
        shop.fix(capture=True)
    assert shop.seen() == before
    told = shop.fix(capture=True, drop_edits=True)
    assert told["files"] == ["backend/shop/urls.py"] and "/etc/hosts.more" in " ".join(told["notes"])


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ({"/app/shop/urls.py": "x\r\n"}, "CRLF"),
        ({"/app/shop/urls.py": "\0"}, "binary"),
        ({"/app/shop/views.py": None}, "taken away"),
    ],
)
def test_an_edit_that_cannot_be_kept_is_named(shop: Shop, edits: dict[str, Any], expected: str) -> None:
    shop.engine.edited.update(edits)
    before = shop.seen()
    with pytest.raises(BadInput) as caught:
        shop.fix(capture=True)
    assert expected in caught.value.message() and shop.seen() == before


# -- the environment --------------------------------------------------------------------------------------


def set_env(shop: Shop, **values: str) -> dict[str, Any]:
    given = [{"name": k, "value": base64.b64encode(v.encode()).decode()} for k, v in values.items()]
    return shop.fix(env=given)


def test_a_variable_changes_with_its_release_and_goes_back_with_it(shop: Shop) -> None:
    shared, before = shop.root / "shared/.env", shop.names()[0]
    told = set_env(shop, SECRET="new one")
    assert told["kinds"] == {"env": ["SECRET"]} and "new one" not in json.dumps(told)
    own = shop.root / "releases" / told["release"] / ".env"
    assert shared.read_text() == "SECRET=1" and own.stat().st_mode & 0o777 == 0o600 and not own.is_symlink()
    services = shop.project(told["release"])["services"]
    assert services["api"]["environment"]["SECRET"] == "new one"
    assert services["api"]["image"] == f"shop-api:{shop.first[:12]}"
    assert set_env(shop, SECRET="new one")["release"] == told["release"]
    shop("active", release=told["release"])
    assert shop("found", release=before)["code_alone"] is False
    assert shared.read_text() == "SECRET='new one'\n" and own.is_symlink() and own.read_text() == shared.read_text()
    again = set_env(shop, SECRET="new one")
    assert (again["changed"], again["release"]) == (False, told["release"])
    # An update to the same revision is this release.
    assert shop(inputs=shop.inputs)["release"] == told["release"]
    shop("active", release=before, left="bad")
    assert shared.read_text() == "SECRET=1"


def test_a_variable_is_listed_and_taken_back_by_its_name(shop: Shop) -> None:
    shared, state_dir = shop.root / "shared/.env", str(shop.root / ".evenkeel")
    first = serve_it(shop, set_env(shop, SECRET="2", NEW="x"))
    (listed,) = hotfixes_of(Store(str(shop.root)), state_dir)
    assert (listed["name"], listed["kinds"], listed["files"]) == (first["name"], ["env"], ["NEW", "SECRET"])
    # The same variable once more has a name of its own, and more of these than max_chain are no layers on one another.
    second = serve_it(shop, set_env(shop, SECRET="3", NEW="x"))
    third = serve_it(shop, shop.fix(env=[{"name": "SECRET", "value": "NA=="}], max_chain=1))
    assert second["name"] != first["name"] and shared.read_text() == "SECRET=4\nNEW=x\n"
    with pytest.raises(BadInput, match=r"SECRET of the hotfix .* was changed again since"):
        shop.fix(revert=second["name"])
    serve_it(shop, shop.fix(revert=third["name"]))
    serve_it(shop, shop.fix(revert=second["name"]))
    back = serve_it(shop, shop.fix(revert=first["name"]))
    assert back["kinds"] == {"env": ["NEW", "SECRET"]} and shared.read_text() == "SECRET=1\n"
    environment = shop.project(back["release"])["services"]["api"]["environment"]
    assert environment["SECRET"] == "1" and "NEW" not in environment
    assert first["name"] not in {h["name"] for h in hotfixes_of(Store(str(shop.root)), state_dir)}
    assert shop.fix(revert=first["name"])["changed"] is False
    # Any version has it: the server's file is in no commit.
    (shop.source / "README.md").write_text("other\n")
    commit(shop.source)
    assert shop("present", inputs=shop.inputs)["changed"]


def test_what_a_removed_release_knew_of_variables_is_said(shop: Shop) -> None:
    told = serve_it(shop, set_env(shop, SECRET="2"))
    serve_it(shop, shop.fix(files={VIEWS: "two\n"}, name="code"))
    shutil.rmtree(shop.root / "releases" / told["release"])
    with pytest.raises(BadInput, match=r"what SECRET was before the hotfix .* is not on this host any more") as caught:
        shop.fix(revert=told["name"])
    assert "hotfix_env" in caught.value.advice


def test_what_somebody_changed_since_is_not_put_back(shop: Shop) -> None:
    shared, before = shop.root / "shared/.env", shop.names()[0]
    shop("active", release=set_env(shop, SECRET="2")["release"])
    shared.write_text("SECRET=by hand\n")
    shop("active", release=before, left="bad")
    assert shared.read_text() == "SECRET=by hand\n"


@pytest.mark.parametrize(("steps", "expected"), [(1, "SECRET=3\n"), (2, "SECRET=2\n"), (3, "SECRET=1")])
def test_going_back_over_several_undoes_each(shop: Shop, steps: int, expected: str) -> None:
    known = [shop.names()[0]]
    for value in ("2", "3"):
        known.append(serve_it(shop, set_env(shop, SECRET=value))["release"])
    back = serve_it(shop, set_env(shop, SECRET="2"))
    assert back["release"] not in known
    shop("active", release=known[-steps], left="bad")
    assert (shop.root / "shared/.env").read_text() == expected


def test_code_and_environment_in_one_go(shop: Shop) -> None:
    told = shop.fix(files={VIEWS: "two\n"}, env=[{"name": "A", "value": "YQ=="}], name="both")
    assert told["kinds"] == {"backend": [VIEWS], "env": ["A"]} and told["release"].endswith(".h1")
    assert (shop.root / "shared/.env").read_text() == "SECRET=1"
