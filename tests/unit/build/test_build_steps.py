# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.build.build_steps import steps_in


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("#7 [stage-1 3/6] RUN pip install -r requirements.txt\n", "step 3/6: RUN pip install -r requirements.txt"),
        ("#12 [2/5] COPY . /app", "step 2/5: COPY . /app"),
        ("#5 [internal] load build definition from Dockerfile", ""),
        ("#7 1.234 Collecting [3/4] django", ""),
        ("#7 DONE 3.1s", ""),
        ("#7 CACHED", ""),
        ("", ""),
        (f"#1 [api 1/1] RUN {'x' * 200}", f"step 1/1: RUN {'x' * 96}…"),
    ],
)
def test_the_steps_of_a_build(line: str, step: str) -> None:
    assert steps_in([line]) == ([step] if step else [])


def test_what_is_there_already_is_no_step() -> None:
    lines = [
        "#5 [1/3] FROM python",
        "#6 [2/3] RUN pip install",
        "#6 CACHED",
        "#7 [3/3] COPY . .",
        "#5 CACHED",
        "#7 DONE 0.1s",
    ]
    assert steps_in(lines) == ["step 3/3: COPY . ."]
