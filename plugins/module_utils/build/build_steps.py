# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What BuildKit prints of a build, as lines for somebody who waits for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: ``#7 [stage-1 3/6] RUN pip install -r requirements.txt``, docs.docker.com/reference/cli/docker/buildx/build/#progress.
_STEP = re.compile(r"^#(\d+) \[(?:[\w.-]+ )?(\d+/\d+)\] (\S.*)$")
_CACHED = re.compile(r"^#(\d+) CACHED$")
_LONGEST = 100


def steps_in(lines: Iterable[str]) -> list[str]:
    """The steps of a Dockerfile that begin in these lines of ``--progress plain``, without those whose result is there."""
    texts = [line.rstrip() for line in lines]
    cached = {found.group(1) for found in map(_CACHED.match, texts) if found}
    begun = [found for found in map(_STEP.match, texts) if found and found.group(1) not in cached]
    return [f"step {found.group(2)}: {_short(' '.join(found.group(3).split()))}" for found in begun]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
