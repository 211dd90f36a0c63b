# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has catalogues of a hotfix compiled in a container of the app's own that is thrown away, or else by this host's msgfmt."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ...base.errors import BadInput
from ...base.host.directory_handles import open_folder, write_below
from ...django.host.oneoff import OneOff
from ...engine.host import app_script
from ...engine.host.compose import Compose
from ...engine.services import ROLLED_KINDS
from ...git.changes import Change
from ...git.host import content as git_content
from ...git.host.git import Git
from .. import hotfix
from ..hotfix import Home, Refusal
from ..inside import translations
from ..translations import catalogues, compiled_path, uncompilable
from .source import SourceOptions
from .thin_image import Place, plain_file
from .view import Serving


def planned(
    git: Git, commit: str, changes: Sequence[Change], homes: Mapping[str, Sequence[Home]], in_place: bool, version: str
) -> tuple[list[str], dict[str, Refusal]]:
    """The catalogues of a commit that are to be compiled, and path → why others are not.

    :param in_place: whether running containers are to get it.
    :param version: what to update to instead.
    """
    due = catalogues(changes, homes)
    forms = [compiled_path(path) for path in due]
    tracked = [form for form in forms if git_content.content_of(git, commit, form) is not None]
    refused = uncompilable(due, tracked, in_place, version)
    return [path for path in due if path not in refused], refused


def compile_in(
    options: SourceOptions, django_service: str, here: Serving, tree: str, due: Sequence[str], homes: dict[str, list[Home]],
    places: Mapping[str, dict[str, Place]],
) -> list[str]:  # fmt: skip
    """Compile catalogues of a hotfix's tree beside them, in the tree and wherever they go; returns notes.

    :param options: how Django is asked, and how long it may take.
    :param homes: gets those of the compiled forms, as does ``places``.
    :raises BadInput: one of them is wrong, or nothing here can compile it.
    """
    for path in due:
        homes[compiled_path(path)] = [replace(h, path=compiled_path(h.path)) for h in homes[path]]
        for known in places.values():
            if path in known:
                known[compiled_path(path)] = replace(known[path], path=compiled_path(known[path].path))
    missing = {p: plain_file(tree, p) or b"" for p in due if plain_file(tree, compiled_path(p)) is None}
    if not missing:
        return []
    service = _service(django_service, [h for path in missing for h in homes[path]])
    made, by = _compiled(options, here, service, missing)
    for path, content in made.items():
        _put(os.path.join(tree, path), content)
    return [f"compiled by {by}: {', '.join(sorted(missing))}"]


def _compiled(
    options: SourceOptions, here: Serving, service: str, contents: Mapping[str, bytes]
) -> tuple[dict[str, bytes], str]:
    given = {path: base64.b64encode(content).decode() for path, content in contents.items()}
    oneoff = OneOff(
        here.engine, Compose(here.path, project_name=here.name), here.name, service, options.manage_py, options.timeout,
        "translations", json.dumps(given),
    )  # fmt: skip
    report = oneoff.ask(app_script.as_text((translations,), []))
    by = f"{report['by']} of {service}"
    if not report["by"]:
        report = translations.compiled(given)
        by = f"{report['by']} of this host"
    if not report["by"]:
        raise BadInput(
            f"{', '.join(sorted(contents))}: neither {service} nor this host has msgfmt to compile it with",
            "install gettext on this host (apt-get install gettext), then run the same command again",
        )
    if report["problems"]:
        problems = "; ".join(f"{path}: {problem}" for path, problem in sorted(report["problems"].items()))
        raise BadInput(f"{problems} (said by {by})", "correct it and run the same command again")
    return {path: base64.b64decode(form) for path, form in report["compiled"].items()}, by


def _service(wanted: str, homes: Iterable[Home]) -> str:
    having = sorted({h.service for h in homes if h.where in (hotfix.IMAGE, hotfix.MOUNT) and h.kind in ROLLED_KINDS})
    return wanted if wanted in having else having[0]


def _put(catalogue: str, content: bytes) -> None:
    """Write a compiled form beside its catalogue, whole, as whoever owns that."""
    folder, name = os.path.split(catalogue)
    with open_folder(folder) as inside:
        about = os.stat(name, dir_fd=inside, follow_symlinks=False)
        write_below(inside, os.path.basename(compiled_path(catalogue)), content, 0o644, (about.st_uid, about.st_gid))
