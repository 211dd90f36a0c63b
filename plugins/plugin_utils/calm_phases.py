# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase that a task belongs to, for callback ``calm``: one table, by module and by how the task's name begins."""

from __future__ import annotations

from dataclasses import dataclass

OURS = "evenkeel.deploy."
_COMPOSE = "community.docker.docker_compose_v2"
#: A task of somebody else, which is shown by its name.
FOREIGN = "task"
#: What is shown only while it takes time.
LOCK = "lock"
UNDO = "undo"


@dataclass(frozen=True)
class Task:
    """What of a task decides how it is shown.

    :ivar id: tells it from other tasks of the run.
    :ivar name: as it is shown, without its role.
    :ivar rescued: a block around it has a rescue, so that the run goes on where it fails.
    :ivar undoing: it is part of such a rescue.
    :ivar hidden: it has C(no_log).
    """

    id: str
    name: str
    action: str
    rescued: bool = False
    undoing: bool = False
    hidden: bool = False

    @property
    def named_object(self) -> str:
        """What the task's name has behind its last colon: a release, a service, an app."""
        return self.name.rpartition(": ")[2] if ": " in self.name else ""


@dataclass(frozen=True)
class Phase:
    """A step of the run as a person sees it.

    :ivar name: one short word.
    :ivar tells: which results have their message shown: ``changed``, ``unchanged``, ``always`` or ``never``.
    """

    name: str
    tells: str = "changed"


# The first row that fits counts.
_TABLE = (
    ("deploy_lock", "", LOCK, "never"),
    ("symlink_release", "Activate", "finish", "changed"),
    ("symlink_release", "Export", "prepare", "always"),
    ("symlink_release", "", "prepare", "never"),
    ("release_refs", "Push", "finish", "changed"),
    ("release_refs", "", "prepare", "never"),
    ("release_command", "Run the reload", "roll", "changed"),
    ("release_command", "", "prepare", "changed"),
    ("compose_project", "", "build", "never"),
    ("compose_build", "", "build", "changed"),
    ("change_plan", "", "plan", "never"),
    ("compose_rolling", "Plan", "check", "unchanged"),
    ("compose_rolling", "Remove services", "finish", "changed"),
    ("compose_rolling", "Roll services back", UNDO, "changed"),
    ("compose_rolling", "", "roll", "changed"),
    ("compose_restart", "", "restart", "changed"),
    ("requests_hold", "Hold requests until", UNDO, "changed"),
    ("requests_hold", "Hold", "hold", "changed"),
    ("requests_hold", "Look", UNDO, "never"),
    ("requests_hold", "Release requests to services", "roll", "never"),
    ("requests_hold", "Release", UNDO, "changed"),
    ("requests_hold", "", "backup", "never"),
    (_COMPOSE, "Stop services to which", "hold", "never"),
    (_COMPOSE, "Recreate databases and brokers", "roll", "never"),
    (_COMPOSE, "Restore databases and brokers", UNDO, "never"),
    (_COMPOSE, "Start stopped databases", "prepare", "never"),
    (_COMPOSE, "Start services that do not run yet", "start", "never"),
    (_COMPOSE, "Recreate services that may have a gap", "roll", "never"),
    (_COMPOSE, "Start or recreate dependent services", "roll", "never"),
    (_COMPOSE, "Start the previous containers", "restart", "never"),
    (_COMPOSE, "Restore recreated services", UNDO, "never"),
    ("community.docker.docker_prune", "Prune the build cache", "finish", "never"),
    ("nginx_reload", "", "roll", "changed"),
    ("celery_queues", "Requeue", "finish", "changed"),
    ("celery_queues", "", "roll", "changed"),
    ("django_check", "", "check", "always"),
    ("django_migrate", "Check that the rollback target", "finish", "never"),
    ("django_migrate", "Find interrupted", "finish", "never"),
    ("django_migrate", "Plan", "check", "always"),
    ("django_migrate", "Reverse migrations of", UNDO, "changed"),
    ("django_migrate", "", "migrate", "changed"),
    ("django_static", "", "publish", "changed"),
    ("publish_build", "", "publish", "changed"),
    ("compose_job", "", "jobs", "changed"),
    ("postgres_backup", "Restore the backup made in the gap", UNDO, "changed"),
    ("postgres_backup", "Restore", "restore", "changed"),
    ("postgres_backup", "", "backup", "always"),
    ("files_backup", "Restore", "restore", "changed"),
    ("files_backup", "", "backup", "always"),
    ("image_archive", "", "finish", "changed"),
    ("update_rehearsal", "Compare", "finish", "never"),
    ("update_rehearsal", "", "rehearse", "always"),
    ("smoke_test", "", "verify", "always"),
    ("deploy_info", "", "inspect", "never"),
    ("release_adopt", "", "adopt", "changed"),
    ("project_variables", "", "inspect", "never"),
    ("guard_code", "", "guard", "changed"),
    ("hotfix_branch", "", "hotfix", "changed"),
    ("hotfix_database", "Check", "finish", "changed"),
    ("hotfix_database", "", "hotfix", "changed"),
    ("hotfix_in_place", "", "hotfix", "changed"),
    ("hotfix_live", "Check", "finish", "changed"),
    ("hotfix_live", "", "hotfix", "changed"),
    ("hotfix_patch", "Activate", "verify", "changed"),
    ("hotfix_patch", "", "hotfix", "changed"),
)

#: Modules of Ansible that keep a playbook going and do nothing that a person has to see.
_HOUSEKEEPING = {
    "add_host", "assert", "debug", "fail", "gather_facts", "group_by", "import_playbook", "import_role", "import_tasks",
    "include_role", "include_tasks", "include_vars", "meta", "pause", "set_fact", "set_stats", "setup",
    "validate_argument_spec",
}  # fmt: skip


def short_action(action: str) -> str:
    """A module's name without the collection where that is Ansible's own or this one."""
    for prefix in (OURS, "ansible.builtin.", "ansible.legacy."):
        if action.startswith(prefix):
            return action[len(prefix) :]
    return action


def phase_of(task: Task) -> Phase | None:
    """The phase of a task; None for what keeps the playbook going and is not shown."""
    action = short_action(task.action)
    if action in _HOUSEKEEPING:
        return None
    rows = _TABLE if task.action == action or task.action.startswith(OURS) else ()
    for module, beginning, phase, tells in rows:
        if action == module and task.name.startswith(beginning):
            # What serves again is the one thing to know of an undo.
            undone = ("never" if phase == "publish" else tells) if task.undoing else ""
            return Phase(UNDO, undone) if undone and phase != LOCK else Phase(phase, tells)
    return Phase(FOREIGN, "never")
