# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said where no nginx leads to a web service: the nearest reason first, each with its own way out."""

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.traffic.unroutable import (
    Around,
    leading_perhaps,
    why_unled,
)

ALL = Around("shop", "edge", {"api": "shop-front-1"}, {"gate": "traefik"}, {"front": "restarting"}, ["/run/app.sock"])


@pytest.mark.parametrize(
    ("around", "why", "hint"),
    [
        (ALL, "shop-front-1 leads to it and edge does not", "let shop-front-1 lead to edge"),
        (
            Around("shop", "edge", {}, {"gate": "traefik"}, {"front": "restarting"}),
            "front, an nginx of the project, does not run (restarting)",
            "docker compose start",
        ),
        (Around("shop", "", {}, {"gate": "traefik"}), "users come by gate (traefik)", "let gate lead to an nginx"),
        (Around("shop", "edge", {}, {"gate": "traefik"}), "edge has no proxy_pass to api", "kind: other"),
        (Around("shop", "edge", unheard=["/s"]), "to api (it cannot be told who listens at /s)", "kind: other"),
        (Around("shop"), "no running nginx was found in the project", "/etc/nginx/evenkeel/shop-api.conf"),
    ],
)
def test_the_nearest_reason_is_said(around: Around, why: str, hint: str) -> None:
    said, way_out = why_unled("api", around)
    assert why in said and hint in way_out


def test_an_nginx_that_is_down_may_be_the_way_to_whom_no_other_leads_to() -> None:
    kinds = {"api": "web", "celery": "worker", "edge": "proxy", "front": "proxy"}
    assert leading_perhaps(kinds, {"front"}, {"front": "restarting"}) == ["front"]
    assert leading_perhaps(kinds, {"front", "api"}, {"front": "restarting"}) == [], (
        "it is a site of its own, and is replaced"
    )
    assert leading_perhaps(kinds, {"front"}, ()) == []
