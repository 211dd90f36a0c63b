# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole life with secrets that stand nowhere else: no output, record, log, image, argument list or temporary file has one."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.built_frontend import assets
from tests.bed.canaries import ENGINES, LOGS, TEMPORARY, ArgumentLists, Search, made
from tests.bed.killed_roll import QUICK
from tests.bed.shop import ROOT, Play, Shop, run

#: What the server's environment file has beside what the shop reads: by each kind of name and form that people use.
FORMS = {
    "DB_PWD": "{}",
    "SMTP_PW": "'{}'  # of the mail server",
    "MONGO_URI": "mongodb://app:pa/ss@{}@mongo:27017/app",
    "CACHE_URL": "redis://:{}@redis:6379/3",
    "SENTRY_DSN": "https://{}@sentry.example/7",
    "TOKEN_OF_SOMETHING": '"{}"',
    "BASIC_USERS": "admin:$$apr1$${}",
}
OWN = ("SECRET_KEY", "POSTGRES_PASSWORD")
EXTERNAL = ("git", "vault", "row")
#: The last words of an app that cannot start.
LAST_WORDS = "import os, sys\nsys.exit('bad MONGO_URI ' + os.environ['MONGO_URI'] + ' or ' + os.environ['SMTP_PW'])\n"
#: Each step of the life: what is run, and whether it is to succeed.
Step = tuple[str, dict[str, Any], bool]


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    return made([*OWN, *FORMS, *EXTERNAL])


@pytest.fixture(scope="module")
def shop(secrets: dict[str, str]) -> Iterator[Shop]:
    """A server with nothing but its own environment file, that has all of them."""
    shop = Shop("canaries", {"app_keep_releases": 20, "app_services": QUICK, "backup_min_free": "0"})
    shop.destroy()
    try:
        shop.create()
        environment = shop.root / "shared/.env"
        text = environment.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^SECRET_KEY=.*$", f"SECRET_KEY={secrets['SECRET_KEY']}", text)
        text = re.sub(r"(?m)^(POSTGRES|DATABASE)_PASSWORD=.*$", rf"\1_PASSWORD={secrets['POSTGRES_PASSWORD']}", text)
        lines = [f"{name}={form.format(secrets[name])}" for name, form in FORMS.items()]
        environment.write_text("\n".join([text, *lines, ""]), encoding="utf-8")
        commit(shop, "labelled", "frontend", {"docker-compose.prod.yml": labelled})
        commit(shop, "settings", "labelled", {"shop/settings.py": lambda text: text + "\n" + LAST_WORDS})
        commit(shop, "server", "labelled", {"shop/wsgi.py": lambda text: text + "\n" + LAST_WORDS})
        yield shop
    finally:
        shop.destroy()


def labelled(compose: str) -> str:
    """The Compose file with a label that has a secret, as a proxy's basic authentication is written."""
    return compose.replace(
        "  labels: *labels\n  restart: unless-stopped\n\nservices:",
        "  labels:\n    <<: *labels\n    traefik.http.middlewares.auth.basicauth.users: ${BASIC_USERS}\n"
        "  restart: unless-stopped\n\nservices:",
    )


def commit(shop: Shop, tag: str, parent: str, changes: dict[str, Any]) -> None:
    """Make a version of the shop from another."""
    folder = shop.folder / "versions" / tag
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@shop.example"]
    run(["git", "clone", "-q", "--branch", parent, str(shop.repository), str(folder)])
    for name, change in changes.items():
        before = (folder / name).read_text(encoding="utf-8")
        assert change(before) != before
        (folder / name).write_text(change(before), encoding="utf-8")
    run([*git, "commit", "-qam", tag])
    run([*git, "tag", tag])
    run([*git, "push", "-q", "origin", tag])


def vaulted(shop: Shop, secret: str) -> list[str]:
    """Arguments that bring a variable which only Vault knows."""
    password = shop.folder / "vault-password"
    password.write_text("of the vault\n", encoding="utf-8")
    variables = shop.folder / "vaulted.yml"
    variables.write_text(f'hotfix_env: {{"SHOP_GREETING": "{secret}"}}\n', encoding="utf-8")
    vault = str(Path(shop.playbook_argv()[0]).with_name("ansible-vault"))
    run([vault, "encrypt", "--vault-password-file", str(password), str(variables)])
    return ["-e", f"@{variables}", "--vault-password-file", str(password)]


def file(shop: Shop, name: str, text: str) -> str:
    """A file of a developer."""
    path = shop.folder / "dev" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def play(shop: Shop, search: Search, label: str, good: bool, *arguments: str, **variables: Any) -> Play:
    """Run a step as somebody does who wants to see everything."""
    ended = shop.play("-vvv", "--diff", *arguments, **variables)
    search.text(f"output of {label}", ended.output)
    (shop.folder / f"{label.replace(' ', '-')}.log").write_text(ended.output, encoding="utf-8")
    assert (ended.returncode == 0) == good, f"{label}: {ended.message or ended.output[-3000:]}"
    return ended


def test_no_secret_is_seen_anywhere_after_a_whole_life(shop: Shop, secrets: dict[str, str]) -> None:
    control = Search(secrets)
    control.files("", shop.root / "shared")
    assert {name for _place, name in control.hits} == {*OWN, *FORMS}, "where they are, they are found"
    search, began = Search(secrets), time.time()
    with ArgumentLists(search) as watched:
        live(shop, search, secrets)
    for place in (shop.root / ".evenkeel", Path("/var/lib/evenkeel") / shop.name):
        search.files("state", place)
    look_at_the_folder(shop, search)
    for folder in TEMPORARY:
        search.files(folder, Path(folder), since=began, but=ENGINES)
    for folder in LOGS:
        search.files(folder, Path(folder), since=began)
    search.files("the engine's log", ROOT / ".cache", since=began, but=[ROOT / ".cache/beds"])
    search.images(run(["docker", "images", "-q", "--no-trunc", "--filter", f"label=evenkeel.bed={shop.name}"]).split())
    left = run(["docker", "ps", "-aq", "--filter", f"name=evenkeel-.*{shop.name}"])
    assert left.split() == [] or all(i["Name"].startswith(f"/{shop.name}-") for i in shop.inspections()), left
    print(
        f"\nevidence: {len(secrets)} secrets, {search.looked / 1e6:,.0f} MB looked into, "
        f"{watched.looks:,} looks at all argument lists: {sum(search.hits.values())} found"
    )
    assert not search.hits, "\n".join(f"{place}: {name} ({n})" for (place, name), n in search.hits.most_common())


def live(shop: Shop, search: Search, secrets: dict[str, str]) -> None:
    """Everything that people do with an app in its life; each step ends as it should."""
    address = shop.variables["app_repo"]
    shop.variables["app_repo"] = f"https://deploy:{secrets['git']}@git.invalid/shop.git"
    shop.write_inventory()
    play(shop, search, "a token in the address", False, update_version="frontend")
    shop.variables["app_repo"] = address
    shop.write_inventory()
    play(shop, search, "first start", True, update_version="frontend")
    search.text("an answer to users", run(["curl", "--silent", f"{shop.url}/"]))
    statement = f"CREATE TABLE held (value text); INSERT INTO held VALUES ('{secrets['row']}')"
    client = ["docker", "exec", "-i", shop.container("db"), "psql", "-qU", "shop", "-d", "shop"]
    subprocess.run(client, input=statement, text=True, check=True, capture_output=True)
    play(shop, search, "check", True, "--check", update_version="labelled")
    play(shop, search, "update", True, update_version="labelled")
    play(shop, search, "bad settings", False, update_version="settings")
    play(shop, search, "bad server", False, update_version="server")
    changed = {"tours/catalogue.py": "\n# mended\n", "tours/templates/tours/index.html": "\n<!-- mended -->\n"}
    for path, text in changed.items():
        whole = run(["git", "-C", str(shop.repository), "show", f"labelled:{path}"]) + text
        file(shop, path, whole)
    source = {"hotfix_files": ",".join(changed), "hotfix_source": str(shop.folder / "dev"), "hotfix_name": "code"}
    play(shop, search, "hotfix of code", True, playbook="hotfix", **source)
    play(shop, search, "hotfix of a variable", True, *vaulted(shop, secrets["vault"]), playbook="hotfix")
    picture = file(shop, "picture.txt", "new\n")
    play(shop, search, "hotfix of an upload", True, playbook="hotfix", hotfix_media={"a.txt": picture})
    built = {assets(shop)[0]: file(shop, "app.js", "console.log(1);\n")}
    play(shop, search, "hotfix of a built file", True, playbook="hotfix", hotfix_frontend=built, hotfix_name="front")
    view = file(shop, "fix.sql", "CREATE OR REPLACE VIEW tours_busy AS SELECT tour_id FROM tours_order;\n")
    play(shop, search, "hotfix of the database", True, playbook="hotfix", hotfix_database=view, hotfix_name="view")
    play(shop, search, "hotfix back", True, playbook="rollback", rollback_hotfix="view")
    play(shop, search, "restart", True, playbook="hotfix", hotfix_restart="api")
    play(shop, search, "status", True, playbook="status")
    play(shop, search, "rollback", True, playbook="rollback")
    play(shop, search, "backup", True, playbook="backup")
    dumps = sorted((shop.root / "backups").glob("*.json"))
    restored = {"restore_backup": dumps[-1].stem, "restore_allow_downtime": True}
    play(shop, search, "restore", True, playbook="restore", **restored)
    play(shop, search, "forward", True, update_version="frontend-2", update_allow_lost_hotfixes="code,front")


def look_at_the_folder(shop: Shop, search: Search) -> None:
    """Look into the app's own folder: what has to hold secrets is read by its owner alone, and nothing else has any."""
    holds = [shop.root / "shared/.env", shop.root / "backups", shop.root / ".evenkeel"]
    for release in (shop.root / "releases").iterdir():
        holds += [release / "compose.yaml", *(p for p in release.glob(".evenkeel/*") if p.name != "manifest.json")]
    for path in holds:
        there = [path, *path.rglob("*")] if path.is_dir() else [path] if path.exists() else []
        open_ = [p for p in there if p.is_file() and not p.is_symlink() and p.stat().st_mode & 0o077]
        assert not [p for p in open_ if not path.is_dir() or path.stat().st_mode & 0o077], open_
    search.files("the app's folder", shop.root, but=holds)
