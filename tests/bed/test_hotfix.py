# SPDX-License-Identifier: GPL-3.0-or-later
"""A small change to what runs: in seconds, under load, refused where it would not work, and never lost again."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from demo.repository import add_commit
from tests.bed.code_hotfix import CODE, NGINX, PAGE, VERSION, back_at_v1, hotfix, module, of_v1, said, write
from tests.bed.killed_playbook import kill_when
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, deployed, run
from tests.bed.shop_snapshot import ids_of, images_of, there

ROLLED = ("api", "celery", "celery-beat")


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A shop at v1."""
    with deployed("hotfix", {"app_keep_releases": 20, "app_services": QUICK}) as made:
        yield made


def layers(image: str) -> list[str]:
    found: list[str] = json.loads(run(["docker", "inspect", image]))[0]["RootFS"]["Layers"]
    return found


def owner_in(shop: Shop, path: str) -> str:
    return run(["docker", "exec", shop.container("api"), "stat", "-c", "%u:%g %a", f"/app/{path}"]).strip()


def test_it_changes_over_and_a_second_run_changes_nothing(shop: Shop) -> None:
    before, ids, owner = images_of(shop), ids_of(shop), owner_in(shop, VERSION)
    files = {
        VERSION: said("v1-h"),
        PAGE: of_v1(shop, PAGE).replace("</body>", "<p>mended</p></body>"),
        "tours/extra.py": "X = 1\n",
    }
    looked = there(shop)
    check = hotfix(shop, files, "--check", "--diff")
    assert check.returncode == 0 and "would be replaced: api, celery, celery-beat" in check.output, check.output[-3000:]
    assert there(shop) == looked
    play = hotfix(shop, files, hotfix_name="mended")
    assert play.returncode == 0, play.output[-5000:]
    assert shop.version() == "v1-h" and "mended" in run(["curl", "-s", f"{shop.url}/"]) and shop.leftovers() == []
    after = images_of(shop)
    assert {after[s] for s in ROLLED} != {before[s] for s in ROLLED} and after["nginx"] == before["nginx"]
    assert ids_of(shop)["nginx"] == ids["nginx"] and ids_of(shop)["db"] == ids["db"]
    assert layers(after["api"])[:-1] == layers(before["api"])
    assert owner_in(shop, VERSION) == owner and owner_in(shop, "tours/extra.py").split()[0] == owner.split()[0]
    labels = json.loads(run(["docker", "inspect", after["api"]]))[0]["Config"]["Labels"]
    assert labels["evenkeel.hotfix.name"] == "mended" and labels["evenkeel.hotfix.image"] == before["api"]
    assert re.search(r"\.h1$", os.readlink(shop.root / "current"))
    # Whoever owns the repository finds it there.
    assert run(["git", "-C", str(shop.repository), "rev-parse", "hotfix/mended"]).strip()[:10] in play.output
    again = hotfix(shop, files, hotfix_name="mended")
    assert (again.returncode, again.changed) == (0, 0) and "has it already" in again.output, again.output[-3000:]
    print(f"\nevidence: a hotfix of code and a template, with nobody there: {play.seconds:.1f} s")


def test_an_update_that_lacks_it_is_refused(shop: Shop) -> None:
    looked = there(shop)
    play = shop.update("v2")
    # Both change the same line of the version, so only a person can tell.
    assert play.returncode != 0 and "has the hotfix mended" in play.message, play.output[-3000:]
    assert "update_allow_lost_hotfixes" in play.message and shop.version() == "v1-h"
    refused = there(shop)
    assert {k: v for k, v in refused.items() if k != "refs"} == {k: v for k, v in looked.items() if k != "refs"}


BROKEN = {
    "a syntax error": ({CODE: "def listing(:\n"}, "SyntaxError"),
    "an import that is not there": ({CODE: "import nowhere\n"}, "nowhere"),
    "a name that is gone": (
        {CODE: "X = 1\n", "tours/urls.py": "from .catalogue import describe\nurlpatterns = []\n"},
        "describe",
    ),
    "a template that ends too soon": ({PAGE: "{% if x %}\n"}, "if"),
    "a tag that nobody knows": ({PAGE: "{% nobody %}\n"}, "nobody"),
    "settings that cannot be read": ({"shop/settings.py": "raise RuntimeError('x')\n"}, "RuntimeError"),
    "a model without its migration": ({"tours/models.py": "+"}, "no migration says so"),
    "a file that no image has": ({"README.md": "x\n"}, "in no container"),
    "a new file that the image would leave out": ({"deploy/x.conf": "x\n"}, "in no container"),
    "a dependency": ({"requirements.txt": "django\n"}, "names packages"),
    "a migration": ({"tours/migrations/0003_x.py": "x\n"}, "is a migration"),
    "a Compose file": ({"docker-compose.prod.yml": "services: {}\n"}, "says what runs"),
    "ends of lines of Windows": ({CODE: "x = 1\r\n"}, "CRLF"),
    "a path that leads out": ({"../../etc/passwd": "x\n"}, "not written plainly"),
    "an absolute path": ({"/etc/passwd": "x\n"}, "absolute"),
    "the server's own file": ({".env": "X=1\n"}, "the server's own"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_would_not_work_is_refused_before_anything_is_touched(shop: Shop, case: str) -> None:
    files, expected = BROKEN[case]
    if case.startswith("a model"):
        text = of_v1(shop, "tours/models.py")
        files = {
            "tours/models.py": text.replace(
                "class Tour(models.Model):", "class Tour(models.Model):\n    x = models.IntegerField(default=0)"
            )
        }
    looked = there(shop)
    given = [{"path": p, "content": base64.b64encode(t.encode()).decode()} for p, t in files.items()]
    with pytest.raises(BadInput) as caught:
        module(shop, files=given)
    assert expected in caught.value.message(), caught.value.message()
    assert there(shop) == looked and shop.version() != ""


def test_a_hand_edit_stops_it_and_so_does_another_environment(shop: Shop) -> None:
    given = [{"path": CODE, "content": base64.b64encode((of_v1(shop, CODE) + "\n# more\n").encode()).decode()}]
    env = shop.root / "shared/.env"
    known = env.read_text()
    env.write_text(f"{known}\nOTHER=1\n")
    try:
        with pytest.raises(BadInput, match="would come along"):
            module(shop, files=given)
    finally:
        env.write_text(known)
    shop.edit_by_hand("api", "echo '# nano' >> /app/tours/views.py")
    looked = there(shop)
    with pytest.raises(BadInput, match=r"by hand.*tours/views\.py"):
        module(shop, files=given)
    assert there(shop) == looked


def test_a_branch_that_begins_elsewhere_is_refused_with_what_would_come_along(shop: Shop) -> None:
    add_commit(shop.repository, {CODE: of_v1(shop, CODE) + "\n# fixed\n"}, "late", parent="v2")
    looked = there(shop)
    with pytest.raises(BadInput) as caught:
        module(shop, ref="late")
    assert "Summer" in str(caught.value) and "would come along" in str(caught.value)
    assert {k: v for k, v in there(shop).items() if k != "refs"} == {k: v for k, v in looked.items() if k != "refs"}


def test_going_back_brings_the_release_before_also_where_its_names_were_pruned(shop: Shop) -> None:
    for name in run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{shop.name}-*"]).split():
        base = json.loads(run(["docker", "inspect", name]))[0]["Config"]["Labels"]
        if "evenkeel.hotfix.name" not in base:
            run(["docker", "rmi", name])
    play = shop.rollback()
    assert play.returncode == 0, play.output[-4000:]
    assert shop.version() == "v1" and shop.leftovers() == []
    # What is asked for no more stops nobody.
    looked = shop.update("v2", "--check")
    assert looked.returncode == 0, looked.output[-3000:]


def test_nginx_alone_is_changed_without_another_container(shop: Shop) -> None:
    ids = ids_of(shop)
    files = {NGINX: of_v1(shop, NGINX).replace("listen 80;", "listen 80;\n    add_header X-Mended yes always;")}
    broken = hotfix(shop, {NGINX: "server { lis\n"}, hotfix_name="torn")
    assert broken.returncode != 0 and shop.version() == "v1" and ids_of(shop) == ids, broken.output[-3000:]
    placed = hotfix(shop, files, hotfix_name="header")
    assert placed.returncode == 0, placed.output[-4000:]
    assert "X-Mended" in run(["curl", "-sI", f"{shop.url}/health/"]) and ids_of(shop) == ids and shop.leftovers() == []
    play = shop.rollback()
    assert play.returncode == 0, play.output[-4000:]
    assert "X-Mended" not in run(["curl", "-sI", f"{shop.url}/health/"]) and ids_of(shop) == ids
    print(f"\nevidence: a hotfix of nginx.conf: {placed.seconds:.1f} s, back by rollback: {play.seconds:.1f} s")


SCRIPT, LOGO = "tours/static/tours/filter.js", "tours/static/tours/logo.png"
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\xff"


def test_static_files_and_a_picture_replace_the_web_alone_under_load(shop: Shop) -> None:
    back_at_v1(shop)
    ids, files = ids_of(shop), {SCRIPT: of_v1(shop, SCRIPT) + "\n// mended\n", VERSION: said("v1-s")}
    folder = write(shop, files)
    (folder / LOGO).write_bytes(PICTURE)
    given = {"hotfix_files": f"{SCRIPT},{LOGO}", "hotfix_source": str(folder), "hotfix_name": "static"}
    with shop.load() as load:
        looked = shop.play("--check", "--diff", playbook="hotfix", **given)
        play = shop.play(playbook="hotfix", **given)
        result = load.stop()
    assert looked.returncode == 0 and "would be replaced: api'" in looked.output, looked.output[-3000:]
    assert f"{LOGO}: nothing -> {len(PICTURE)} bytes" in looked.output, looked.output[-3000:]
    assert play.returncode == 0 and shop.leftovers() == [], play.output[-5000:]
    assert {n for n, one in ids_of(shop).items() if one != ids[n]} == {"api"}
    assert_nothing_lost(shop, load, result)
    served = subprocess.run(
        ["curl", "-sf", f"{shop.url}/static/tours/logo.png"], capture_output=True, check=True
    ).stdout
    assert served == PICTURE
    # The page names the script by its new hash.
    named = re.findall(r'src="(/static/tours/filter\.[^"]+)"', run(["curl", "-s", f"{shop.url}/"]))
    assert named and "// mended" in run(["curl", "-sf", f"{shop.url}{named[0]}"])
    for service, there_too in (("api", True), ("celery", False)):
        text = run(["docker", "exec", shop.container(service), "cat", f"/app/{SCRIPT}"])
        assert ("// mended" in text) is there_too, service
    status = shop.play(playbook="status")
    assert status.returncode == 0 and "static (" in status.output, status.output[-3000:]
    # What current says is what runs: a plain `up` replaces nothing.
    shop.compose("up", "--detach")
    assert {n for n, one in ids_of(shop).items() if one != ids[n]} == {"api"}
    # What somebody deleted is published again without a container that serves being touched.
    gone = shop.mount("nginx", "/app/staticfiles") / "tours/logo.png"
    gone.unlink()
    again = Path(sys.executable).parent / "ansible"
    words = [again, "all", "-i", shop.folder / "inventory.json", "-m", "evenkeel.deploy.django_static"]
    run(
        [*map(str, words), "-a", f"project_src={shop.root}/current service=api state_dir={shop.root}/.evenkeel"],
        env=shop.environment,
    )
    assert gone.read_bytes() == PICTURE and {n for n, one in ids_of(shop).items() if one != ids[n]} == {"api"}
    # An update that lacks it is refused, and what has code next is on top of it everywhere.
    lost = shop.update("v2", "--check")
    assert lost.returncode != 0 and "lacks the hotfix static" in lost.output, lost.output[-3000:]
    code = hotfix(shop, {VERSION: said("v1-s")}, hotfix_name="on-static")
    assert code.returncode == 0 and shop.version() == "v1-s", code.output[-4000:]
    for service in ROLLED:
        assert "// mended" in run(["docker", "exec", shop.container(service), "cat", f"/app/{SCRIPT}"]), service
    print(
        f"\nevidence: a hotfix of static files: {result.total:,} requests, 0 failed, {play.seconds:.1f} s\n{status.output[-2500:]}"
    )
    back_at_v1(shop)


def test_it_survives_a_recreated_container(shop: Shop) -> None:
    back_at_v1(shop)
    assert hotfix(shop, {VERSION: said("v1-r")}, hotfix_name="recreated").returncode == 0
    after = images_of(shop)
    shop.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "celery-beat")
    shop.compose("up", "--detach", "--force-recreate", "--no-deps", "--wait", "api")
    run(["docker", "exec", shop.container("nginx"), "nginx", "-s", "reload"])
    run(["curl", "-sf", "--retry", "20", "--retry-all-errors", "--retry-delay", "1", f"{shop.url}/health/"])
    # Without its dependencies Compose computes another hash, so a plain `up -d` would recreate these two: not ours to hold here.
    assert shop.version() == "v1-r" and images_of(shop) == after
    play = shop.update("v1", update_allow_lost_hotfixes=["recreated"])
    assert play.returncode == 0, play.output[-3000:]


def test_applied_and_gone_back_from_under_load(shop: Shop) -> None:
    back_at_v1(shop)
    for playbook, given in (
        ("hotfix", {"hotfix_files": VERSION, "hotfix_name": "loaded"}),
        ("rollback", {"rollback_to": "v1"}),
    ):
        source = str(write(shop, {VERSION: said("v1-loaded")}))
        with shop.load() as load:
            play = shop.play(
                playbook=playbook, **given, **({"hotfix_source": source} if "hotfix_files" in given else {})
            )
            result = load.stop()
        assert play.returncode == 0, play.output[-5000:]
        assert shop.version() == {"hotfix": "v1-loaded", "rollback": "v1"}[playbook] and shop.leftovers() == []
        assert_nothing_lost(shop, load, result)
        print(f"\nevidence: {playbook} of code: {result.total:,} requests, 0 failed, {play.seconds:.1f} s")


def test_what_breaks_the_start_is_taken_back_under_load(shop: Shop) -> None:
    back_at_v1(shop)
    text = of_v1(shop, "shop/health.py").replace("return ", "raise RuntimeError('never')\n    return ")
    with shop.load() as load:
        play = hotfix(
            shop,
            {"shop/health.py": text.replace("return ", "raise RuntimeError('never')\n    return ")},
            hotfix_name="dead",
        )
        result = load.stop()
    assert play.returncode != 0 and "marked bad" in play.output, play.output[-4000:]
    assert shop.version() == "v1" and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    print(
        f"\nevidence: a hotfix that never becomes ready: {result.total:,} requests, 0 failed, taken back after {play.seconds:.1f} s"
    )


def released(shop: Shop) -> set[str]:
    return {path.name for path in (shop.root / "releases").iterdir() if not path.name.startswith(".")}


# How far it is: its release is there, old and new containers are, the site is asked, its release is the current one.
MOMENTS: dict[str, Callable[[Shop, set[str], str], Callable[[str], bool]]] = {
    "made": lambda shop, known, _current: lambda _text: released(shop) > known,
    "rolled": lambda shop, _known, _current: lambda _text: len(shop.containers("api")) > 1,
    "served": lambda _shop, _known, _current: lambda text: "Activate the release" in text,
    "switched": lambda shop, _known, current: lambda _text: os.readlink(shop.root / "current") != current,
}


@pytest.mark.parametrize("at", MOMENTS)
def test_killed_in_each_step_the_same_command_ends_it(shop: Shop, at: str, tmp_path: Path) -> None:
    back_at_v1(shop)
    source = str(write(shop, {VERSION: said(f"v1-{at}")}))
    given = {"playbook": "hotfix", "hotfix_files": VERSION, "hotfix_source": source, "hotfix_name": at}
    due = MOMENTS[at](shop, released(shop), os.readlink(shop.root / "current"))
    with shop.load() as load:
        kill_when(shop, tmp_path / "log", due, **given)
        play = shop.play(**given)
        result = load.stop()
    assert play.returncode == 0, play.output[-5000:]
    assert shop.version() == f"v1-{at}" and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)


def test_of_two_at_once_one_is_told_to_wait(shop: Shop) -> None:
    back_at_v1(shop)
    source = str(write(shop, {VERSION: said("v1-one"), CODE: of_v1(shop, CODE) + "\n# two\n"}))
    argv = shop.playbook_argv(playbook="hotfix", hotfix_files=VERSION, hotfix_source=source, hotfix_name="one")
    with subprocess.Popen(
        argv, env=shop.environment, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as first:
        for line in first.stdout or ():
            if "Build the hotfix release" in line:
                break
        second = shop.play(playbook="hotfix", hotfix_files=CODE, hotfix_source=source, hotfix_name="two")
        output = (first.stdout.read() if first.stdout else "")[-3000:]
    assert first.returncode == 0, output
    assert second.returncode != 0 and "hotfix of" in second.output, second.output[-2000:]
    assert shop.version() == "v1-one"
    after = shop.play(playbook="hotfix", hotfix_files=CODE, hotfix_source=source, hotfix_name="two")
    assert after.returncode == 0 and os.readlink(shop.root / "current").endswith(".h2"), after.output[-3000:]


def test_squashed_it_may_be_updated_to_and_reverted_not(shop: Shop) -> None:
    back_at_v1(shop)
    text = of_v1(shop, CODE) + "\nMENDED = True\n"
    play = hotfix(shop, {CODE: text}, hotfix_name="kept")
    assert play.returncode == 0, play.output[-4000:]
    at_v2 = run(["git", "-C", str(shop.repository), "show", f"v2:{CODE}"])
    add_commit(shop.repository, {CODE: at_v2 + "\nMENDED = True\n"}, "squashed", parent="v2")
    add_commit(shop.repository, {CODE: at_v2}, "reverted", parent="squashed")
    refused = shop.update("reverted")
    assert refused.returncode != 0 and "lacks the hotfix kept" in refused.message, refused.output[-3000:]
    taken = shop.update("squashed")
    assert taken.returncode == 0 and shop.version() == "v2", taken.output[-4000:]


def nginx_workers(shop: Shop) -> set[str]:
    """Process ids of those that take new connections."""
    told = run(["docker", "top", shop.container("nginx"), "-eo", "pid,args"])
    return {line.split()[0] for line in told.splitlines() if line.endswith("nginx: worker process")}


def test_services_are_restarted_under_load_once_by_their_names(shop: Shop) -> None:
    before = ids_of(shop)
    with shop.load() as load:
        play = shop.play(playbook="hotfix", hotfix_restart="api,celery", hotfix_restart_id="tuesday")
        again = shop.play(playbook="hotfix", hotfix_restart="api,celery", hotfix_restart_id="tuesday")
        workers = nginx_workers(shop)
        nginx = [shop.play(playbook="hotfix", hotfix_restart="nginx", hotfix_restart_id="nginx") for _n in range(2)]
        result = load.stop()
    assert play.returncode == 0 and (again.returncode, again.changed) == (0, 0), (play.output + again.output)[-5000:]
    assert [p.returncode for p in nginx] == [0, 0] and nginx[0].changed and not nginx[1].changed, nginx[0].output[
        -3000:
    ]
    assert not workers & nginx_workers(shop)
    after = ids_of(shop)
    assert {name for name in before if before[name] != after[name]} == {"api", "celery"} and shop.leftovers() == []
    assert_nothing_lost(shop, load, result)
    refused = shop.play(playbook="hotfix", hotfix_restart="db")
    assert refused.returncode != 0 and "is a database" in refused.output and ids_of(shop) == after


def test_a_variable_changes_under_load_and_goes_back(shop: Shop) -> None:
    back_at_v1(shop)
    before, shared = ids_of(shop), shop.root / "shared/.env"
    text, secret = shared.read_text(), shop.folder / "secret"
    secret.write_text("s3cr3t value\n")
    literal = shop.play(playbook="hotfix", hotfix_env={"SHOP_GREETING": "s3cr3t value"})
    assert literal.returncode != 0 and "on the command line" in literal.output and shared.read_text() == text
    given = {"hotfix_env": {"SHOP_GREETING": f"@{secret}"}, "hotfix_name": "greeting"}
    with shop.load() as load:
        play = shop.play("--diff", "-vvv", playbook="hotfix", **given)
        result = load.stop()
    assert play.returncode == 0 and "s3cr3t" not in play.output, play.output[-4000:]
    for path in (shop.root / ".evenkeel").rglob("*.json*"):
        assert "s3cr3t" not in path.read_text(), path
    assert run(["docker", "exec", shop.container("api"), "printenv", "SHOP_GREETING"]).strip() == "s3cr3t value"
    after = ids_of(shop)
    assert {n for n in after if after[n] != before[n]} == set(ROLLED) and shop.leftovers() == []
    assert "SHOP_GREETING='s3cr3t value'" in shared.read_text()
    assert_nothing_lost(shop, load, result)
    again = shop.play(playbook="hotfix", **given)
    assert (again.returncode, again.changed) == (0, 0), again.output[-3000:]
    status = shop.play(playbook="status")
    assert re.search(r"greeting .*, env, .*: SHOP_GREETING", status.output), status.output[-3000:]
    with shop.load() as load:
        named = shop.rollback(rollback_hotfix="greeting")
        undone = load.stop()
    assert named.returncode == 0 and shared.read_text() == text, named.output[-4000:]
    absent = ["docker", "exec", shop.container("api"), "sh", "-c", "printenv SHOP_GREETING || echo absent"]
    assert run(absent).strip() == "absent" and shop.leftovers() == []
    assert_nothing_lost(shop, load, undone)
    back = shop.rollback(rollback_to="v1")
    assert back.returncode == 0 and shared.read_text() == text, back.output[-3000:]
    both = result.total + undone.total
    print(
        f"\nevidence: a hotfix of a variable: {both:,} requests, 0 failed, {play.seconds:.1f} s, back {named.seconds:.1f} s"
    )
