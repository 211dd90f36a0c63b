# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a shop consists of now: containers, images, releases and refs."""

from __future__ import annotations

import os
from typing import Any

from tests.bed.shop import Shop, run, settle


def there(shop: Shop) -> dict[str, Any]:
    """Everything that a refused hotfix may not have touched."""
    settle(shop.name)
    own = ["--all", "--no-trunc", "--filter", f"label=evenkeel.bed={shop.name}"]
    images = run(["docker", "images", *own, "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"])
    # Others use this machine as well.
    made = run(["docker", "ps", "-a", "--filter", f"name=evenkeel-hotfix.{shop.name}", "--format", "{{.Names}}"])
    readers = run(["docker", "ps", "-a", "--filter", f"label=evenkeel.reader={shop.name}", "--format", "{{.Names}}"])
    return {
        "containers": sorted((i["Id"], i["State"]["StartedAt"]) for i in shop.inspections()),
        "left": made + readers,
        "images": sorted(images.splitlines()),
        "releases": sorted(os.listdir(shop.root / "releases")),
        "current": os.readlink(shop.root / "current"),
        "refs": run(["git", "-C", str(shop.root / "mirror.git"), "for-each-ref"]),
    }


def images_of(shop: Shop) -> dict[str, str]:
    """Service → the id of the image that its containers run."""
    return {i["Config"]["Labels"]["com.docker.compose.service"]: i["Image"] for i in shop.inspections()}


def ids_of(shop: Shop) -> dict[str, str]:
    """Service → the id of its container."""
    return {i["Config"]["Labels"]["com.docker.compose.service"]: i["Id"] for i in shop.inspections()}
