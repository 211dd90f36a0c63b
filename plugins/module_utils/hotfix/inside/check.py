# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside a container of the app's own image with the patched files in it: what is wrong with them, ``EVENKEEL {json}``.

Modules are imported, templates compiled, and ``check`` is asked. No database is asked, nothing is written.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from ...django.inside import deployment_checks


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())[:400]
    return f"{type(error).__name__}: {text}"


def _module_of(path: str) -> str:
    """The name by which a file is imported, empty where it is none of a package's."""
    tops = sorted({os.path.abspath(top or ".") for top in sys.path}, key=len, reverse=True)
    for top in tops:
        if path.startswith(f"{top}/"):
            parts = path[len(top) + 1 : -3].split("/")
            if parts[-1] == "__init__":
                parts.pop()
            return ".".join(parts) if parts and all(p.isidentifier() for p in parts) else ""
    return ""


def python_problem(path: str) -> str:
    """Why a file of Python cannot be used, empty when it can."""
    try:
        with open(path, "rb") as stream:
            compile(stream.read(), path, "exec")
        name = _module_of(path)
        if name and name != "manage" and not name.endswith("__main__"):
            importlib.import_module(name)
    except Exception as error:  # whatever the app's own code raises
        return _words(error)
    return ""


def template_problem(path: str) -> str:
    """Why a template cannot be compiled, empty when it can or no engine of the app reads it."""
    from django.template import engines

    for engine in engines.all():
        folders = [os.path.abspath(str(f)) for f in getattr(engine, "template_dirs", ())]
        # Loaders of the app's own may know folders that nobody tells; with one engine there is no doubt whose it is.
        if len(engines.all()) == 1 or any(path.startswith(f"{folder}/") for folder in folders):
            try:
                with open(path, encoding="utf-8") as stream:
                    engine.from_string(stream.read())
            except Exception as error:  # syntax, a tag nobody knows, bytes that are no text
                return _words(error)
            return ""
    return ""


def complaints() -> list[str]:
    """The errors of ``manage.py check`` that the app did not silence."""
    from django.core.checks import ERROR, run_checks

    return [f"{one.id}: {one.msg}" for one in run_checks() if int(one.level) >= ERROR and not one.is_silenced()]


def main(paths: list[str]) -> None:
    """Print what is wrong with these files of this container."""
    problems: list[dict[str, str]] = []
    report: dict[str, Any] = {"missing": []}
    for path in paths:
        python, template = path.endswith(".py"), "templates" in path.split("/")
        problem = python_problem(path) if python else template_problem(path) if template else ""
        if problem:
            problems.append({"path": path, "problem": problem})
    if not problems:
        try:
            problems = [{"path": "", "problem": words} for words in complaints()]
            if any(path.endswith(".py") for path in paths):
                report["missing"] = [one["app"] for one in deployment_checks.migrations()[0] if one["own"]]
        except Exception as error:  # the app's own code, such as its urls
            problems = [{"path": "", "problem": _words(error)}]
    report["problems"] = problems
    sys.stdout.write("\nEVENKEEL " + json.dumps(report) + "\n")
    sys.stdout.flush()
