# SPDX-License-Identifier: GPL-3.0-or-later
"""``nginx_reload`` on running nginx containers: a good change loses nothing, a bad one is never seen by nginx."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls.nginx_reload import call as nginx_reload
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host import site as nginx_site
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.memory import Memory
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import Master
from tests.bed.front import CONF, Front, docker, site
from tests.bed.load.process import LoadRun, proxy_log
from tests.bed.nginx_examples import adapted, play
from tests.bed.ports import free_port
from tests.bed.shop import BEDS

TLS = "listen 443 ssl; ssl_certificate /etc/nginx/tls/{}; ssl_certificate_key /etc/nginx/tls/{};"
#: What nginx would refuse: the candidate, the kind of reason, and what a user has to read.
BAD = {
    "upstream": (site(upstream="apii:8000"), "upstream", "apii cannot be resolved"),
    "syntax": (site("lissten 81;"), "syntax", f'unknown directive "lissten" ({CONF}, line 3)'),
    "semicolon": (site("add_header X 1"), "syntax", f"({CONF}, line"),
    "include": (site("include snippets/none.conf;"), "include", "/etc/nginx/snippets/none.conf is not there"),
    "certificate": (site(TLS.format("a.pem", "a.key")), "certificate", "certificate /etc/nginx/tls/a.pem is not there"),
    "key": (site(TLS.format("b.pem", "none.key")), "key", "the key /etc/nginx/tls/none.key is not there"),
    "log": (site("access_log /proc/none/log;"), "other", "/proc/none/log"),
    "read-only": (site("access_log /etc/nginx/x.log;"), "permission", "/etc/nginx/x.log: Read-only file system"),
    "not-root": (site("access_log /root/x.log;"), "permission", "/root/x.log: Permission denied"),
}


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """nginx in each way that people have it."""
    made = Front(BEDS / "front", (free_port(), free_port()))
    made.destroy()
    try:
        made.create()
        yield made
    finally:
        made.destroy()


def call(front: Front, service: str, content: str, check: bool = False, **further: Any) -> dict[str, Any]:
    """One call of the module."""
    return nginx_reload(front.parameters(service, content, **further), check)


def serving(front: Front, service: str, body: str) -> dict[str, Any]:
    """What the module tells where nginx serves with a file."""
    version = hashlib.sha256(body.encode()).hexdigest()[:12]
    return {service: [{"container": front.container(service), "version": version}]}


def refused(front: Front, service: str, content: str, **further: Any) -> str:
    """What a call is refused with before anything happens."""
    before = front.untouched(service)
    with pytest.raises(BadInput) as caught:
        call(front, service, content, **further)
    assert front.untouched(service) == before
    return caught.value.message()


def headers(url: str) -> str:
    """What nginx answers, headers included."""
    return subprocess.run(["curl", "-si", f"{url}/"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("service", ["file", "folder"])
def test_under_load_good_changes_lose_nothing_and_bad_ones_are_refused(front: Front, service: str) -> None:
    url = front.url_of(service)
    mix = "new=4,keepalive=4,slow=2"
    with LoadRun(url, front.folder / f"load-{service}", rate=80, seconds=120, mix=mix) as load:
        for number, cases in enumerate((["syntax"], ["upstream", "include"], ["certificate"])):
            body = site(f"add_header X-Change {number};")
            done = call(front, service, body, url=f"{url}/", url_host="shop.localhost", keep=2)
            assert done["changed"] and not done.get("failed"), done
            assert [(s["step"], s["result"]) for s in done["timeline"]] == [
                (s, "ok") for s in ("validate", "backup", "install", "reload", "prove")
            ]
            assert front.text(service) == body
            assert done["serving"] == serving(front, service, body)
            assert f"X-Change: {number}" in headers(url)
            before = front.untouched(service)
            for case in cases:
                content, reason, text = BAD[case]
                done = call(front, service, content, url=f"{url}/")
                assert (done["failed"], done["changed"], done["refusal"]["reason"]) == (True, False, reason), done
                assert text in done["msg"].splitlines()[0], done
            assert front.untouched(service) == before
        result = load.stop().judged_by(proxy_log(front.container(service)))
    assert result.failed_beyond_race == 0, (result.failed_by_kind, result.failures[:5])
    assert result.abandoned == 0 and result.total > 300
    print(f"{service}: {result.total} requests, {result.keepalive_race} keep-alive races, 0 failed beyond")
    backups = sorted((front.state / "nginx/backups").glob(f"*-{Memory('', service, CONF).key_of(CONF)}.*"))
    assert ["X-Change 1" in b.read_text(encoding="utf-8") for b in backups] == [False, True]
    assert {b.stat().st_mode & 0o777 for b in backups} == {0o600}
    assert front.leftovers() == []


def test_the_same_again_touches_nothing_and_check_mode_never_does(front: Front) -> None:
    now = front.text("file")
    before = front.untouched("file")
    assert not call(front, "file", now)["changed"]
    assert not call(front, "file", now, check=True)["changed"]
    would = call(front, "file", site("add_header X-Would 1;"), check=True)
    assert would["changed"] and "accepts" in would["msg"]
    assert "add_header" in would["diff"]["prepared"]
    assert "X-Would" not in str(would)
    assert "hunter2" not in str(would)
    only = call(front, "file", site("add_header X-Would 1;"), validate_only=True)
    assert not only["changed"] and "accepts" in only["msg"]
    bad = call(front, "file", site("lissten 1;"), check=True)
    assert bad["failed"]
    assert front.untouched("file") == before
    assert front.leftovers() == []


@pytest.mark.parametrize(
    ("service", "case"),
    [
        *(("file", case) for case in ("upstream", "syntax", "semicolon", "include", "certificate", "key", "log")),
        *(("strict", case) for case in ("read-only", "not-root")),
    ],
)
def test_what_nginx_would_refuse_is_never_seen_by_it(front: Front, service: str, case: str) -> None:
    content, reason, text = BAD[case]
    if case == "key":
        argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bed"]
        files = ["-keyout", str(front.folder / "tls/b.key"), "-out", str(front.folder / "tls/b.pem")]
        subprocess.run([*argv, *files], check=True, capture_output=True)
    before = front.untouched(service)
    done = call(front, service, content)
    assert done["failed"] and not done["changed"] and done["rolled_back"], done
    assert [(s["step"], s["result"]) for s in done["timeline"]] == [("validate", "failed")]
    assert done["refusal"]["reason"] == reason, done
    assert done["serving"] == serving(front, service, before[-1])
    assert text in done["msg"].splitlines()[0], done
    assert all(word in done["msg"] for word in ("What: ", "\nNow: ", "\nNext: "))
    assert "hunter2" not in str(done)
    assert front.untouched(service) == before
    assert front.leftovers() == []


def test_a_file_that_nginx_does_not_read_is_refused(front: Front) -> None:
    done = call(front, "folder", site(), dest="/etc/nginx/conf.d/default.conf.new")
    assert done["failed"] and done["refusal"]["reason"] == "unread", done
    assert not (front.folder / "folder/default.conf.new").exists()


@pytest.mark.parametrize("service", ["folder", "strict"])
def test_a_mounted_folder_gets_new_files_too(front: Front, service: str) -> None:
    body = "server { listen 8081; location / { return 200 'more'; } }\n"
    done = call(front, service, body, dest="/etc/nginx/conf.d/more.conf")
    assert done["changed"] and not done.get("failed"), done
    assert front.text(service, "/etc/nginx/conf.d/more.conf") == body
    assert front.inside(service, "curl", "-s", "http://127.0.0.1:8081/") == "more"
    assert not call(front, service, body, dest="/etc/nginx/conf.d/more.conf")["changed"]
    (front.folder / service / "more.conf").unlink()


def test_nginx_without_root_on_a_read_only_system_is_reloaded(front: Front) -> None:
    done = call(front, "strict", site("add_header X-Strict 1;", listen=8080))
    assert done["changed"] and not done.get("failed"), done
    assert "X-Strict: 1" in front.inside("strict", "curl", "-si", "http://127.0.0.1:8080/")
    before = front.untouched("strict")
    bad = call(front, "strict", site("access_log /var/log/none/x;", listen=8080))
    assert bad["failed"] and not bad["changed"], bad
    assert front.untouched("strict") == before


def test_a_volume_is_changed_where_it_lies(front: Front) -> None:
    done = call(front, "volume", site("add_header X-Volume 1;"))
    assert done["changed"] and not done.get("failed"), done
    assert "X-Volume" in front.text("volume")


def test_what_would_be_lost_or_belongs_to_a_release_is_refused(front: Front) -> None:
    text = refused(front, "layer", site())
    assert "would be lost when it is created anew" in text
    assert "mount a folder" in text
    text = refused(front, "released", site("add_header X 1;"))
    assert "belongs to a release" in text
    assert "playbook update" in text
    assert call(front, "layer", site("lissten 1;"), validate_only=True)["refusal"]["reason"] == "syntax"
    assert "there is no service nginx" in refused_input(front, service="nginx")
    assert "is no absolute path" in refused_input(front, dest="conf.d/default.conf")
    assert "is no nginx" in refused_input(front, service="api")


def refused_input(front: Front, **wrong: Any) -> str:
    with pytest.raises(BadInput) as caught:
        nginx_reload({**front.parameters("file", site()), **wrong}, False)
    return caught.value.message()


def test_a_layer_that_differs_from_its_image_is_part_of_the_trial(front: Front) -> None:
    """As with images whose entrypoint writes configuration at the start."""
    name = front.container("layer")
    docker(
        "exec",
        name,
        "sh",
        "-c",
        "mkdir -p /etc/nginx/snippets && echo 'add_header X-Made 1;' > /etc/nginx/snippets/a.conf",
    )
    body = site("include snippets/a.conf;")
    assert not call(front, "layer", body, validate_only=True).get("failed")
    assert call(front, "layer", site("include snippets/b.conf;"), validate_only=True)["refusal"]["reason"] == "include"


def test_what_does_not_answer_is_taken_back(front: Front) -> None:
    before = front.text("file")
    done = call(front, "file", site("return 500;"), url=f"{front.url}/")
    assert done["failed"] and done["rolled_back"], done
    assert "GET / answered 500" in done["msg"]
    assert done["serving"] == serving(front, "file", before)
    assert front.text("file") == before
    assert [(s["step"], s["result"]) for s in done["timeline"]][-2:] == [("prove", "failed"), ("restore", "undone")]
    assert not call(front, "file", before)["changed"]
    # A file that was not there is not there afterwards.
    body = "server { listen 8082; }\n"
    gone = call(front, "folder", body, dest="/etc/nginx/conf.d/new.conf", url="http://127.0.0.1:9/")
    assert gone["failed"] and gone["rolled_back"], gone
    assert not (front.folder / "folder/new.conf").exists()


def test_an_address_that_is_taken_is_met_at_the_reload_and_taken_back(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test of a configuration shows it, since it ignores addresses in use: the live nginx itself refuses."""
    script = "$s = IO::Socket::INET->new(Listen => 1, LocalPort => 8099) or die; sleep 60"
    holder = f"echo $$ >/tmp/holder; exec perl -MIO::Socket::INET -e '{script}'"
    docker("exec", "-d", front.container("file"), "sh", "-c", holder)
    reload = Master.reload
    monkeypatch.setattr(Master, "reload", lambda master: reload(master, timeout=5.0))
    before = front.untouched("file")
    time.sleep(0.5)
    done = call(front, "file", site("listen 8099;"), url=f"{front.url}/")
    assert done["failed"] and done["rolled_back"] and not done["changed"], done
    assert "nginx cannot listen on 0.0.0.0:8099: Address already in use" in done["msg"].splitlines()[0], done
    assert [(s["step"], s["result"]) for s in done["timeline"]][-2:] == [("reload", "failed"), ("restore", "undone")]
    after = front.untouched("file")
    assert (*after[:3], after[-1]) == (*before[:3], before[-1])
    assert "200 " in headers(front.url).splitlines()[0]
    front.inside("file", "sh", "-c", "kill $(cat /tmp/holder)")


@pytest.mark.parametrize(
    ("service", "place"),
    [
        *(("file", place) for place in ("torn", "installed")),
        *(("file", place) for place in ("twin", "before-install", "reloaded")),
        ("folder", "renaming"),
        ("folder", "installed"),
    ],
)
def test_killed_anywhere_the_same_call_converges(
    front: Front, service: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = front.url_of(service)
    body = site(f"add_header X-Killed {place};")
    loaded = front.untouched(service)[:4]
    front.killed(front.parameters(service, body, url=f"{url}/"), place)
    if place != "reloaded":
        # nginx goes on with what it has loaded.
        assert front.untouched(service)[:4] == loaded
        assert "200 " in headers(url).splitlines()[0]
    assert bool(front.leftovers()) == (place in ("twin", "renaming"))
    # A twin may belong to a call that runs now, until it is this old.
    monkeypatch.setattr(nginx_site, "TWIN_LIFE", 0.0)
    again = call(front, service, body, url=f"{url}/")
    assert again["changed"] and not again.get("failed"), again
    assert f"X-Killed: {place}" in headers(url)
    assert front.leftovers() == []
    assert not call(front, service, body)["changed"]
    assert not list((front.state / "nginx").glob("pending-*"))


def test_killed_before_its_proof_a_bad_change_is_taken_back_by_the_next_call(front: Front) -> None:
    before = front.text("file")
    body = site("return 503;")
    front.killed(front.parameters("file", body, url=f"{front.url}/"), "reloaded")
    again = call(front, "file", body, url=f"{front.url}/")
    assert again["failed"] and again["rolled_back"], again
    assert front.text("file") == before


def test_a_file_replaced_by_a_rename_is_noticed(front: Front) -> None:
    path = front.folder / "front.conf"
    before = path.read_text(encoding="utf-8")
    other = path.with_suffix(".new")
    other.write_text("# edited\n" + before, encoding="utf-8")
    keep = path.with_suffix(".keep")
    os.link(path, keep)
    os.replace(other, path)
    try:
        assert "replaced by a rename" in refused(front, "file", site())
    finally:
        os.replace(keep, path)


def test_the_examples_by_ansible_show_nothing_secret(front: Front, tmp_path: Path) -> None:
    """As the module's documentation has them: what would be, what is done, and that nothing is left to do."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/default.conf.j2").write_text(site("add_header X-By-Ansible 1;"), encoding="utf-8")
    (tmp_path / "default.conf.new").write_text(site("add_header X-Only-Seen 1;"), encoding="utf-8")
    own = {"project_src": str(front.folder), "service": "file", "url": f"{front.url}/", "url_host": "shop.localhost"}
    names = ["Give uploads more room, behind the running nginx", "See whether nginx would accept a file"]
    tasks = adapted(names, {**own, "src": str(tmp_path / "default.conf.new")})
    before = front.untouched("file")
    for arguments, changed in ((["--check"], 1), ([], 1), ([], 0)):
        output = play(tmp_path, tasks, ["--diff", "-vvv", *arguments], state_dir=str(front.state))
        assert f"changed={changed}" in output and "failed=0" in output, output
        assert ("+3: add_header" in output) and "hunter2" not in output
        assert "X-By-Ansible" not in output and "X-Only-Seen" not in output
        if arguments:
            assert front.untouched("file") == before
    assert "X-By-Ansible: 1" in headers(front.url)
