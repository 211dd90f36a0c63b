# SPDX-License-Identifier: GPL-3.0-or-later
"""Publishing static files in a real Django: the old version's files stay, and every way back leads back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host.static import content_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.inside import publish_static, published
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.app_script import as_text
from tests.unit.script_processes import ScriptProcesses, killed_at_move

SETTINGS = """
import os
HERE = os.path.dirname(os.path.abspath(__file__))
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.staticfiles", "shop.apps.Shop"]
STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT")
STORAGES = {"staticfiles": {"BACKEND": os.environ["BACKEND"]}}
"""
# As apps do that put a hashed address into a setting or a template tag while they are loaded.
APPS = """
from django.apps import AppConfig
from django.contrib.staticfiles.storage import staticfiles_storage
class Shop(AppConfig):
    name = "shop"
    def ready(self):
        staticfiles_storage.location
"""
MANIFEST = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
# Imported once for all runs; each is a child that starts from there, as `manage.py shell` would from nothing.
DJANGO = (
    "import django.contrib.staticfiles.management.commands.collectstatic, django.core.management, django.test.signals"
)


@pytest.fixture(scope="module")
def django() -> Iterator[ScriptProcesses]:
    with ScriptProcesses(DJANGO) as processes:
        yield processes


class Site:
    """A Django project with static files, the folder its web server serves, and versions of it."""

    def __init__(self, django: ScriptProcesses, folder: Path) -> None:
        self.django, self.project, self.root = django, folder / "project", folder / "static"
        (self.project / "shop/static").mkdir(parents=True)
        for name, text in {"settings.py": SETTINGS, "shop/__init__.py": "", "shop/apps.py": APPS}.items():
            (self.project / name).write_text(text)
        self.backend = MANIFEST

    def version(self, **files: str) -> None:
        """Make these the static files of the project; ``a_css`` is ``a.css``."""
        for path in (self.project / "shop/static").iterdir():
            path.unlink()
        for name, text in files.items():
            (self.project / "shop/static" / name.replace("_", ".")).write_text(text)

    def run(
        self,
        state: str,
        revision: str,
        root: str | None = None,
        before: str = "",
        release: str = "",
        living: Sequence[str] = (),
    ) -> tuple[int, str, str]:
        """Run the script as the module sends it; returns exit code, output, error output."""
        script = as_text([published, publish_static], [state, revision, release, living])
        done = self.django.run(
            f"import django\ndjango.setup()\n{before}\n{script}",
            environment={
                "DJANGO_SETTINGS_MODULE": "settings",
                "BACKEND": self.backend,
                "STATIC_ROOT": str(self.root) if root is None else root,
            },
            path=(str(self.project),),
        )
        return done.returncode, done.stdout, done.stderr

    def __call__(self, state: str, revision: str, **how: Any) -> dict[str, Any]:
        _code, output, errors = self.run(state, revision, **how)
        lines = [line for line in output.splitlines() if line.startswith("EVENKEEL ")]
        assert len(lines) == 1, errors
        result: dict[str, Any] = json.loads(lines[0][9:])
        return result

    @property
    def manifest(self) -> dict[str, str]:
        """What a worker that starts now knows: name → hashed name."""
        paths: dict[str, str] = json.loads((self.root / "staticfiles.json").read_text())["paths"]
        return paths

    @property
    def served(self) -> dict[str, str]:
        """Every file that the web server serves, with its content."""
        found = [p for p in self.root.rglob("*") if p.is_file() and ".evenkeel" not in p.parts]
        return {str(p.relative_to(self.root)): p.read_text() for p in found}

    def leftovers(self) -> list[str]:
        names = [str(p.relative_to(self.root)) for p in self.root.rglob("*")]
        return [n for n in names if n.endswith(".part") or n in (".evenkeel/staging", ".evenkeel/unfinished")]


@pytest.fixture
def site(django: ScriptProcesses, tmp_path: Path) -> Site:
    """A site whose first version is published."""
    result = Site(django, tmp_path)
    result.version(site_css="body{}", gone_js="1")
    assert result("published", "r1")["files"] == 5
    return result


def second(site: Site) -> None:
    site.version(site_css="body{color:red}", new_js="2")


def test_the_first_publication(site: Site) -> None:
    assert {"site.css", "gone.js", "staticfiles.json", *site.manifest.values()} == set(site.served)
    assert (site.root / ".evenkeel").stat().st_mode & 0o777 == 0o700
    assert site.leftovers() == []


def test_the_same_revision_again_changes_nothing(site: Site) -> None:
    before = {str(p): p.stat().st_mtime_ns for p in site.root.rglob("*")}
    assert site("published", "r1") == {
        "changed": False,
        "files": 0,
        "removed": 0,
        "root": str(site.root),
        "backend": MANIFEST,
    }
    assert {str(p): p.stat().st_mtime_ns for p in site.root.rglob("*")} == before


def test_a_worker_of_the_version_before_still_finds_its_files(site: Site) -> None:
    old = site.manifest
    second(site)
    result = site("published", "r2")
    assert result["changed"] and result["files"] == 5
    assert site.manifest["gone.js"] == old["gone.js"] and site.manifest["new.js"]
    assert set(old.values()) <= set(site.served)
    assert site.served[site.manifest["site.css"]] == "body{color:red}" == site.served["site.css"]


def test_entries_older_than_one_version_are_dropped_but_no_file_is(site: Site) -> None:
    old = site.manifest
    second(site)
    site("published", "r2")
    site.version(site_css="body{color:blue}")
    site("published", "r3")
    assert set(site.manifest) == {"site.css", "new.js"}
    assert set(old.values()) <= set(site.served)


def test_restoring_puts_everything_back(site: Site) -> None:
    before = site.served
    second(site)
    site("published", "r2")
    result = site("restored", "r2")
    assert (result["changed"], result["files"]) == (True, 2)
    assert {name: text for name, text in site.served.items() if name in before} == before
    assert not (site.root / ".evenkeel/before").exists() and site.leftovers() == []
    # Once is enough, and what another revision has published is not touched.
    assert site("restored", "r2")["changed"] is False
    assert site("restored", "r1")["changed"] is False
    after = site.served
    assert site("published", "r1")["changed"] is False
    # What was taken back is not taken for published.
    assert site("published", "r2")["changed"] and site.manifest["new.js"]
    assert set(site.served) == set(after)


def test_a_first_publication_that_is_taken_back_is_made_again(django: ScriptProcesses, tmp_path: Path) -> None:
    site = Site(django, tmp_path)
    site.root.mkdir()
    (site.root / "site.css").write_text("from before us")
    site.version(site_css="body{}")
    site("published", "r1")
    site("restored", "r1")
    assert site.served["site.css"] == "from before us"
    assert site("published", "r1")["changed"] and site.served["site.css"] == "body{}"


def test_what_is_killed_at_any_file_converges_and_can_still_be_taken_back(
    django: ScriptProcesses, tmp_path: Path
) -> None:
    for kill_at in range(1, 20):
        site = Site(django, tmp_path / str(kill_at))
        site.version(site_css="body{}", gone_js="1")
        site("published", "r1")
        before = site.served
        second(site)
        code, _output, _errors = site.run("published", "r2", before=killed_at_move(kill_at))
        if code == 0:
            break
        assert code == 137
        # Nobody who starts now meets a hashed name whose file is not there.
        assert set(site.manifest.values()) <= set(site.served)
        site("published", "r2")
        assert {"gone.js", "new.js", "site.css"} == set(site.manifest) and site.leftovers() == []
        assert site.served["site.css"] == "body{color:red}"
        site("restored", "r2")
        assert {name: text for name, text in site.served.items() if name in before} == before
        assert site("published", "r1")["changed"] is False
    assert kill_at > 7


def test_what_fails_half_way_is_put_back_at_once(site: Site) -> None:
    before = site.served
    second(site)
    kill = killed_at_move(5).replace("os._exit(137)", "raise OSError(28, 'full')")
    code, _output, errors = site.run("published", "r2", before=kill)
    assert code == 1 and "full" in errors
    assert {name: text for name, text in site.served.items() if name in before} == before
    assert site.leftovers() == []


def test_what_cannot_be_collected_touches_nothing(site: Site) -> None:
    before = site.served
    site.version(site_css="body{background:url(nowhere.png)}")
    code, _output, errors = site.run("published", "r2")
    assert code == 1 and "nowhere.png" in errors
    assert site.served == before and site.leftovers() == []
    # The way back of the publication before is still there, and only for that one.
    assert site("restored", "r2")["changed"] is False and site.served == before


def test_without_a_manifest_and_without_a_root(django: ScriptProcesses, tmp_path: Path) -> None:
    site = Site(django, tmp_path)
    site.backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    site.version(site_css="body{}")
    assert site("published", "r1")["files"] == 1
    site.version(site_css="b")
    site("published", "r2")
    assert site.served == {"site.css": "b"}
    site("restored", "r2")
    assert site.served == {"site.css": "body{}"}
    assert site("published", "r1", root="") == {
        "changed": False,
        "files": 0,
        "removed": 0,
        "root": "",
        "backend": site.backend,
    }


R1, R2, R3 = (f"20261120T00000{n}Z-{str(n) * 7}" for n in (1, 2, 3))


def test_files_go_with_the_last_release_that_had_them(site: Site) -> None:
    unlisted = set(site.served)
    site.version(site_css="body{}", one_js="1")
    site("published", "s1", release=R1, living=())
    first = set(site.served) - unlisted
    second(site)
    assert site("published", "s2", release=R2, living=[R1, R2])["removed"] == 0
    assert first <= set(site.served)
    site.version(site_css="body{color:blue}")
    result = site("published", "s3", release=R3, living=[R2, R3])
    # And the hashed site.css, which was there before any list was written, but is on that of R1.
    assert result["removed"] == len(first) + 1 == 3
    assert not first & set(site.served) and len(unlisted - set(site.served)) == 1
    assert set(site.manifest.values()) <= set(site.served)
    # Going back finds what it had; nobody knows of other releases here.
    second(site)
    assert site("published", "s2", release=R2, living=())["removed"] == 0
    assert set(site.manifest.values()) <= set(site.served)


def test_another_release_of_the_same_revision_is_written_down_as_well(site: Site) -> None:
    second(site)
    site("published", "s2", release=R2, living=[R2])
    assert site("published", "s2", release=R3, living=[R2, R3])["changed"] is False
    site.version(site_css="body{color:blue}")
    site("published", "s4", release=R1, living=[R1, R3])
    assert "new.js" in site.served, "its first release is gone, and another one has it"


def test_another_image_of_the_same_revision_is_published_and_taken_back_by_the_revision(site: Site) -> None:
    site("published", "r2+aaaaaaaaaaaa")
    second(site)
    assert site("published", "r2+aaaaaaaaaaaa")["changed"] is False
    assert site("published", "r2+bbbbbbbbbbbb")["changed"] and site.manifest["new.js"]
    assert site("restored", "r3")["changed"] is False
    # Whoever goes back knows the revision alone.
    assert site("restored", "r2")["changed"] is True


@pytest.mark.parametrize(
    ("service", "known", "content"),
    [
        ({"image": "registry.example.com/shop:latest"}, {"Id": "sha256:0123456789abcdef"}, "r1+0123456789ab"),
        ({"image": "shop:r1", "build": {"context": "."}}, {"Id": "sha256:0123456789abcdef"}, "r1"),
        ({"image": "registry.example.com/shop:latest"}, {}, "r1"),
    ],
)
def test_a_publication_is_known_by_its_image_where_nothing_is_built(
    service: dict[str, Any], known: dict[str, str], content: str
) -> None:
    class Engine:
        def image(self, name: str) -> dict[str, str]:
            assert name == service["image"]
            return known

    project = {"name": "shop", "services": {"api": service}}
    fake: Any = Engine()
    assert content_of(fake, project, "api", "r1") == content
    assert content_of(fake, project, "api", "") == ""
