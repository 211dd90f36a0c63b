# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads at the end of an operation, made from the steps of its record: the same for every playbook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Of a module's result, what its step in the record keeps beside ``changed``, ``msg`` and ``notes``.
FACTS = (
    "release",
    "revision",
    "current_revision",
    "rollback_target",
    "rollback_target_revision",
    "comes_back",
    "schema_compatibility",
    "asked",
    "next",
)
#: Characters of a ``msg`` and number of ``notes`` that a record keeps: a plan of a large project may have hundreds of lines.
_LONGEST, _MOST = 4000, 40
#: The playbook that only tells what another one would do.
PLAN = "plan"
_ROLLBACK = "if it was wrong: ansible-playbook evenkeel.deploy.rollback"


@dataclass(frozen=True)
class Story:
    """An operation at its end, or as it would go.

    :ivar target: what was asked for: a version, or the variables of a hotfix.
    :ivar seconds: how long it took.
    :ivar check_mode: ``steps`` are what modules said they would do.
    :ivar steps: in order; each has ``changed``, ``msg``, ``notes``, those of :data:`FACTS` that its module returned, and in a
        record ``step``, ``result`` (``ok``, or why it failed) and ``project`` (the release that it worked on).
    :ivar unwritten: why there are steps that are not on record, empty where all are.
    """

    playbook: str
    app: str
    target: str
    seconds: float = 0.0
    check_mode: bool = False
    steps: Sequence[Mapping[str, Any]] = ()
    unwritten: str = ""


def report(result: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a module's result that the record keeps."""
    kept = {key: result[key] for key in FACTS if result.get(key) not in (None, "", [], {})}
    if result.get("changed"):
        kept["changed"] = True
    if result.get("msg"):
        kept["msg"] = str(result["msg"])[:_LONGEST]
    if result.get("notes"):
        kept["notes"] = [str(note) for note in result["notes"]][:_MOST]
    return kept


def summary(story: Story) -> list[str]:
    """The lines: where the app is now, what was done, notes, and how to go back."""
    lines = [_headline(story), *_said(story), *_notes(story)]
    if not story.check_mode:
        lines += [*_next(story), _if_wrong(story)]
    return list(dict.fromkeys(line for line in lines if line))


def _headline(story: Story) -> str:
    changed = bool(story.unwritten) or any(step.get("changed") for step in story.steps)
    of_release = _of_release(story)
    took = f"after {story.seconds:.1f} s"
    if story.playbook == PLAN:
        after = "" if story.check_mode else f", {took}"
        return f"{story.app}: {story.target or 'the update'} is planned, and nothing that runs was touched{after}"
    if not of_release:
        if story.check_mode:
            return ""
        return f"{story.app}: {story.target or story.playbook} {'done' if changed else 'had nothing to change'}, {took}"
    release, revision = str(of_release[-1]["release"]), str(of_release[-1]["revision"])[:12]
    name = (story.target if story.playbook == "update" else "") or release
    if not story.check_mode:
        asked = "verified, " if _was_asked(story) else "" if story.unwritten else "switched, "
        return f"{story.app} {'is at' if changed else 'already was at'} {name} ({revision}), {asked}{took}"
    before = next((str(s["current_revision"])[:12] for s in story.steps if s.get("current_revision")), "")
    if not changed:
        return f"{story.app} is at {name} ({revision}): nothing would change"
    return f"{story.app}: {f'{before} would be replaced by' if before else 'the first release would be'} {revision}"


def _was_asked(story: Story) -> bool:
    """Whether it was asked at last if the app serves, and it does; without a URL nothing can be asked."""
    looks = [step for step in story.steps if step.get("asked") or str(step.get("step", "")).startswith("smoke_test")]
    last = looks[-1] if looks else {}
    return bool(last.get("asked")) and not str(last.get("result", "ok")).startswith("failed")


def _of_release(story: Story) -> list[Mapping[str, Any]]:
    """The steps that say which release it is about; one that is not made yet has a revision and no name."""
    return [step for step in story.steps if "release" in step and step.get("revision")]


def _said(story: Story) -> Iterable[str]:
    # Of a hotfix that is there already its module says so; of an update that changes nothing the headline does.
    lines = [step for step in story.steps if step.get("changed") or story.playbook == "hotfix"]
    said = [str(s["msg"]) for s in lines if s.get("msg") and not str(s.get("result", "")).startswith("failed")]
    return [line.strip() for text in said for line in text.splitlines()]


def _notes(story: Story) -> list[str]:
    found = [str(note) for step in story.steps for note in step.get("notes") or ()]
    if story.unwritten:
        found.insert(0, f"what was done is not all told here, since it could not be written down: {story.unwritten}")
    elif not (_was_asked(story) or story.check_mode or story.playbook == PLAN) and _of_release(story):
        found.append("nobody looked whether it serves: app_health_url says what to ask")
    for step in story.steps:
        failed = str(step.get("result") or "ok")
        if failed.startswith("failed") and "comes_back" not in step and not _asks_of_rollback_target(story, step):
            found.append(f"{step.get('step')} {failed}")
    return [f"note: {note}" for note in dict.fromkeys(found)]


def _next(story: Story) -> list[str]:
    if story.playbook == PLAN:
        version = f" -e update_version={story.target}" if story.target else ""
        return [f"to do it: ansible-playbook evenkeel.deploy.update{version}"]
    return [str(line) for step in story.steps for line in step.get("next") or ()]


def _if_wrong(story: Story) -> str:
    """What a rollback would do, which is said before anybody needs one."""
    if story.playbook != "update":
        return ""
    last = ([{}, *_of_release(story)])[-1]
    revision = str(last.get("rollback_target_revision") or "")
    if not revision or revision == last.get("revision"):
        return ""
    asked = [step for step in story.steps if _asks_of_rollback_target(story, step)]
    if story.unwritten and not asked:
        return f"{_ROLLBACK} --check tells whether it can go back to {revision[:12]}"
    verdict = asked[-1] if asked else {"comes_back": True}
    if verdict.get("comes_back"):
        return f"{_ROLLBACK} goes back to {revision[:12]}"
    if "comes_back" in verdict:
        return (
            f"{_ROLLBACK} refuses {revision[:12]} (verdict {verdict.get('schema_compatibility')}): {verdict.get('msg')}"
        )
    why = str(verdict.get("result") or "failed").replace("failed: ", "", 1)
    return f"{_ROLLBACK} may refuse {revision[:12]}, which could not be asked about the database: {why}"


def _asks_of_rollback_target(story: Story, step: Mapping[str, Any]) -> bool:
    targets = {s.get("rollback_target") for s in story.steps if s.get("rollback_target_revision")}
    return bool(step.get("project")) and step["project"] in targets and step.get("step") == "django_migrate"
