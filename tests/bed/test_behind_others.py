# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy and Apache cannot be led: refused by name, and served all the same once they lead to an nginx of the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from tests.bed.ports import free_port
from tests.bed.proxy_images import from_debian
from tests.bed.shop import WORKER
from tests.bed.small_stack import SmallStack
from tests.bed.users import failures, rules_of, users

NAME = f"evenkeel-others-{WORKER}"
QUICK = {"prove_seconds": 0.5, "monitor": 0.5, "drain_timeout": 6}
SITE = "server { listen 80; location / { proxy_pass http://app:8000; } }"
_HAPROXY = """defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend users
    bind :80
    default_backend apps
backend apps
    server one {to} check inter 1s
"""
# Without `disablereuse` Apache sends a request on a connection that nginx, reloading, has just closed, and does not try again: 502.
_APACHE = """ServerName localhost
Listen 80
PidFile /tmp/apache2.pid
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass / http://{to}/ disablereuse=on
"""
#: Where each reads in its container what it is told.
OTHERS = {"haproxy": ("/etc/haproxy/haproxy.cfg", _HAPROXY), "apache2": ("/etc/apache2/site.conf", _APACHE)}


class Behind(SmallStack):
    """An app behind one of these, with an nginx between the two or without."""

    def __init__(self, folder: Path, other: str, between: bool) -> None:
        place, text = OTHERS[other]
        port = free_port()
        self.told = text.format(to="front:80" if between else "app:8000")
        gate: dict[str, Any] = {
            "image": from_debian(other),
            "command": None,
            "ports": [f"127.0.0.1:{port}:80"],
            "volumes": [f"{folder}/gate.conf:{place}:ro"],
            "depends_on": ["front" if between else "app"],
        }
        super().__init__(
            NAME, folder, {"app": {"x-evenkeel": {"kind": "web", **QUICK}}, "gate": gate}, SITE if between else "", port
        )
        self.front = {"ports": []}

    def write(self, version: str) -> None:
        """See the base class."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "gate.conf").write_text(self.told, encoding="utf-8")
        # Its environment stays, or it would be another one with each version.
        self.services["gate"]["environment"] = {"VERSION": "gate"}
        super().write(version)


@pytest.fixture(params=sorted(OTHERS))
def other(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def test_it_is_refused_by_name_with_what_to_write(other: str, tmp_path: Path) -> None:
    with Behind(tmp_path / "project", other, between=False).started() as stack:
        before = stack.containers("app")
        with pytest.raises(BadInput) as refused:
            stack.roll("v2")
        assert "users come by gate" in str(refused.value) and "cannot be led" in str(refused.value)
        assert "let gate lead to an nginx of the project, and that to app" in refused.value.advice
        assert stack.containers("app") == before


def test_with_an_nginx_between_no_request_fails(other: str, tmp_path: Path) -> None:
    with Behind(tmp_path / "project", other, between=True).started() as stack:
        with users(stack.port) as answers:
            for version in ("v2", "v1", "v2"):
                result = stack.roll(version)
                assert not result.get("failed") and result["changed"], result["msg"]
            assert not stack.roll()["changed"]
            serving = stack.containers("app")
            stack.services["app"]["environment"] = {"STATUS": "500"}
            bad = stack.roll("v3", ready_timeout=5.0)
            assert bad["failed"] and bad["rolled_back"], bad["msg"]
        assert failures(answers) == {} and sum(answers.values()) > 500, answers
        assert stack.containers("app") == serving and rules_of(NAME) == []
        total = sum(answers.values())
        print(f"\nevidence: {other} before nginx, 3 updates and one undone: {total:,} requests, 0 failed")
