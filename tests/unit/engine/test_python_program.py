# SPDX-License-Identifier: GPL-3.0-or-later
"""An app's own program says what it is by the libraries it uses; where it says nothing, nothing is made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.python_program import files_of, kind_of_source


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["python", "run.py"], ["run.py"]),
        (["/usr/bin/python3.12", "-u", "./bin/run.py", "--x"], ["bin/run.py"]),
        (["python3", "-W", "ignore", "-m", "shop.feed"], ["shop/feed.py", "shop/feed/__main__.py"]),
        (["python", "manage.py", "watch_prices"], ["management/commands/watch_prices.py"]),
        (["python", "-c", "import x"], []),
        (["python"], []),
        (["gunicorn", "shop.wsgi"], []),
        ([], []),
    ],
)
def test_the_file_that_a_command_line_starts_with(words: list[str], files: list[str]) -> None:
    assert files_of(words) == files


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("scheduler", "from apscheduler.schedulers.blocking import BlockingScheduler"),
        ("scheduler", "import schedule\nschedule.every(5).minutes.do(job)"),
        ("scheduler", "while True:\n    sweep()\n    time.sleep(60)"),
        ("scheduler", "scheduler = BackgroundScheduler()\nuvicorn.run(app)"),
        ("worker", "channel.basic_consume(queue='x', on_message_callback=f)"),
        ("worker", "while True:\n    job = redis.blpop('jobs')\n    time.sleep(1)"),
        ("web", "uvicorn.run('shop:app', port=8000)"),
        ("web", "if __name__ == '__main__':\n    app.run(host='0.0.0.0')"),
    ],
)
def test_what_it_uses(kind: str, text: str) -> None:
    found = kind_of_source(text, "run.py")
    assert found and found.kind == kind and found.because.startswith("run.py, which has "), found


@pytest.mark.parametrize("text", ["", "print('x')", "# uvicorn.run(app)\nimport shop", "for x in y:\n    sleep(1)"])
def test_what_says_nothing(text: str) -> None:
    assert kind_of_source(text, "run.py") is None


@given(
    st.lists(st.sampled_from(["python", "python3", "-m", "-c", "-W", "x.py", "manage.py", "a.b", "-", "/"]), max_size=6)
)
def test_no_command_line_is_too_odd(words: list[str]) -> None:
    assert all(name.endswith(".py") for name in files_of(words))
