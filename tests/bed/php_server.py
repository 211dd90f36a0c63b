# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with nginx and php-fpm from Debian's packages, opcache on, and no Docker: one container, reached by Ansible.

Three servers of its nginx serve the same app with what is written about PHP behind a link: they meet the same updates under
the same load.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bed.plain_app import PlainApp
from tests.bed.ports import free_port
from tests.bed.shop import ROOT, run

NAME = "evenkeel-php"
LABEL = f"evenkeel.bed={NAME}"
_PACKAGES = "nginx php8.4-fpm php8.4-opcache python3 git procps"
_RECIPE = f"""FROM evenkeel/base:trixie
RUN apt-get update && apt-get install -y --no-install-recommends {_PACKAGES} && rm -rf /var/lib/apt/lists/* \\
 && useradd --create-home deploy && git config --system --add safe.directory '*' && rm /etc/nginx/sites-enabled/default
"""
#: How nginx names a release's files to PHP, and on which port that is served.
WAYS = {
    "`set $release $realpath_root`": (80, "set $release $realpath_root;", "$release"),
    "`$realpath_root`": (81, "", "$realpath_root"),
    "`$document_root`": (82, "", "$document_root"),
}
_NEXT = 8080
_SITE = """server {{
    listen {port};
    root /srv/blog/{link}/public;
    access_log off;
    {setting}
    location ~ \\.php$ {{
        fastcgi_pass unix:/run/php/php8.4-fpm.sock;
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME {root}$fastcgi_script_name;
        fastcgi_param DOCUMENT_ROOT {root};
    }}
}}
"""
_START = """
mkdir -p /run/php /srv/blog && chown deploy: /srv/blog
printf %s "$1" >/etc/nginx/conf.d/blog.conf
# A busy machine makes queues longer than Debian's 768: what waits shall be seen to wait, and not be turned away.
sed -i 's/worker_connections .*/worker_connections 8192;/' /etc/nginx/nginx.conf
printf '%b' "$2" >/etc/php/8.4/fpm/conf.d/99-bed.ini
printf %s "$3" >/etc/php/8.4/fpm/pool.d/zz-bed.conf
nginx
exec php-fpm8.4 --nodaemonize
"""
_POOL = """[global]
process_control_timeout = {patience}
[www]
pm = static
pm.max_children = 24
listen.backlog = 4096
"""
#: What `systemctl reload php8.4-fpm` does, where a release does not forbid it.
RELOAD = [["sh", "-ec", "test ! -e current/forbids-reload; kill -USR2 $(cat /run/php/php8.4-fpm.pid)"]]
#: The same without telling php-fpm anything.
UNTOLD = [["test", "!", "-e", "current/forbids-reload"]]

_PAGE = """<?php
// What a page is made of, found in the ways in which applications find their files; slow enough to be overtaken.
$root = $_SERVER['DOCUMENT_ROOT'];
$ids = ['page' => '{id}', 'beside' => require __DIR__ . '/../lib/a.php', 'root' => require $root . '/../lib/b.php'];
usleep({pause});
$ids['beside, later'] = require __DIR__ . '/../lib/c.php';
$ids['root, later'] = require $root . '/../lib/d.php';
$ids['assets'] = json_decode(file_get_contents($root . '/assets.json'))->release;
header('Content-Type: application/json');
echo json_encode($ids);
"""


def page(release: str, pause: int = 30_000, **further: str) -> dict[str, str]:
    """The files of a version of the app; each says of which it is."""
    text = _PAGE.replace("{id}", release).replace("{pause}", str(pause))
    parts = {f"lib/{name}.php": f"<?php return '{release}';\n" for name in "abcd"}
    return {"public/index.php": text, "public/assets.json": json.dumps({"release": release}), **parts, **further}


def image() -> str:
    """The server's image, built where it is not there or of another recipe."""
    base = run(["docker", "image", "inspect", "--format", "{{.Id}}", "evenkeel/base:trixie"])
    stamp = hashlib.sha256((_RECIPE + base).encode()).hexdigest()[:32]
    name = "evenkeel/php:trixie"
    asked = ["docker", "image", "inspect", "--format", '{{index .Config.Labels "evenkeel.stamp"}}', name]
    known = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if known != stamp:
        labels = ["--label", "evenkeel.base=1", "--label", f"evenkeel.stamp={stamp}"]
        run(["docker", "build", "--quiet", *labels, "--tag", name, "-"], timeout=600, input=_RECIPE)
    return name


class PhpServer:
    """The server, and the app on it.

    :param opcache: lines of php.ini.
    :param patience: ``process_control_timeout`` of php-fpm.
    """

    def __init__(self, folder: Path, opcache: Sequence[str] = (), patience: str = "10s") -> None:
        self.ports = {way: free_port() for way in WAYS}
        self.opcache, self.patience = opcache, patience
        host = {
            "ansible_connection": "community.docker.docker",
            "ansible_host": NAME,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        variables: dict[str, Any] = {
            "app_root": "/srv/blog", "app_repo": "/source", "app_owner": "deploy",
            "app_health_url": "http://127.0.0.1/index.php",
            "app_verify_paths": [{"path": "/index.php?again", "contains": "assets"}],
            "update_prepare": [["php", "-l", "public/index.php"]],
            "update_reload": RELOAD, "update_prove_url": f"http://127.0.0.1:{_NEXT}",
        }  # fmt: skip
        self.app = PlainApp(folder, variables, host)

    def __enter__(self) -> PhpServer:
        self.__exit__()
        sites = [_SITE.format(port=port, link="current", setting=s, root=r) for port, s, r in WAYS.values()]
        _port, setting, root = next(iter(WAYS.values()))
        sites.append(_SITE.format(port=f"127.0.0.1:{_NEXT}", link="next", setting=setting, root=root))
        argv = ["docker", "run", "--detach", "--init", "--name", NAME, "--label", LABEL]
        for way, (port, _setting, _root) in WAYS.items():
            argv += ["--publish", f"127.0.0.1:{self.ports[way]}:{port}"]
        argv += ["--volume", f"{self.app.repository}:/source:ro", "--volume", f"{ROOT}/plugins:/code/plugins:ro"]
        settings = "\\n".join(("opcache.enable=1", *self.opcache, ""))
        try:
            run(
                [
                    *argv,
                    image(),
                    "sh",
                    "-ec",
                    _START,
                    "sh",
                    "\n".join(sites),
                    settings,
                    _POOL.format(patience=self.patience),
                ]
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        found = run(["docker", "ps", "-aq", "--filter", f"label={LABEL}"]).split()
        if found:
            run(["docker", "rm", "-fv", *found])

    def run(self, *argv: str) -> str:
        """A command on the server."""
        return run(["docker", "exec", NAME, *argv])

    def complaints(self) -> list[str]:
        """The last that nginx wrote into its error log."""
        return self.run("sh", "-c", "tail -n 5 /var/log/nginx/error.log").splitlines()

    def switch_to_and_fro(self, seconds: float, pause: float) -> int:
        """Switch between the two newest good releases, as fast as somebody else never would; returns how often."""
        script = """
import os, sys, time
sys.path.insert(0, "/code")
from plugins.module_utils.releases.host.store import Store
store, times, end = Store("/srv/blog"), 0, time.monotonic() + float(sys.argv[1])
ids = [r.id for r in store.all() if r.state == "verified"][-2:]
assert len(ids) == 2, ids
while time.monotonic() < end or times % 2:
    store.switch(next(i for i in ids if i != store.current()))
    times += 1
    time.sleep(float(sys.argv[2]))
print(times)
"""
        return int(
            run(["docker", "exec", NAME, "python3", "-c", script, str(seconds), str(pause)], timeout=seconds + 60)
        )
