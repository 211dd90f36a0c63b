# Copyright: evenkeel contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the images of a hotfix's release: which ones, and what each is put on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...operation.host.journal import Fence
from . import thin_image

if TYPE_CHECKING:
    from .patch import Found


def make(found: Found, project: Mapping[str, Any], tree: str, fence: Fence) -> list[str]:
    """Make the images that are changed; returns the names of those that were not there."""
    here, made = found.here, []
    for reference, base in _bases(found, project).items():
        image = here.images[base]
        places = {p: at for p, at in found.places[base].items() if p in found.homes}
        contents = {p: thin_image.plain_file(tree, p) or b"" for p in places}
        labels = thin_image.labels_of(
            found.source.name, here.revision, found.commit, image, thin_image.sums_of(contents)
        )
        if thin_image.is_there(here.engine, reference, labels):
            continue
        there = bool(here.engine.image(reference))
        with fence.act(f"put {', '.join(sorted(places))} on {image[7:19]} as {reference}"):
            files = [(at, contents[p]) for p, at in places.items()]
            thin_image.make(here.engine, image, reference, files, labels, here.name)
        made += [] if there else [reference]
    return made


def _bases(found: Found, project: Mapping[str, Any]) -> dict[str, str]:
    """Name of each image to make → the name of the one that it is put on.

    A service that a hotfix of static files has spared runs an image below that of its neighbours: one of both has all layers.
    """
    here, layers, found_bases = found.here, thin_image.layers_of, dict[str, str]()
    for service in sorted(set(here.kinds) - set(found.verdict.spared)):
        base, reference = here.image_of(service), str(project["services"][service].get("image") or "")
        known = found_bases.get(reference, base)
        if base in found.affected:
            higher = layers(here.engine, here.images[base]) > layers(here.engine, here.images[known])
            found_bases[reference] = base if higher else known
    return found_bases
