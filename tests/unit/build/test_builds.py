# SPDX-License-Identifier: GPL-3.0-or-later
"""Which mounts of a job users see, and how the job is given others in their place."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.build.builds import (
    ADOPTED,
    LIVE,
    PUBLISHER,
    Output,
    by_live,
    outputs_of,
    publisher,
    staged,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.jobs import BadJob

KINDS = {"api": "web", "builder": "job", "nginx": "proxy"}
RELEASE = "20261120T084911Z-5d33865"


def volume(source: str, target: str, read_only: bool = False, kind: str = "volume") -> dict[str, Any]:
    return {"type": kind, "source": source, "target": target, **({"read_only": True} if read_only else {})}


def project(
    builder: list[dict[str, Any]], nginx: list[dict[str, Any]], api: list[dict[str, Any]] | None = None, **beside: Any
) -> dict[str, Any]:
    job: dict[str, Any] = {"image": "b", "volumes": builder, "profiles": ["evenkeel-jobs"], "depends_on": {"x": {}}}
    if beside:
        job["x-evenkeel"] = beside
    return {
        "name": "shop",
        "services": {"builder": job, "nginx": {"image": "nginx", "volumes": nginx}, "api": {"volumes": api or []}},
        "volumes": {"html": {"name": "shop_html", "labels": {"mine": "1"}}, "cache": {"name": "shop_cache"}},
    }


def found(shop: dict[str, Any]) -> tuple[list[Output], list[str]]:
    return outputs_of(shop, "builder", KINDS, RELEASE)


def test_what_the_proxy_serves_is_built_aside() -> None:
    shop = project([volume("html", "/dist"), volume("cache", "/cache")], [volume("html", "/srv", True)])
    outputs, remarks = found(shop)
    assert [(o.live, o.target, o.readers) for o in outputs] == [("html", "/dist", ())]
    assert outputs[0].staging.startswith("shop_evenkeel-builder-") and outputs[0].staging.endswith(f"-{RELEASE}")
    assert remarks == []


def test_what_the_job_only_reads_or_nobody_serves_is_left_alone() -> None:
    assert found(project([volume("html", "/dist", True)], [volume("html", "/srv")])) == ([], [])
    assert found(project([volume("html", "/dist")], [volume("cache", "/srv")])) == ([], [])
    assert found(project([{"type": "tmpfs", "target": "/tmp"}, volume("", "/anonymous")], [])) == ([], [])


def test_what_another_service_writes_to_as_well_is_written_in_place_and_said() -> None:
    shop = project([volume("html", "/dist")], [volume("html", "/srv")], [volume("html", "/media")])
    outputs, remarks = found(shop)
    assert outputs == [] and "api may write there too" in remarks[0] and "publish: true" in remarks[0]


def test_who_reads_it_beside_the_proxy_is_known() -> None:
    shop = project([volume("html", "/dist")], [volume("html", "/srv")], [volume("html", "/stats", True)])
    assert found(shop)[0][0].readers == ("api",)


def test_somebody_may_have_said_what_is_published() -> None:
    assert found(project([volume("html", "/dist")], [volume("html", "/srv")], publish=False)) == ([], [])
    # The web server of the host itself has no service.
    outputs, _remarks = found(project([volume("/srv/www", "/dist", kind="bind")], [], publish=True))
    assert [o.live for o in outputs] == ["/srv/www"]


@pytest.mark.parametrize(
    ("builder", "nginx", "said"),
    [
        ("/srv/app", "/srv/app/dist", "one inside the other"),
        ("/srv/app/dist", "/srv/app", "one inside the other"),
        (f"/srv/mounts/{'0' * 64}/dist", f"/srv/mounts/{'0' * 64}/dist", "release's tree"),
    ],
)
def test_folders_that_cannot_be_built_aside_are_refused(builder: str, nginx: str, said: str) -> None:
    with pytest.raises(BadJob, match=said):
        found(project([volume(builder, "/dist", kind="bind")], [volume(nginx, "/srv", kind="bind")]))


def test_a_folder_of_the_tree_that_the_proxy_finds_elsewhere_is_refused() -> None:
    copy = f"/srv/mounts/{'0' * 64}/dist"
    shop = project([volume(copy, "/dist", kind="bind")], [volume("/srv/shared/proxy/nginx/dist", "/srv", kind="bind")])
    assert found(shop) == ([], []), "a copy of something else"
    shop["x-evenkeel-release"] = {"live": {"nginx": {"/srv": "dist"}}}
    with pytest.raises(BadJob, match="release's tree"):
        found(shop)


def test_the_job_alone_with_another_volume() -> None:
    shop = project(
        [volume("html", "/dist"), {**volume("/srv/www", "/www", kind="bind"), "bind": {"create_host_path": True}}],
        [volume("html", "/srv"), volume("/srv/www", "/www", kind="bind")],
    )
    shop["services"]["builder"].update(mem_limit="1g", ports=[{"target": 1}], container_name="one", restart="always")
    outputs, _remarks = found(shop)
    result = staged(shop, "builder", outputs, RELEASE)
    assert list(result["services"]) == ["builder"]
    job = result["services"]["builder"]
    assert job == {
        "image": "b",
        "mem_limit": "1g",
        "volumes": [volume(outputs[0].staging, "/dist"), volume(outputs[1].staging, "/www")],
    }
    made = result["volumes"][outputs[0].staging]
    assert made["name"] == outputs[0].staging
    assert made["labels"] == {"mine": "1", "evenkeel.staging": "shop", "evenkeel.release": RELEASE}
    assert shop["services"]["builder"]["profiles"], "the given one is left alone"


def test_the_publisher_has_what_is_live_and_what_was_built_and_no_network() -> None:
    shop = project([volume("html", "/dist")], [volume("html", "/srv")])
    outputs, _remarks = found(shop)
    result = publisher(shop, "shop-api:1", outputs, RELEASE, {outputs[0].staging})
    service = result["services"][PUBLISHER]
    assert service["network_mode"] == "none" and service["user"] == "0:0"
    assert service["volumes"][0] == volume("html", LIVE)
    assert service["volumes"][1]["read_only"] and service["volumes"][1]["source"] == outputs[0].staging
    # As Compose knows it, so that it is made with its name and labels where it is not there yet.
    assert result["volumes"]["html"] == shop["volumes"]["html"]
    before, _remarks = outputs_of(shop, "builder", KINDS, "adopted")
    first = publisher(shop, "shop-api:1", outputs, RELEASE, {outputs[0].staging}, before, "adopted")
    kept = first["services"][PUBLISHER]["volumes"][2]
    assert (kept["source"], kept["target"]) == (before[0].staging, f"{ADOPTED}/0") and "read_only" not in kept
    assert first["volumes"][kept["source"]]["labels"]["evenkeel.release"] == "adopted"
    gone = publisher(shop, "shop-api:1", outputs, RELEASE, set())
    assert len(gone["services"][PUBLISHER]["volumes"]) == 1 and list(gone["volumes"]) == ["html"]


def test_two_jobs_may_build_one_site() -> None:
    one, two, three = (Output(job, live, "/x", job) for job, live in (("a", "html"), ("b", "docs"), ("c", "html")))
    assert by_live([one, two, three]) == {"html": [one, three], "docs": [two]}
