# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of each service of a project beside its definition: its image, what runs of it, its recipe and scripts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...base.errors import BadInput
from ...base.host import processes
from ..dockerfile import Recipe, made_by, recipe_of, repository
from ..kinds import Evidence, commands_run, named_files
from ..process_list import PROCFILE, SUPERVISOR, is_list
from ..programs import image_kind
from ..python_program import files_of
from ..services import BadService, chosen_kind
from .engine import Engine
from .inspection import ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, label_of, pid_of
from .project import image_name
from .source_tree import SourceTree, text_of

#: Scripts start scripts that start scripts.
_TURNS = 3


def evidence_of(
    engine: Engine, project: Mapping[str, Any], source: str, found: Iterable[Mapping[str, Any]] | None = None
) -> dict[str, Evidence]:
    """Look at each service of a resolved project.

    :param source: the project's folder; empty where there is none to look into.
    :param found: inspections of the project's containers; they are asked for where none are given.
    """
    if found is None:
        found = engine.containers({PROJECT_LABEL: str(project["name"]), ONE_OFF_LABEL: "False"})
    return Look(engine, project, SourceTree(source)).at_each(list(found))


def kinds_of(
    engine: Engine,
    project: Mapping[str, Any],
    source: str,
    options: Mapping[str, Any],
    evidence: Mapping[str, Evidence] | None = None,
) -> dict[str, str]:
    """The kind of each service, as somebody wrote it down or as it is judged.

    :param source: the project's folder, see :func:`evidence_of`; ``options``: ``service_options``.
    :raises BadInput: an option that is not known.
    """
    seen = evidence_of(engine, project, source) if evidence is None else evidence
    try:
        services = (project.get("services") or {}).items()
        return {name: chosen_kind(name, service, seen[name], options.get(name) or {}) for name, service in services}
    except BadService as error:
        raise BadInput(str(error)) from error


class Look:
    """What is looked at for the services of one project."""

    def __init__(self, engine: Engine, project: Mapping[str, Any], tree: SourceTree) -> None:
        self._engine, self._project, self.tree = engine, project, tree
        self._services: Mapping[str, Any] = project.get("services") or {}
        self._external: dict[str, str] | None = None

    def at_each(self, found: Sequence[Mapping[str, Any]]) -> dict[str, Evidence]:
        """Every service, by the inspections of all containers of the project."""
        return {n: self.at(n, [i for i in found if label_of(i, SERVICE_LABEL) == n]) for n in self._services}

    def at(self, name: str, mine: list[Mapping[str, Any]]) -> Evidence:
        """One service, by the inspections of its containers."""
        service = self._services[name]
        config = self._engine.image(image_name(self._project, name)).get("Config") or {}
        recipe, folders = self.recipe(service)
        pids = [pid for inspection in mine if (pid := pid_of(inspection))]
        codes = [int((i.get("State") or {}).get("ExitCode") or 0) for i in mine]
        evidence = Evidence(
            image=config or (recipe.config if recipe.base else {}),
            built_upon=recipe.base,
            starts_itself=recipe.starts_itself,
            processes=tuple(
                tuple(words) for pid in pids for p in processes.tree(pid) if (words := processes.words(p.pid))
            ),
            listens=frozenset().union(*(processes.listening_ports(pid) for pid in pids)),
            ended=max(codes) if codes and not pids else None,
        )
        evidence = replace(evidence, scripts=self._scripts(service, evidence, recipe, folders))
        return replace(evidence, programs=self.programs(service, evidence))

    def programs(self, service: Mapping[str, Any], evidence: Evidence) -> dict[str, str]:
        """The app's own Python programs that a service runs, as they are in the tree."""
        run = [one.words for wrapped in (False, True) for one in commands_run(service, evidence, wrapped)]
        ends = dict.fromkeys(end for words in (*run, *evidence.processes) for end in files_of(words))
        return {end: text for end in ends if (text := self.tree.ending(end))}

    def _scripts(
        self, service: Mapping[str, Any], evidence: Evidence, recipe: Recipe, folders: Sequence[str]
    ) -> dict[str, str]:
        """The scripts that a service starts with, and those that they start."""
        found: dict[str, str] = {}
        inside = str(service.get("working_dir") or evidence.image.get("WorkingDir") or recipe.folder)
        for _turn in range(_TURNS):
            lines = [w for w in named_files(service, replace(evidence, scripts=_some(found))) if w not in found]
            for word in lines:
                candidates = self.origins(service, os.path.normpath(os.path.join(inside, word)), recipe, folders)
                texts = (text for path in candidates if (text := text_of(path)))
                found[word] = next((text for text in texts if _is_shell_script(text) or _is_a_list(word, text)), "")
                if not found[word] and word.endswith(SUPERVISOR):
                    found[word] = "\n".join(filter(is_list, map(text_of, self.tree.ended_by(".conf", ".ini"))))
            if not any(found[word] for word in lines):
                break
        return _some(found)

    @staticmethod
    def origins(service: Mapping[str, Any], inside: str, recipe: Recipe, folders: Sequence[str]) -> list[str]:
        """Where on this host a path in a service's containers may come from, the likeliest first.

        :param recipe: and ``folders`` are those of :meth:`recipe`.
        """
        return _mounted(service, inside) + [os.path.join(f, path) for path in recipe.sources(inside) for f in folders]

    def recipe(self, service: Mapping[str, Any]) -> tuple[Recipe, list[str]]:
        """The recipe of a service's image, and folders that it may be built from; empty where the tree has none."""
        build = service.get("build") or self._built_beside(service)
        if not build:
            return self._of_image(str(service.get("image") or ""))
        context = str(build.get("context") or "")
        if not os.path.isdir(context):
            return Recipe(), []
        text = build.get("dockerfile_inline") or text_of(_path_of(build))
        return recipe_of(str(text), str(build.get("target") or ""), build.get("args") or {}), [context]

    def _built_beside(self, service: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """How another service builds the image that this one runs by its name."""
        name = service.get("image")
        return next(
            (o["build"] for o in self._services.values() if name and o.get("build") and o.get("image") == name), None
        )

    def _of_image(self, image: str) -> tuple[Recipe, list[str]]:
        """The recipe in the tree of an image that is built elsewhere."""
        if self._external is None:
            services = self._services.values()
            built = {_path_of(s["build"]) for s in services if s.get("build")}
            names = {str(s["image"]) for s in services if s.get("image") and not s.get("build")}
            recipes = [
                p
                for p in self.tree.paths
                if os.path.basename(p).lower().endswith(("dockerfile", "containerfile"))
                or os.path.basename(p).lower().startswith(("dockerfile.", "containerfile."))
            ]
            recipes = [p for p in recipes if os.path.realpath(os.path.join(self.tree.root, p)) not in built]
            self._external = made_by(names, recipes, [name for name in names if image_kind(name)])
        path = self._external.get(repository(image), "")
        if not path:
            return Recipe(), []
        whole = os.path.join(self.tree.root, path)
        return recipe_of(text_of(whole)), list(dict.fromkeys([os.path.dirname(whole), self.tree.root]))


def _path_of(build: Mapping[str, Any]) -> str:
    return os.path.realpath(os.path.join(str(build.get("context") or ""), str(build.get("dockerfile") or "Dockerfile")))


def _mounted(service: Mapping[str, Any], inside: str) -> list[str]:
    """Where on this host a path in a service's containers comes from."""
    found = []
    for volume in service.get("volumes") or []:
        target = str(volume.get("target") or "").rstrip("/")
        if volume.get("type") == "bind" and (inside == target or inside.startswith(f"{target}/")):
            found.append(str(volume.get("source")) + inside[len(target) :])
    return found


def _some(texts: Mapping[str, str]) -> dict[str, str]:
    return {word: text for word, text in texts.items() if text}


def _is_a_list(word: str, text: str) -> bool:
    return os.path.basename(word) == os.path.basename(PROCFILE) or is_list(text)


def _is_shell_script(text: str) -> bool:
    first = text.partition("\n")[0]
    return (first.startswith("#!") and "sh" in first) or (
        not first.startswith("#!") and "exec " in text and "import " not in text
    )
