# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that nothing here builds: which are pulled, with whose login, and what is said where one cannot be had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import known_secrets
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host import build as build_build
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.host.pull import login_from, pull_missing
from ansible_collections.evenkeel.deploy.plugins.module_utils.build.pulls import (
    Login,
    explained,
    from_registry,
    login_of,
    registry_of,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import EngineFailed
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.options import ProjectOptions
from ansible_collections.evenkeel.deploy.plugins.module_utils.operation.options import LockOptions

HOST = "registry.example.com:5000"
API, DIGEST = f"{HOST}/shop/api:7", f"{HOST}/shop/worker@sha256:{'a' * 64}"
LOGIN = Login(HOST, "ci", "s3cr3t-word")
PROJECT: dict[str, Any] = {
    "name": "shop",
    "services": {
        "api": {"image": API, "command": ["gunicorn", "shop.wsgi"]},
        "worker": {"image": DIGEST, "command": ["celery", "-A", "shop", "worker"]},
        "db": {"image": "postgres:17"},
    },
}


class Registry:
    """An engine that has some images, and gets others where nothing is said against it."""

    def __init__(self, *images: str, says: str = "") -> None:
        self.images = {name: {"Id": f"id of {name}", "RepoDigests": [f"{name}@sha256:1"]} for name in images}
        self.says, self.asked = says, list[tuple[str, str, Any]]()
        self.moved = "id of what CI has pushed since"

    def image(self, name: str) -> dict[str, Any]:
        return self.images.get(name, {})

    def parts(self, call: str, repository: str, **how: Any) -> Iterator[Mapping[str, Any]]:
        assert call == "pull"
        tag = str(how["tag"])
        self.asked.append((repository, tag, how.get("auth_config")))
        if self.says:
            raise EngineFailed(self.says)
        name = f"{repository}@{tag}" if tag.startswith("sha256:") else f"{repository}:{tag}"
        self.images[name] = {"Id": self.moved, "RepoDigests": [f"{name}@sha256:2"]}
        yield {"status": "Download complete"}

    def containers(self, _labels: Mapping[str, str]) -> list[dict[str, Any]]:
        return []


class Fence:
    """A lock that is ours."""

    def check(self) -> None:
        """It still is."""


def pull(engine: Registry, project: Mapping[str, Any] | None = None, login: Login | None = LOGIN, rebuild: bool = False,
         check: bool = False, built: tuple[str, ...] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    fakes: dict[str, Any] = {"engine": engine, "fence": None if check else Fence()}
    found = pull_missing(project=project or PROJECT, built=built, login=login, rebuild=rebuild, **fakes)
    return found.images, found.notes


def test_what_is_missing_comes_by_tag_or_digest_with_the_login_of_its_own_registry() -> None:
    engine = Registry()
    auth = {"username": "ci", "password": "s3cr3t-word"}
    assert pull(engine) == ((API, "postgres:17", DIGEST), ())
    assert engine.asked == [
        (f"{HOST}/shop/api", "7", auth),
        ("postgres", "17", None),
        (f"{HOST}/shop/worker", f"sha256:{'a' * 64}", auth),
    ]
    # Once more: nothing is asked.
    asked = len(engine.asked)
    assert pull(engine) == ((), ()) and len(engine.asked) == asked


def test_check_mode_asks_nobody_and_says_what_would_come() -> None:
    engine = Registry("postgres:17", DIGEST)
    assert pull(engine, check=True) == ((API,), ())
    assert engine.asked == []


@pytest.mark.parametrize(
    "service",
    [
        {"image": API, "pull_policy": "never"},
        {"image": API, "build": {"context": "."}},
        {"image": API, "deploy": {"replicas": 0}},
        {"image": API, "scale": 0},
    ],
)
def test_what_is_built_switched_off_or_never_to_be_pulled_is_left_alone(service: dict[str, Any]) -> None:
    assert from_registry({"services": {"api": service}}, ()) == {}
    # Another service runs what this one builds.
    assert from_registry({"services": {"api": {"image": API}}}, [API]) == {}


def test_a_tag_that_moves_is_asked_for_again_only_to_rebuild() -> None:
    engine = Registry(API, DIGEST, "postgres:17")
    assert pull(engine) == ((), ()) and engine.asked == []
    (images, (note,)) = pull(engine, rebuild=True)
    assert images == (API,) and [asked[0] for asked in engine.asked] == [f"{HOST}/shop/api"]
    assert note.startswith(f"{API} is a tag that moves") and "write a tag for each version, or a digest" in note
    # It is what it was: told of, and no change.
    assert pull(engine, rebuild=True)[0] == ()


def test_what_no_registry_has_had_is_not_asked_for_again() -> None:
    engine = Registry(API, DIGEST, "postgres:17")
    engine.images[API]["RepoDigests"] = []
    assert pull(engine, rebuild=True) == ((), ()) and engine.asked == []


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("postgres:17", "docker.io"),
        ("library/postgres", "docker.io"),
        ("docker.io/library/postgres", "docker.io"),
        ("index.docker.io/shop/api:1", "docker.io"),
        ("ghcr.io/shop/api", "ghcr.io"),
        ("GHCR.io/shop/api", "ghcr.io"),
        ("localhost/shop/api", "localhost"),
        ("registry:5000/api", "registry:5000"),
        (DIGEST, HOST),
    ],
)
def test_the_registry_of_a_name(reference: str, host: str) -> None:
    assert registry_of(reference) == host


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (HOST, HOST),
        (f"https://{HOST}", HOST),
        (f"https://{HOST}/v2/", HOST),
        ("https://index.docker.io/v1/", "docker.io"),
    ],
)
def test_the_url_of_a_login_may_be_written_as_docker_login_takes_it(url: str, host: str) -> None:
    login = login_of({"url": url, "username": "ci"}, "word")
    assert login == Login(host, "ci", "word") and "word" not in repr(login)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"username": "ci", "password": "s3cr3t-word"}, "app_registry has no url"),
        ({"url": HOST}, r"app_registry has no username and no password \(or password_file\)"),
        ({"url": HOST, "username": "ci"}, r"app_registry has no password \(or password_file\)"),
        ({"url": HOST, "username": "ci", "password_file": "/nowhere/word"}, "/nowhere/word cannot be read on this host: No such file"),
    ],
)  # fmt: skip
def test_half_a_login_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        login_from(given)


def test_a_password_comes_from_a_file_and_is_in_no_message(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("s3cr3t-of-the-file\n")
    login = login_from({"url": HOST, "username": "ci", "password_file": str(tmp_path / "word")})
    assert login == Login(HOST, "ci", "s3cr3t-of-the-file")
    assert "s3cr3t" not in known_secrets.masked_text("it said s3cr3t-of-the-file")
    assert login_from({}) is None


@pytest.mark.parametrize(
    ("said", "login", "advice"),
    [
        ("unauthorized: incorrect username or password", LOGIN, f"correct username and password of app_registry, which {HOST} refuses"),
        ('Head "https://x/v2/": no basic auth credentials', None, f"write the login of {HOST} into app_registry (url, username, password)"),
        ("pull access denied for shop/api, repository does not exist", None, f"write the login of {HOST} into app_registry"),
        ("manifest for x:7 not found: manifest unknown", LOGIN, f"push it to {HOST}, or correct `image:` in the Compose file"),
        ("tls: failed to verify certificate: x509: unknown authority", LOGIN, f"make the engine trust {HOST}"),
        ("http: server gave HTTP response to HTTPS client", LOGIN, f"make the engine trust {HOST}"),
        ("dial tcp 10.0.0.9:5000: connect: connection refused", LOGIN, f"see that this server reaches {HOST} (docker pull {API})"),
        ('Get "http://127.0.0.1:54045/v2/": dial tcp 127.0.0.1:54045: connect: refused', LOGIN, "see that this server reaches"),
        ("read tcp 10.0.0.5:44012->10.0.0.9:5000: connection reset by peer", LOGIN, f"see that this server reaches {HOST}"),
        ('Head "https://x/v2/shop/certificate/manifests/7": dial tcp: lookup x: no such host', LOGIN, "see that this server reaches"),
        ("unexpected status from HEAD request to https://x/v2/shop/api/manifests/7: 401", LOGIN, "correct username and password"),
        ("failed to resolve reference x/shop/api:7: unexpected status: 404", LOGIN, f"push it to {HOST}"),
        ("x/shop/api:7: not found", LOGIN, f"push it to {HOST}"),
        ("it was not there after 1800 s", LOGIN, f"see that this server reaches {HOST}"),
    ],
)  # fmt: skip
def test_why_it_cannot_be_had_says_what_to_do(said: str, login: Login | None, advice: str) -> None:
    what, next_step = explained(API, ["api"], said, login)
    assert what == f"the image {API} of api is not on this host and cannot be pulled: {said}"
    assert next_step.startswith(advice) and next_step.endswith("then run the same command again")


def test_a_refused_pull_ends_the_call_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_build, "run_build", lambda *_a: pytest.fail("was built"))
    project = {**PROJECT, "services": {**PROJECT["services"], "front": {"image": "f:1", "build": {"context": "/f"}}}}
    request = build_build.Request(
        ProjectOptions("/srv"), LockOptions(), registry={"url": HOST, "username": "ci", "password": "no"}
    )
    engine = Registry("postgres:17", says="unauthorized: incorrect username or password")
    fakes: dict[str, Any] = {"engine": engine, "fence": Fence()}
    with pytest.raises(BadInput, match="cannot be pulled: unauthorized") as refused:
        build_build.build_missing(request, project=project, logs="/logs", **fakes)
    assert "Now: nothing was touched, what was serving still is" in refused.value.message()
    assert "registry" not in repr(request)
