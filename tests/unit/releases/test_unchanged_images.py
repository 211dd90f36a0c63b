# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images a revision need not build; whatever cannot be told is built."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.git.changes import Change
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.unchanged_images import (
    Recipe,
    differing,
    matters,
    recipe_of,
    same_build,
)

ROOT, OLD = "/srv/shop/releases/2", "/srv/shop/releases/1"
WHOLE, API = Recipe("", "Dockerfile"), Recipe("api", "api/Dockerfile")
PLAIN = "FROM python\nCOPY . .\n"


@pytest.mark.parametrize(
    ("recipe", "path", "dockerfile", "expected"),
    [
        (WHOLE, "shop/views.py", PLAIN, "sure"),
        (WHOLE, "requirements.txt", PLAIN, "sure"),
        (WHOLE, "Dockerfile", PLAIN, "sure"),
        (WHOLE, "shop/content/page.md", PLAIN, "sure"),
        (WHOLE, "README.md", PLAIN, "perhaps"),
        (WHOLE, "README.md", "FROM python\nCOPY README.md setup.py ./\n", "sure"),
        (WHOLE, "docs/guide.md", "FROM python\nCOPY docs /docs\n", "sure"),
        (WHOLE, "docker-compose.yml", PLAIN, "perhaps"),
        (WHOLE, "deploy/nginx.conf", PLAIN, "perhaps"),
        (WHOLE, "deploy/nginx.conf", "FROM nginx\nCOPY . .\n", "sure"),
        (API, "frontend/src/App.vue", PLAIN, ""),
        (API, "api/shop/views.py", PLAIN, "sure"),
        (API, "apiary/views.py", PLAIN, ""),
        (Recipe("api", "docker/Dockerfile"), "docker/Dockerfile", PLAIN, "sure"),
        (Recipe("api", "docker/Dockerfile"), "docker/Dockerfile.dockerignore", PLAIN, "sure"),
    ],
)
def test_what_of_a_change_an_image_is_made_of(recipe: Recipe, path: str, dockerfile: str, expected: str) -> None:
    sure, perhaps = differing([Change(path)], recipe, dockerfile, ())
    assert (sure, perhaps) == ([path] if expected == "sure" else [], [path] if expected == "perhaps" else [])


def test_a_file_that_the_app_mentions_matters() -> None:
    assert matters(["CHANGELOG.md"], ["shop/views.py", "README.md"], ())
    assert not matters(["CHANGELOG.md"], ["README.md", "docs/index.md", ".github/workflows/ci.yml", "CHANGELOG.md"], ())
    assert not matters(["deploy/nginx.conf"], ["compose.yaml", "production.yml"], ["production.yml"])


@given(st.sampled_from(["shop/views.py", "docs/a.md", "README.md", "compose.yaml", "x.bin", "api/a.py"]), st.booleans())
def test_of_the_whole_tree_each_changed_file_is_looked_at(path: str, link: bool) -> None:
    change = Change(path, mode="120000" if link else "100644")
    sure, perhaps = differing([change], WHOLE, PLAIN, ())
    assert sure + perhaps == [path]
    assert not link or sure == [path]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ({"context": ROOT, "dockerfile": "Dockerfile"}, Recipe("", "Dockerfile")),
        ({"context": f"{ROOT}/api"}, Recipe("api", "api/Dockerfile")),
        ({"context": f"{ROOT}/api", "dockerfile": "../docker/Dockerfile"}, Recipe("api", "docker/Dockerfile")),
        ({"context": f"{ROOT}/api", "dockerfile": "/etc/Dockerfile"}, None),
        ({"context": f"{ROOT}-other"}, None),
        ({"context": "https://git.example.com/shop.git"}, None),
        ({"context": ROOT, "additional_contexts": {"lib": "/srv/lib"}}, None),
        ({"context": ROOT, "dockerfile_inline": "FROM python"}, None),
        ({}, None),
    ],
)
def test_a_build_from_the_tree_alone_can_be_compared(build: dict[str, object], expected: Recipe | None) -> None:
    assert recipe_of(build, ROOT) == expected


def test_builds_are_alike_but_for_their_folder_and_our_labels() -> None:
    label = "org.opencontainers.image.revision"
    old = {"context": f"{OLD}/api", "labels": {label: "a"}, "args": {"X": "1"}}
    assert same_build({"context": f"{ROOT}/api", "labels": {}, "args": {"X": "1"}}, old, ROOT, OLD)
    assert not same_build({"context": f"{ROOT}/api", "args": {"X": "2"}}, old, ROOT, OLD)
    assert not same_build({"context": f"{ROOT}/api", "args": {"X": "1"}, "labels": {"tier": "gold"}}, old, ROOT, OLD)
    assert not same_build({"context": f"{ROOT}/api", "args": {"X": "1"}, "target": "prod"}, old, ROOT, OLD)
