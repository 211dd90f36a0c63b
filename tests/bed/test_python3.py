# SPDX-License-Identifier: GPL-3.0-or-later
"""An app's image that has Python by another name than ``python``, as those built from a distribution's packages have."""

from __future__ import annotations

from demo.repository import add_commit
from tests.bed.fronts import edited
from tests.bed.killed_roll import QUICK
from tests.bed.nothing_lost import assert_nothing_lost
from tests.bed.shop import Shop, run
from tests.bed.stacks import COMPOSE

_COPY = "COPY . .\n"
_WITHOUT = 'RUN rm "$(command -v python)"\n'


def test_an_update_and_the_way_back_of_an_image_with_python3_alone(shop: Shop) -> None:
    serving = shop.version()
    files: dict[str, str | bytes | None] = {
        "Dockerfile": edited(shop, f"{serving}:Dockerfile", [(_COPY, f"{_COPY}{_WITHOUT}")]),
        COMPOSE: edited(shop, f"{serving}:{COMPOSE}", [("        - python\n", "        - python3\n")]),
        "shop/version.py": 'VERSION = "python3"\n',
    }
    add_commit(shop.repository, files, "python3", parent=serving)
    with shop.load() as load:
        play = shop.update("python3", app_services=QUICK)
        result = load.stop()
    assert play.returncode == 0, play.output[-4000:]
    assert shop.version() == "python3" and shop.leftovers() == []
    assert "no python" in run(
        ["docker", "exec", shop.container("api"), "sh", "-c", "command -v python || echo no python"]
    )
    assert_nothing_lost(shop, load, result)
    assert shop.rollback(app_services=QUICK).returncode == 0
    assert shop.version() == serving
