# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Django's own checks and its autodetector have said, sorted into what stops and what is only told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

DEPLOY, MIGRATIONS = "deploy", "migrations"
CHECKS = (DEPLOY, MIGRATIONS)
#: Django's levels; an error and what is worse stops its own commands as well.
_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
_ERROR = 40
_SHOWN = 5


@dataclass(frozen=True)
class Message:
    """One message of a check, as it stands in a result.

    :ivar object: what it is about, empty for the whole project.
    """

    id: str
    level: str
    message: str
    hint: str
    object: str

    def __str__(self) -> str:
        about = f"{self.object}: " if self.object else ""
        named = f" ({self.id})" if self.id else ""
        return f"{about}{self.message}{named}" + (f"; {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Missing:
    """Changes of an app's models that no migration has.

    :ivar own: somebody can commit a migration for it; apps in site-packages are others'.
    """

    app: str
    operations: tuple[str, ...]
    own: bool

    def __str__(self) -> str:
        shown = ", ".join(self.operations[:_SHOWN])
        more = len(self.operations) - _SHOWN
        return f"{self.app} ({shown}{f', and {more} more' if more > 0 else ''})"


@dataclass(frozen=True)
class Verdict:
    """What was found: ``errors``, ``missing`` of own apps and ``conflicts`` stop, the rest is told."""

    warnings: tuple[Message, ...] = ()
    errors: tuple[Message, ...] = ()
    missing: tuple[Missing, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def stops(self) -> bool:
        return bool(self.errors or self.conflicts or any(m.own for m in self.missing))

    @property
    def notes(self) -> list[str]:
        """What nobody here can commit anything for."""
        return [
            f"models of {m} differ from the migrations of that package, which is not yours: most often by DEFAULT_AUTO_FIELD; "
            f"see its own setting, or give it migrations of yours by MIGRATION_MODULES"
            for m in self.missing
            if not m.own
        ]

    def result(self) -> dict[str, Any]:
        """As a module returns it."""
        return {
            # Ansible takes a key "warnings" for its own.
            "check_warnings": [asdict(m) for m in self.warnings],
            "check_errors": [asdict(m) for m in self.errors],
            "missing_migrations": [{"app": m.app, "operations": list(m.operations)} for m in self.missing if m.own],
            "notes": self.notes,
        }

    def refusal(self, service: str, manage_py: str) -> tuple[str, str]:
        """What is wrong, and what to do about it; for a verdict that stops."""
        what, then = [], []
        if self.errors:
            shown = [str(m) for m in self.errors[:_SHOWN]]
            more = [f"and {len(self.errors) - _SHOWN} more"] if len(self.errors) > _SHOWN else []
            what.append("\n  ".join([f"Django's checks of {service} find errors:", *shown, *more]))
            then.append(f"correct what {manage_py} check --deploy says (or name it in SILENCED_SYSTEM_CHECKS)")
        own = [m for m in self.missing if m.own]
        if own:
            what.append(f"models have changed and no migration says so: {'; '.join(map(str, own))}")
            then.append(f"{manage_py} makemigrations {' '.join(m.app for m in own)}, and commit what it writes")
        if self.conflicts:
            what.append(f"two migrations follow the same one: {'; '.join(self.conflicts)}")
            then.append(f"{manage_py} makemigrations --merge, and commit what it writes")
        which = [DEPLOY] * bool(self.errors) + [MIGRATIONS] * bool(own or self.conflicts)
        way_out = f"to go on all the same, leave {' and '.join(which)} out of checks (update_checks in a playbook)"
        return "\n".join(what), "; ".join([*then, way_out])

    def sentence(self, checks: Sequence[str]) -> str:
        """What to say where nothing stops."""
        said = []
        if DEPLOY in checks:
            number = len(self.warnings)
            said.append(f"Django's checks find no error{f' and warn of {number}' if number else ''}")
        if MIGRATIONS in checks:
            said.append("every change of a model has its migration")
        return "; ".join(said) or "nothing was asked of Django's checks"


def verdict_of(report: Mapping[str, Any]) -> Verdict:
    """Sort what the script in the app has told."""
    heard = [(int(m["level"]), _message(m)) for m in report.get("messages") or () if not m["silenced"]]
    return Verdict(
        warnings=tuple(m for level, m in heard if level < _ERROR),
        errors=tuple(m for level, m in heard if level >= _ERROR),
        missing=tuple(Missing(m["app"], tuple(m["operations"]), bool(m["own"])) for m in report.get("missing") or ()),
        conflicts=tuple(report.get("conflicts") or ()),
    )


def _message(report: Mapping[str, Any]) -> Message:
    level = next((word for number, word in _LEVELS if int(report["level"]) >= number), "debug")
    texts = {k: " ".join(str(report.get(k) or "").split()) for k in ("id", "message", "hint", "object")}
    return Message(level=level, **texts)
