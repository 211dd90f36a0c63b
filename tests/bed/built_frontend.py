# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the front end of a shop: the containers and records of its job, and what nginx serves of it."""

from __future__ import annotations

import gzip
import json
import re

from tests.bed.shop import Shop, run

JOB = "frontend_builder"


def builds(shop: Shop) -> list[str]:
    """The containers of the job, whoever started them."""
    return [n for n in shop.containers() if JOB in n or "publish" in n]


def records(shop: Shop) -> dict[str, str]:
    """Which releases ran the job, and when."""
    found = (shop.root / "releases").glob(f"*/.evenkeel/jobs/{JOB}.json")
    return {path.parts[-4]: json.loads(path.read_text(encoding="utf-8"))["ended"] for path in found}


def served(shop: Shop) -> str:
    """The page, as a browser gets it that asks for no compressed form."""
    return run(["curl", "--silent", "--fail", f"{shop.url}/app/"])


def assets(shop: Shop) -> list[str]:
    """What the page names, as paths in the folder."""
    return re.findall(r'src="(assets/[^"]+)"', served(shop))


def packed(shop: Shop) -> str:
    """The page as a browser that takes compressed answers gets it."""
    target = shop.folder / "page.gz"
    run(
        ["curl", "--silent", "--fail", "--output", str(target), "--header", "Accept-Encoding: gzip", f"{shop.url}/app/"]
    )
    return gzip.decompress(target.read_bytes()).decode()
