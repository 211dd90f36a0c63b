# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has Django itself look at patched code before any of it runs, in a container of its own that is thrown away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...base.errors import BadInput
from ...base.truncate_list import some
from ...django.host.oneoff import OneOff
from ...django.inside import deployment_checks
from ...engine.host import app_script
from ...engine.host.compose import Compose
from ...engine.host.project import image_name
from ...engine.programs import JOB
from .. import hotfix
from ..hotfix import Home
from ..inside import check
from .source import SourceOptions
from .view import Serving

_WHERE = (hotfix.IMAGE, hotfix.MOUNT)


def checked(
    options: SourceOptions,
    service: str,
    here: Serving,
    homes: Mapping[str, Sequence[Home]],
    project: Mapping[str, Any],
    tree: str,
    anyway: bool = False,
    over: Mapping[str, str] | None = None,
) -> list[str]:
    """Import the patched modules, compile the patched templates, and ask ``manage.py check``; returns notes.

    :param options: how Django is asked, and how long it may take.
    :param service: the one whose Django it is.
    :param project: the generated one of the hotfix's release, whose images are there.
    :param tree: that release's folder.
    :param anyway: ask where no file of the service is changed too, such as for another environment.
    :param over: files of this host that lie over those of the image, where that does not have them: path in it → path.
    :raises BadInput: what is wrong with them.
    """
    inside = {h.path: path for path, several in homes.items() for h in several
              if h.service == service and h.where in _WHERE}  # fmt: skip
    if not inside and not anyway:
        # What a front end is built from its builder finds wrong.
        apart = {h.service for several in homes.values() for h in several if h.where in _WHERE and h.kind != JOB}
        is_external = sorted(apart)
        return (
            [f"{', '.join(is_external)}: nobody checked this code, since {service} does not have it"]
            if is_external
            else []
        )
    compose = Compose(tree, project_name=here.name)
    oneoff = OneOff(
        here.engine, compose, here.name, service, options.manage_py, options.timeout, "patched code",
        over=over or {},
    )  # fmt: skip
    try:
        report = oneoff.ask(app_script.as_text((deployment_checks, check), [sorted(inside)]))
    except BadInput as error:
        raise BadInput(str(error), "correct it and run the same command again") from error
    problems = [
        f"{inside.get(str(p['path']), '') or 'manage.py check'}: {p['problem']}" for p in report.get("problems") or []
    ]
    if problems:
        image = image_name(project, service)
        raise BadInput(
            f"{service} would not work with it: {some(problems, 5, '; ')} (tried in a container of {image})",
            "correct it and run the same command again",
        )
    if report.get("missing"):
        raise BadInput(
            f"a model of {', '.join(report['missing'])} was changed, and no migration says so: a hotfix runs none",
            "make the migration, and update: ansible-playbook evenkeel.deploy.update -e update_version=BRANCH",
        )
    return []
