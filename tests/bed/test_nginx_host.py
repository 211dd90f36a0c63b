# SPDX-License-Identifier: GPL-3.0-or-later
"""``nginx_reload`` on the nginx of a server itself: tried in a mount namespace, installed behind its link, reloaded."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bed.load.process import LoadRun, proxy_log
from tests.bed.nginx_examples import adapted, play
from tests.bed.nginx_server import AVAILABLE, ENABLED, NAME, STATE, Server, host_site
from tests.bed.ports import free_port


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server whose own nginx serves the shop."""
    made = Server(free_port())
    made.destroy()
    try:
        made.create()
        yield made
    finally:
        made.destroy()


def headers(url: str) -> str:
    """What nginx answers, headers included."""
    return subprocess.run(["curl", "-si", f"{url}/"], capture_output=True, text=True, check=True).stdout


def test_the_example_by_ansible_under_load_loses_nothing(server: Server, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/travel.nginx").write_text(host_site("add_header X-By-Ansible 1;"), encoding="utf-8")
    where = {
        "ansible_connection": "community.docker.docker",
        "ansible_host": NAME,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_become_method": "su",
    }
    before = server.untouched()
    with LoadRun(server.url, tmp_path / "load", rate=80, seconds=120, mix="new=4,keepalive=4,slow=2") as load:
        for arguments, changed in ((["--check"], 1), ([], 1), ([], 0)):
            output = play(
                tmp_path,
                adapted(["Change a site of the host's own nginx"], {}),
                ["--diff", "-vvv", *arguments],
                variables=where,
            )
            assert f"changed={changed}" in output and "failed=0" in output, output
            assert "hunter2" not in output and "X-By-Ansible" not in output
            assert ("+3: add_header" in output) == bool(changed)
            if arguments:
                assert server.untouched() == before
        assert "X-By-Ansible: 1" in headers(server.url)
        result = load.stop().judged_by(proxy_log(NAME))
    assert result.failed_beyond_race == 0, (result.failed_by_kind, result.failures[:5])
    assert result.abandoned == 0 and result.total > 300
    print(f"host: {result.total} requests, {result.keepalive_race} keep-alive races, 0 failed beyond")
    # The link is what it was, and the file behind it is the new one.
    assert server.run("readlink", ENABLED).strip() == AVAILABLE
    assert server.run("stat", "-c", "%a %U", AVAILABLE).strip() == "644 root"
    assert server.run("sh", "-c", f"stat -c %a {STATE}/nginx/backups/*").split() == ["600"]
    assert server.leftovers() == []


@pytest.mark.parametrize(
    ("content", "reason", "text"),
    [
        (host_site(upstream="apii:8000"), "upstream", "apii cannot be resolved"),
        (host_site("lissten 81;"), "syntax", f'unknown directive "lissten" ({ENABLED}, line 3)'),
        (host_site("include snippets/none.conf;"), "include", "/etc/nginx/snippets/none.conf is not there"),
        (
            host_site("listen 443 ssl; ssl_certificate tls/a.pem; ssl_certificate_key tls/a.key;"),
            "certificate",
            "the certificate /etc/nginx/tls/a.pem is not there",
        ),
    ],
    ids=["upstream", "syntax", "include", "certificate"],
)
def test_what_nginx_would_refuse_is_never_seen_by_it(server: Server, content: str, reason: str, text: str) -> None:
    before = server.untouched()
    done = server.call(content)
    assert done["failed"] and not done["changed"] and done["rolled_back"], done
    assert done["refusal"]["reason"] == reason, done
    assert text in done["msg"].splitlines()[0], done
    assert "hunter2" not in str(done)
    assert server.untouched() == before
    assert server.leftovers() == []


def test_what_does_not_answer_is_taken_back(server: Server) -> None:
    before = server.run("cat", AVAILABLE)
    done = server.call(host_site("return 500;"), url="http://127.0.0.1/")
    assert done["failed"] and done["rolled_back"], done
    assert "GET / answered 500" in done["msg"]
    assert server.run("cat", AVAILABLE) == before
    assert "200 " in headers(server.url).splitlines()[0]
    assert server.leftovers() == []


@pytest.mark.parametrize("place", ["twin", "renaming", "installed", "reloaded"])
def test_killed_anywhere_the_same_call_converges(server: Server, place: str) -> None:
    body = host_site(f"add_header X-Killed {place};")
    serving = server.processes()
    server.call(body, place, url="http://127.0.0.1/")
    if place != "reloaded":
        assert server.processes() == serving
    left = server.leftovers()
    assert left, "nothing is left of a call that was killed?"
    if place == "twin":
        # It may belong to a call that runs now, until it is five minutes old; the number is when it was made.
        server.run("mv", left[0], "/tmp/evenkeel-twin-1700000000-x")
    again = server.call(body, url="http://127.0.0.1/")
    assert again["changed"] and not again.get("failed"), again
    assert f"X-Killed: {place}" in headers(server.url)
    assert not server.call(body)["changed"]
    assert server.leftovers() == []


def test_only_the_servers_own_nginx_is_meant(server: Server) -> None:
    """A container's nginx is seen among the processes of its server too."""
    script = "sed -e s/sites-enabled/none/ -e s/nginx.pid/other.pid/ /etc/nginx/nginx.conf >/tmp/other.conf && "
    script += "exec unshare --mount nginx -c /tmp/other.conf"
    server.run("sh", "-c", script)
    assert sum("master process" in line for line in server.processes()) == 2
    others = [line for line in server.processes() if "other.conf" in line]
    done = server.call(host_site("add_header X-Own 1;"), url="http://127.0.0.1/")
    assert done["changed"] and not done.get("failed"), done
    assert [line for line in server.processes() if "other.conf" in line] == others
    assert "X-Own: 1" in headers(server.url)


def test_a_process_of_another_user_with_its_title_is_none(server: Server) -> None:
    title = "nginx: master process nginx -c /tmp/evil.conf"
    server.run("sh", "-c", "echo 'error_log /tmp/evil-ran;' >/tmp/evil.conf", user="65534")
    server.run("sh", "-c", f"exec setsid bash -c 'exec -a \"{title}\" sleep 60' >/dev/null 2>&1 &", user="65534")
    assert any("evil.conf" in line for line in server.processes())
    done = server.call(host_site("add_header X-True 1;"), url="http://127.0.0.1/")
    assert done["changed"] and not done.get("failed"), done
    assert "X-True: 1" in headers(server.url)
    assert server.run("sh", "-c", "test -e /tmp/evil-ran || echo never").strip() == "never"
    server.run("pkill", "--full", "evil.conf", user="65534")


def test_a_configuration_that_others_can_change_is_not_run_by_root(server: Server) -> None:
    server.run("chmod", "o+w", "/etc/nginx")
    try:
        before = server.untouched()
        done = server.call(host_site("add_header X-Changeable 1;"), url="http://127.0.0.1/")
        assert done.get("refused") and "/etc/nginx can be written to by others than root" in done["msg"], done
        assert server.untouched() == before
    finally:
        server.run("chmod", "o-w", "/etc/nginx")


def test_without_root_it_is_refused(server: Server) -> None:
    before = server.untouched()
    done = server.call(host_site("add_header X-No-Root 1;"), user="65534", state_dir="/tmp/state")
    assert done.get("refused"), done
    assert "run with become: true" in done["msg"]
    assert server.untouched() == before
