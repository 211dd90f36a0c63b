# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kinds the corpus's services are taken for, as a table: ``python -m tests.stacks.confusion [--wrong]``.

``--wrong`` names the services of the seen part that are taken for what they are not.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import KINDS
from tests.stacks.corpus import SEEN, UNSEEN, stacks


def table(part: Path, running: bool, wrong: bool = False) -> str:
    """One part's services by what they are (rows) and what they are taken for (columns)."""
    found: Counter[tuple[str, str]] = Counter()
    right, lines = 0, []
    for stack in stacks(part):
        for name, kind in stack.kinds(running).items():
            accepted = stack.accepted(name)
            found[accepted[0], kind if kind not in accepted else accepted[0]] += 1
            right += kind in accepted
        lines += [f"  {line}" for line in stack.wrong(running)] if wrong else []
    total = sum(found.values())
    head = f"{part.name}, {'where they run' if running else 'by their files'}: {right} of {total} right ({right / max(1, total):.1%})"
    rows = [["", *KINDS], *([k, *(str(found[k, other] or ".") for other in KINDS)] for k in KINDS)]
    return "\n".join([head, *("".join(f"{cell:>10}" for cell in row) for row in rows), *lines])


if __name__ == "__main__":
    for part in (SEEN, UNSEEN):
        for running in (False, True):
            print(table(part, running, "--wrong" in sys.argv and part == SEEN), end="\n\n")
