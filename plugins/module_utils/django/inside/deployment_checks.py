# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the app's own container (``manage.py shell``): what Django checks before a deployment, as one line ``EVENKEEL {json}``.

No database is asked: ``check`` does not without ``--database``, and the autodetector compares models with files.
Nothing is written.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any

_INSTALLED = {"site-packages", "dist-packages"}


def messages() -> list[dict[str, Any]]:
    """What ``check --deploy`` would say."""
    from django.core.checks import run_checks
    from django.db.models.base import ModelBase

    found = []
    for one in run_checks(include_deployment_checks=True):
        about = one.obj._meta.label if isinstance(one.obj, ModelBase) else str(one.obj or "")
        found.append(
            {
                "id": one.id or "", "level": int(one.level), "message": str(one.msg), "hint": str(one.hint or ""),
                "object": about, "silenced": bool(one.is_silenced()),
            }
        )  # fmt: skip
    return found


def _autodetector() -> Any:
    """What the app's own ``makemigrations`` compares with: some apps bring a command of their own."""
    from django.core.management import get_commands, load_command_class
    from django.db.migrations.autodetector import MigrationAutodetector

    source = get_commands()["makemigrations"]
    command = load_command_class(source, "makemigrations") if isinstance(source, str) else source
    # An attribute since Django 5.2, before that a name in the command's module.
    beside = getattr(sys.modules.get(type(command).__module__), "MigrationAutodetector", None)
    return getattr(command, "autodetector", None) or beside or MigrationAutodetector


def migrations() -> tuple[list[dict[str, Any]], list[str]]:
    """What ``makemigrations --check --dry-run`` would want to write, and which migrations conflict."""
    from django.apps import apps
    from django.db.migrations.loader import MigrationLoader
    from django.db.migrations.questioner import MigrationQuestioner
    from django.db.migrations.state import ProjectState

    loader = MigrationLoader(None, ignore_no_migrations=True)
    conflicts = loader.detect_conflicts()
    if conflicts:
        return [], [f"{', '.join(sorted(leaves))} in {app}" for app, leaves in sorted(conflicts.items())]
    # One that answers each question with its default: others would end the process, or wait for somebody to type.
    questioner = MigrationQuestioner(specified_apps=set(), dry_run=True)
    detector = _autodetector()(loader.project_state(), ProjectState.from_apps(apps), questioner)
    found = []
    for label, wanted in sorted(detector.changes(graph=loader.graph).items()):
        operations = [operation.describe() for migration in wanted for operation in migration.operations]
        found.append({"app": label, "operations": operations, "own": _is_own(loader, label)})
    return found, []


def _is_own(loader: Any, label: str) -> bool:
    """Whether a migration of this app would be a file of the team's."""
    from django.apps import apps

    module = str(loader.migrations_module(label)[0] or "")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    place = str(next((p for p in places if p), apps.get_app_config(label).path))
    if not _INSTALLED & set(place.split(os.sep)):
        return True
    return (module or label).partition(".")[0] in _own_packages()


def _own_packages() -> set[str]:
    """Packages of the project itself, which may be installed as any other: those that come with its settings."""
    from importlib import metadata

    from django.conf import settings

    named = (os.environ.get("DJANGO_SETTINGS_MODULE"), getattr(settings, "ROOT_URLCONF", ""))
    known = {str(name).partition(".")[0] for name in named if name}
    beside: set[str] = set()
    for distribution in metadata.distributions():
        # Others have scripts in bin and caches as well: only packages tell whose they are.
        tops = {path.parts[0] for path in distribution.files or () if len(path.parts) > 1}
        packages = {top for top in tops if top.isidentifier() and top not in ("bin", "__pycache__")}
        beside |= packages if packages & known else set()
    return known | beside


def databases() -> list[dict[str, str]]:
    """Where the settings say that databases are."""
    from django.conf import settings

    return [
        {"alias": str(alias), "engine": str(one.get("ENGINE") or "dummy"), "host": str(one.get("HOST") or "")}
        for alias, one in settings.DATABASES.items()
    ]


def answered(checks: list[str]) -> dict[str, Any]:
    """What was asked for, or why it cannot be told."""
    import django

    report: dict[str, Any] = {"django": django.get_version(), "databases": databases()}
    step = "check --deploy"
    try:
        if "deploy" in checks:
            report["messages"] = messages()
        step = "makemigrations --check"
        if "migrations" in checks:
            report["missing"], report["conflicts"] = migrations()
    except Exception as error:  # the app's own code, and its own words
        text = " ".join(str(error).split())[:600]
        report = {"error": {"step": step, "message": f"{type(error).__name__}: {text}"}}
    return report


def main(checks: list[str]) -> None:
    """Print it."""
    sys.stdout.write("\nEVENKEEL " + json.dumps(answered(checks)) + "\n")
    sys.stdout.flush()
