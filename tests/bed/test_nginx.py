# SPDX-License-Identifier: GPL-3.0-or-later
"""``nginx_reload`` on running nginx containers: a good change loses nothing, a bad one is never seen by nginx."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.host.call_result import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.host.nginx_call import nginx_reload
from tests.bed.front import CONF, Front, docker, site
from tests.bed.load.process import LoadRun
from tests.bed.shop import BEDS, free_port


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """nginx in each way that people have it."""
    made = Front(BEDS / "front", free_port())
    made.destroy()
    try:
        made.create()
        yield made
    finally:
        made.destroy()


def call(front: Front, service: str, content: str, check: bool = False, **further: Any) -> dict[str, Any]:
    """One call of the module."""
    return nginx_reload(front.parameters(service, content, **further), check)


def refused(front: Front, service: str, content: str, **further: Any) -> str:
    """What a call is refused with before anything happens."""
    before = front.untouched(service)
    with pytest.raises(BadInput) as caught:
        call(front, service, content, **further)
    assert front.untouched(service) == before
    return caught.value.message()


def test_a_good_change_under_load_loses_nothing(front: Front) -> None:
    with LoadRun(front.url, front.folder / "load", rate=120, seconds=120, mix="new=4,keepalive=4,slow=2") as load:
        for number in range(4):
            body = site(f"add_header X-Change {number};")
            done = call(front, "file", body, url=f"{front.url}/", url_host="shop.localhost")
            assert done["changed"] and not done.get("failed"), done
            assert [(s["step"], s["result"]) for s in done["timeline"]] == [
                (s, "ok") for s in ("validate", "backup", "install", "reload", "prove")
            ]
            assert f"X-Change {number}" in front.text("file")
        result = load.stop()
    assert result.failed_beyond_race == 0, (result.failed_by_kind, result.failures[:5])
    assert result.total > 100
    print(f"{result.total} requests, {result.keepalive_race} keep-alive races, 0 failed beyond")
    headers = subprocess.run(["curl", "-si", f"{front.url}/"], capture_output=True, text=True, check=True).stdout
    assert "X-Change: 3" in headers
    backups = sorted((front.state / "nginx/backups").iterdir())
    assert len(backups) == 3
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
    ("content", "reason", "text"),
    [
        (site(upstream="apii:8000"), "upstream", "apii cannot be resolved"),
        (site("lissten 81;"), "syntax", f'unknown directive "lissten" ({CONF}, line 3)'),
        (site("add_header X 1"), "syntax", f"({CONF}, line"),
        (site("include snippets/none.conf;"), "include", "/etc/nginx/snippets/none.conf is not there"),
        (
            site("listen 443 ssl; ssl_certificate /etc/nginx/tls/a.pem; ssl_certificate_key /etc/nginx/tls/a.key;"),
            "certificate",
            "the certificate /etc/nginx/tls/a.pem is not there",
        ),
        (
            site("listen 443 ssl; ssl_certificate /etc/nginx/tls/b.pem; ssl_certificate_key /etc/nginx/tls/none.key;"),
            "key",
            "the key /etc/nginx/tls/none.key is not there",
        ),
        (site("access_log /proc/none/log;"), "other", "/proc/none/log"),
    ],
    ids=["upstream", "syntax", "semicolon", "include", "certificate", "key", "log"],
)
@pytest.mark.parametrize("service", ["file", "folder"])
def test_what_nginx_would_refuse_is_never_seen_by_it(
    front: Front, service: str, content: str, reason: str, text: str
) -> None:
    if not (front.folder / "tls/b.pem").exists():
        argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bed"]
        files = ["-keyout", str(front.folder / "tls/b.key"), "-out", str(front.folder / "tls/b.pem")]
        subprocess.run([*argv, *files], check=True, capture_output=True)
    if reason == "key" and service == "folder":
        pytest.skip("only the other one mounts certificates")
    before = front.untouched(service)
    done = call(front, service, content)
    assert done["failed"] and not done["changed"] and done["rolled_back"], done
    assert done["refusal"]["reason"] == reason, done
    assert text in done["msg"], done
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
    assert docker("exec", front.container(service), "curl", "-s", "http://127.0.0.1:8081/") == "more"
    assert not call(front, service, body, dest="/etc/nginx/conf.d/more.conf")["changed"]
    (front.folder / service / "more.conf").unlink()


def test_nginx_without_root_on_a_read_only_system_is_reloaded(front: Front) -> None:
    done = call(front, "strict", site("add_header X-Strict 1;", listen=8080))
    assert done["changed"] and not done.get("failed"), done
    assert "X-Strict: 1" in docker("exec", front.container("strict"), "curl", "-si", "http://127.0.0.1:8080/")
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
    assert front.text("file") == before
    assert [(s["step"], s["result"]) for s in done["timeline"]][-2:] == [("prove", "failed"), ("restore", "undone")]
    assert not call(front, "file", before)["changed"]
    # A file that was not there is not there afterwards.
    body = "server { listen 8082; }\n"
    gone = call(front, "folder", body, dest="/etc/nginx/conf.d/new.conf", url="http://127.0.0.1:9/")
    assert gone["failed"] and gone["rolled_back"], gone
    assert not (front.folder / "folder/new.conf").exists()


@pytest.mark.parametrize("place", ["twin", "before-install", "torn", "installed", "reloaded"])
def test_killed_anywhere_the_same_call_converges(front: Front, place: str) -> None:
    body = site(f"add_header X-Killed {place};")
    serving = front.untouched("file")[:4]
    front.killed(front.parameters("file", body, url=f"{front.url}/"), place)
    if place != "reloaded":
        # nginx goes on with what it has loaded.
        assert front.untouched("file")[:4] == serving
    again = call(front, "file", body, url=f"{front.url}/")
    assert again["changed"] and not again.get("failed"), again
    headers = subprocess.run(["curl", "-si", f"{front.url}/"], capture_output=True, text=True, check=True).stdout
    assert f"X-Killed: {place}" in headers
    assert not call(front, "file", body)["changed"]
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


def test_the_twin_of_the_killed_call_is_swept(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.evenkeel.deploy.plugins.module_utils.host import nginx_site

    front.killed(front.parameters("folder", site("add_header X-Swept 1;")), "twin")
    assert front.leftovers()
    monkeypatch.setattr(nginx_site, "_TWIN_LIFE", 0.0)
    call(front, "folder", site(), validate_only=True)
    assert front.leftovers() == []


def test_by_ansible_nothing_secret_is_shown(front: Front, tmp_path: Path) -> None:
    import json
    import sys

    from tests.bed.shop import ROOT

    arguments = {
        k: v for k, v in front.parameters("file", site("add_header X-By-Ansible 1;")).items() if k != "validate_only"
    }
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"evenkeel.deploy.nginx_reload": arguments}]}]
    book = tmp_path / "play.yml"
    book.write_text(json.dumps(play), encoding="utf-8")
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), str(book), "--diff", "-vvv", "-i", "localhost,"]
    argv += ["-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    for changed in (1, 0):
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"changed={changed}" in done.stdout
        assert "hunter2" not in done.stdout + done.stderr
        assert ("+3: add_header" in done.stdout) == bool(changed)
