# SPDX-License-Identifier: GPL-3.0-or-later
"""What an update means for databases, brokers, proxies, and for what the project no longer has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.dependencies import in_order, needed_by
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.kinds import Evidence, judge
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.services import CommonSettings, settings_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.standing import keep_as_created
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.rest_of_stack import (
    Present,
    Rest,
    changed_networks,
    gap_of,
    moved_data,
    notes_on,
    other_major,
    rest_of,
)
from ansible_collections.evenkeel.deploy.plugins.module_utils.rolling.scalability import alone

KINDS = {"api": "web", "db": "database", "redis": "broker", "nginx": "proxy", "build": "job"}
HASHES = {name: f"hash-{name}" for name in KINDS}
RELEASE = "/srv/travel/releases/20261120T100000Z-3f2c1ab/compose.yaml"


def box(service: str, **more: Any) -> Present:
    known: dict[str, Any] = {
        "service": service,
        "name": f"travel-{service}-1",
        "config_hash": f"hash-{service}",
        "image": "image",
        "running": True,
        "source_of": {},
        "files": (RELEASE,),
    }
    return Present(**{**known, **more})


def rest(*present: Present, kinds: dict[str, str] | None = None, images: dict[str, str] | None = None) -> Rest:
    return rest_of(kinds or KINDS, HASHES, images or {}, present, ())


def test_on_an_empty_server_databases_are_started_first_and_proxies_last() -> None:
    assert rest() == Rest(start=("db", "redis"), start_last=("nginx",))


def test_what_is_as_wanted_is_left_alone() -> None:
    assert not rest(box("api"), box("db"), box("redis"), box("nginx"))


def test_another_definition_or_another_image_is_another_container() -> None:
    found = rest(box("db", config_hash="old"), box("redis"), box("nginx"), images={"redis": "newer"})
    assert found == Rest(recreate=("db", "redis"))
    assert rest(box("db"), box("redis"), box("nginx", config_hash="old")) == Rest(recreate_last=("nginx",))


def test_a_stopped_database_of_another_definition_is_created_anew_and_not_just_started() -> None:
    assert rest(box("db", running=False, config_hash="old"), box("redis"), box("nginx")) == Rest(recreate=("db",))
    assert rest(box("db", running=False), box("redis"), box("nginx")) == Rest(start=("db",))


def test_what_a_release_had_goes_and_what_somebody_added_by_a_file_of_theirs_stays() -> None:
    own = ("/root/monitoring.yml",)
    present = [box("db"), box("redis"), box("nginx"), box("flower"), box("grafana", files=own), box("odd", files=())]
    assert rest(*present).removed == ("flower",)
    assert [note.split(":")[0] for note in notes_on(present, KINDS, ())] == ["grafana", "odd"]
    assert rest_of(KINDS, HASHES, {}, present, own).removed == ("flower", "grafana")


@pytest.mark.parametrize("kind", ["database", "broker", "proxy"])
def test_a_gap_is_told_with_what_differs_and_how_it_is_allowed(kind: str) -> None:
    text = gap_of("db", kind, ["command"])
    assert "command" in text and "update_allow_downtime" in text and "time of its stop and start" in text


# -- data -----------------------------------------------------------------------------------------


def project(**services: Any) -> dict[str, Any]:
    return {"name": "travel", "services": services, "volumes": {"pgdata": {"name": "travel_pgdata"}, "plain": None}}


def volume(source: str, target: str, kind: str = "volume") -> dict[str, Any]:
    return {"type": kind, "source": source, "target": target}


DATA = "/var/lib/postgresql/data"


def test_data_that_stays_where_it_is_is_no_matter() -> None:
    known = [box("db", source_of={DATA: "travel_pgdata", "/other": "travel_plain"})]
    same = project(db={"volumes": [volume("pgdata", DATA), volume("plain", "/other")]})
    assert moved_data(same, KINDS, known) == []


@pytest.mark.parametrize(
    "volumes",
    [
        [volume("plain", DATA)],
        [volume("/srv/elsewhere", DATA, "bind")],
        [volume("pgdata", "/var/lib/postgresql")],
        [],
    ],
)
def test_data_that_would_be_elsewhere_is_refused_by_name(volumes: list[dict[str, Any]]) -> None:
    found = moved_data(project(db={"volumes": volumes}), KINDS, [box("db", source_of={DATA: "travel_pgdata"})])
    assert len(found) == 1
    assert "db" in found[0] and "travel_pgdata" in found[0] and DATA in found[0] and "travel-db-1" in found[0]


def test_uploads_of_a_web_service_do_not_move_either_but_a_mount_may_go() -> None:
    known = [box("api", source_of={"/app/media": "/srv/travel/shared/media"})]
    moved = project(api={"volumes": [volume("/srv/other", "/app/media", "bind")]})
    assert len(moved_data(moved, KINDS, known)) == 1
    assert moved_data(project(api={}), KINDS, known) == []


def test_data_in_a_volume_without_a_name_is_not_exchanged_for_a_named_one() -> None:
    known = [box("search", anonymous={"/data": "ab" * 32})]
    assert moved_data(project(search={}), KINDS, known) == []
    assert moved_data(project(search={"volumes": [volume("", "/data")]}), KINDS, known) == []
    named = project(search={"volumes": [volume("plain", "/data")]}, build={"volumes": [volume("plain", "/data")]})
    (found,) = moved_data(named, KINDS, known)
    assert "/data" in found and "travel-search-1" in found and "abababababab" in found and "copy the data" in found
    assert moved_data(named, KINDS, [box("build", anonymous={"/data": "ab" * 32})]) == [], "a job leaves nothing there"


def test_a_tree_that_is_mounted_is_another_with_each_release() -> None:
    copy, other = f"/srv/travel/mounts/{'a' * 64}/tree", f"/srv/travel/mounts/{'b' * 64}/tree"
    code = project(api={"volumes": [volume(other, "/app", "bind")]})
    assert moved_data(code, KINDS, [box("api", source_of={"/app": copy})]) == []


# -- networks -------------------------------------------------------------------------------------


def test_a_network_that_differs_is_refused_by_what_differs() -> None:
    there = {
        "travel_default": {"Driver": "bridge", "Internal": False, "IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}
    }
    same = {"name": "travel", "networks": {"default": {"name": "travel_default", "ipam": {}}}}
    assert changed_networks(same, there) == []
    for what, changed in (
        ("internal", {"internal": True}),
        ("ipam", {"ipam": {"config": [{"subnet": "10.9.0.0/24"}]}}),
        ("driver", {"driver": "macvlan"}),
        ("enable_ipv6", {"enable_ipv6": True}),
        ("driver_opts", {"driver_opts": {"com.docker.network.driver.mtu": "1400"}}),
    ):
        found = changed_networks(
            {"name": "travel", "networks": {"default": {"name": "travel_default", **changed}}}, there
        )
        assert len(found) == 1 and what in found[0]
    assert changed_networks({"name": "travel", "networks": {"new": {"internal": True}}}, there) == []
    # The engine adds a subnet of the family that is not named.
    both = {"travel_default": {"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}, {"Subnet": "fd65::/64"}]}}}
    for subnet, differs in (("fd65::/64", False), ("172.18.0.0/16", False), ("fd66::/64", True)):
        wanted = {"name": "travel_default", "ipam": {"config": [{"subnet": subnet}]}}
        assert bool(changed_networks({"name": "travel", "networks": {"default": wanted}}, both)) is differs
    assert (
        changed_networks({"name": "travel", "networks": {"x": {"name": "travel_default", "external": True}}}, there)
        == []
    )


# -- kinds and order ------------------------------------------------------------------------------


def test_what_has_ended_well_and_is_not_restarted_is_a_job() -> None:
    ended = Evidence(ended=0)
    assert judge({}, ended).kind == "job"
    assert judge({"restart": "always"}, ended).kind == "other"
    assert judge({}, Evidence(ended=1)).kind == "other"
    assert judge({}, Evidence()).kind == "other"
    assert judge({"command": ["gunicorn", "x"]}, ended).kind == "web"


def test_what_others_may_need_goes_first() -> None:
    kinds = {"api": "web", "search": "other", "celery": "worker", "beat": "scheduler"}
    assert in_order(["api", "beat", "celery", "search", "gone"], kinds) == ["gone", "search", "celery", "beat", "api"]


def test_dependencies_through_others_count() -> None:
    services = {"api": {"depends_on": {"setup": {}}}, "setup": {"depends_on": {"search": {}}}, "search": {}}
    assert needed_by(services, "api") == ("setup", "search")
    assert needed_by(services, "search") == ()


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ({"volumes": [volume("data", "/data")]}, "writes to /data"),
        ({"container_name": "search"}, "container_name"),
        ({"ports": [{"published": "9200", "host_ip": "127.0.0.1"}]}, "127.0.0.1:9200"),
    ],
)
def test_what_two_of_it_might_spoil_is_stopped_first_and_that_has_to_be_said(service: dict[str, Any], why: str) -> None:
    plain = settings_of("search", service, Evidence(), CommonSettings(), {"kind": "other"})
    assert alone(service, plain, Evidence(), chosen=False, serves=False) == (plain, "")
    assert alone(service, plain, Evidence(), chosen=True, serves=True) == (plain, "")
    found, problem = alone(service, plain, Evidence(), chosen=False, serves=True)
    assert found.order == "stop-first"
    assert why in problem and "allow_downtime" in problem


def test_what_listens_and_is_not_understood_is_asked_about() -> None:
    plain = settings_of("search", {}, Evidence(), CommonSettings(), {"kind": "other"})
    found, problem = alone({}, plain, Evidence(listens=frozenset({9200})), chosen=False, serves=True)
    assert found.order == "stop-first"
    assert "listens on port 9200, and nothing says what it is" in problem


def test_what_holds_nothing_is_stopped_first_and_that_without_asking() -> None:
    plain = settings_of("search", {}, Evidence(), CommonSettings(), {"kind": "other"})
    read = {"volumes": [{**volume("data", "/data"), "read_only": True}]}
    assert alone(read, plain, Evidence(), chosen=False, serves=True) == (replace(plain, order="stop-first"), "")


@pytest.mark.parametrize(
    ("change", "kept", "said"),
    [
        ({"depends_on": {"api": {}, "live": {}}}, True, "keeps the depends_on"),
        ({"environment": {"A": "2"}}, True, "keeps the environment it runs with (A differ)"),
        ({"depends_on": {}, "environment": None}, True, "keeps the depends_on"),
        ({"depends_on": {"live": {}}, "image": "nginx:2"}, False, ""),
    ],
)
def test_what_makes_no_other_container_of_a_proxy_stays_as_it_was(
    change: dict[str, Any], kept: bool, said: str
) -> None:
    old = {"image": "nginx:1", "depends_on": {"api": {}}, "environment": {"A": "1"}}
    project = {"services": {"nginx": {**old, **change}, "api": {}, "live": {}}}
    made, notes = keep_as_created(project, {"services": {"nginx": old}}, {"nginx": "proxy", "api": "web"})
    assert (made["services"]["nginx"] == old) is kept and said in " ".join(notes) and bool(notes) is kept


def test_a_dependency_that_is_gone_is_not_kept() -> None:
    old = {"image": "nginx:1", "depends_on": {"api": {}, "live": {}}}
    project = {"services": {"nginx": {"image": "nginx:1", "depends_on": {"api": {}}}, "api": {}}}
    assert keep_as_created(project, {"services": {"nginx": old}}, {"nginx": "proxy"}) == (project, [])


@pytest.mark.parametrize(
    ("running", "wanted", "refused"),
    [
        (["PG_MAJOR=16"], ["PG_MAJOR=17"], True),
        (["PG_MAJOR=17", "PG_VERSION=17.2-1"], ["PG_MAJOR=17", "PG_VERSION=17.6-1"], False),
        (["PATH=/usr/lib/postgresql/17/bin:/usr/bin"], ["PATH=/usr/local/bin:/usr/lib/postgresql/18/bin"], True),
        (["PATH=/usr/lib/postgresql/17/bin:/usr/bin"], ["LANG=C", "PG_MAJOR=17"], False),
        (["PG_MAJOR=9.6"], ["PG_MAJOR=10"], True),
        (["PATH=/usr/bin"], ["PG_MAJOR=17"], False),
        ([], [], False),
    ],
)
def test_an_image_of_another_major_version_of_postgresql_is_refused(
    running: list[str], wanted: list[str], refused: bool
) -> None:
    problem = other_major("db", running, wanted)
    assert bool(problem) == refused and problem.startswith("db: its data is of PostgreSQL" if refused else "")
