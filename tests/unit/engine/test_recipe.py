# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Dockerfile says of how containers start, as the engine would say it of the built image."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.dockerfile import made_by, recipe_of, repository

STAGES = """
ARG PYTHON=3.12
FROM node:20 AS assets
WORKDIR /site
CMD ["npm", "run", "watch"]

FROM python:${PYTHON}-slim AS base
ENV APP_HOME=/srv/app \\
    ROLE="web"
WORKDIR $APP_HOME
COPY --from=assets /site/dist ./static
COPY docker/entry.sh /usr/local/bin/
COPY . .
ENTRYPOINT ["/usr/local/bin/entry.sh"]
# the web
FROM base AS web
EXPOSE 8000
CMD gunicorn shop.wsgi

FROM base AS beat
ENV ROLE beat
CMD ["celery", "beat"]
"""


def test_the_last_stage_counts_where_none_is_named() -> None:
    recipe = recipe_of(STAGES)
    assert (recipe.base, recipe.entrypoint, recipe.command) == (
        "python:3.12-slim",
        ["/usr/local/bin/entry.sh"],
        ["celery", "beat"],
    )
    assert recipe.environment == {"APP_HOME": "/srv/app", "ROLE": "beat"}
    assert recipe.config["WorkingDir"] == "/srv/app"


def test_a_stage_by_its_name_and_the_build_arguments() -> None:
    recipe = recipe_of(STAGES, "web", {"PYTHON": "3.13"})
    assert (recipe.base, recipe.command) == ("python:3.13-slim", ["/bin/sh", "-c", "gunicorn shop.wsgi"])
    assert recipe.config["ExposedPorts"] == {"8000/tcp": {}} and recipe.environment["ROLE"] == "web"
    assert recipe_of(STAGES, "assets").command == ["npm", "run", "watch"]


def test_where_a_file_of_the_image_comes_from() -> None:
    recipe = recipe_of(STAGES)
    assert recipe.sources("/usr/local/bin/entry.sh")[0] == "docker/entry.sh"
    assert recipe.sources("./bin/run")[0] == "bin/run"
    assert recipe.sources("/srv/app/bin/run") == ["bin/run"]
    assert recipe.sources("/etc/passwd") == []
    named = recipe_of('FROM x\nCOPY ["deploy/start", "/start"]\nCOPY scripts /opt/scripts')
    assert named.sources("/start") == ["deploy/start"]
    assert named.sources("/opt/scripts/a.sh") == ["scripts/a.sh"]


def test_an_entrypoint_of_ones_own_leaves_nothing_of_the_command_before() -> None:
    recipe = recipe_of('FROM x AS a\nCMD ["one"]\nFROM a\nENTRYPOINT ["two"]')
    assert (recipe.entrypoint, recipe.command) == (["two"], None)


def test_whether_an_image_starts_otherwise_than_what_it_is_built_upon() -> None:
    assert recipe_of("FROM nginx\nCOPY site.conf /etc/nginx/conf.d/").starts_itself is False
    assert recipe_of('FROM postgres\nCMD ["postgres", "-c", "x=1"]').starts_itself


def test_images_that_are_built_elsewhere_are_found_by_their_names_and_the_last_by_what_is_left() -> None:
    paths = ["docker/gateway/Dockerfile", "docker/worker.Dockerfile", "Dockerfile"]
    images = ["example.org/acme/shop-gateway:5", "acme/worker", "acme/shop@sha256:00", "redis:7"]
    assert made_by(images, paths, ["redis:7"]) == {
        "example.org/acme/shop-gateway": "docker/gateway/Dockerfile",
        "acme/worker": "docker/worker.Dockerfile",
        "acme/shop": "Dockerfile",
    }
    assert made_by(["acme/a:1", "acme/b:1"], ["Dockerfile", "x/Dockerfile"], []) == {}, (
        "two are left, and nobody can tell"
    )


def test_a_repository_is_a_name_without_tag_and_digest() -> None:
    assert (
        repository("example.org:5000/a/b:1@sha256:00") == "example.org:5000/a/b" == repository("example.org:5000/a/b")
    )


@given(st.text(max_size=80) | st.text(alphabet='FROMCOPYENVARG asx/.$"[]{}=\n\\', max_size=80))
def test_no_file_is_too_odd(text: str) -> None:
    recipe = recipe_of(text, "x", {"A": "b"})
    recipe.sources("/a/b")
    assert isinstance(recipe.config, dict)
