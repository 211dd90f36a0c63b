# SPDX-License-Identifier: GPL-3.0-or-later
"""What nginx says and what we make of it, where a file lies, what a twin is, and that a difference tells no value."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx import change
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx import twin as twins
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.complaint import complaint_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host import site
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.memory import Memory
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.nginx import start_options
from ansible_collections.evenkeel.deploy.plugins.module_utils.nginx.host.site import Site, with_candidates

RECORDED = Path(__file__).parent / "complaints"
CONF = "/etc/nginx/conf.d/default.conf"


def recorded(version: str) -> dict[str, str]:
    parts = (RECORDED / f"{version}.txt").read_text().split("## ")[1:]
    return dict(part.split("\n", 1) for part in parts)  # type: ignore[misc]


@pytest.mark.parametrize("version", ["1.22.1", "1.26.3"])
@pytest.mark.parametrize(
    ("case", "kind", "text", "line"),
    [
        ("upstream", "upstream", "the upstream apii cannot be resolved", 1),
        ("upstream_block", "upstream", "the upstream nowhere.internal:8000 cannot be resolved", 1),
        ("resolver", "upstream", "the resolver nodns.internal cannot be resolved", 1),
        ("unknown", "syntax", 'unknown directive "lissten"', 2),
        ("semicolon", "syntax", 'invalid parameter "…"', 2),
        ("brace", "syntax", 'unexpected end of file, expecting "}"', 4),
        ("args", "syntax", 'invalid number of arguments in "proxy_set_header" directive', 1),
        ("include", "include", "the included file /etc/nginx/snippets/tls.conf is not there", 2),
        ("cert", "certificate", "the certificate /etc/ssl/none.pem is not there", 0),
        ("nocert", "certificate", "a server that speaks TLS has no ssl_certificate", 1),
        ("key", "key", "the key /c/none.key is not there", 0),
        ("mismatch", "key", "the key /c/b.key does not belong to its certificate", 0),
        ("certgarbage", "certificate", "the certificate /c/junk cannot be read as one", 0),
        ("dh", "certificate", "the certificate, key or DH file /c/none is not there", 0),
        ("log", "other", "/nowhere/log: No such file or directory", 0),
        ("perm_include", "permission", f"nginx has no permission on {CONF}: Permission denied", 24),
        ("good_nonroot", "permission", "nginx has no permission on /run/nginx.pid: Permission denied", 0),
        ("tokens", "syntax", 'unknown directive "…"', 1),
        ("map", "syntax", 'conflicting parameter "…"', 1),
    ],
)
def test_each_reason_is_its_own_message(version: str, case: str, kind: str, text: str, line: int) -> None:
    complaint = complaint_of(recorded(version)[case])
    assert (complaint.kind, complaint.line) == (kind, line)
    assert complaint.text.startswith(text)
    assert complaint.advice
    if line:
        assert f"line {line}" in complaint.text and complaint.file in complaint.text


@pytest.mark.parametrize(
    ("output", "kind", "text"),
    [
        # OpenSSL 1.1 with nginx 1.16 and later, and nginx before that: as users report them.
        (
            (
                'nginx: [emerg] cannot load certificate "/etc/x/fullchain.pem": BIO_new_file() failed (SSL: error:02001002:system '
                "library:fopen:No such file or directory:fopen('/etc/x/fullchain.pem','r') error:2006D080:BIO routines:"
                "BIO_new_file:no such file)"
            ),
            "certificate",
            "the certificate /etc/x/fullchain.pem is not there",
        ),
        (
            (
                'nginx: [emerg] BIO_new_file("/etc/x/cert.pem") failed (SSL: error:02001002:system library:fopen:No such file or '
                "directory:fopen('/etc/x/cert.pem','r') error:2006D080:BIO routines:BIO_new_file:no such file)"
            ),
            "certificate",
            "the certificate, key or DH file /etc/x/cert.pem is not there",
        ),
        (
            (
                'nginx: [emerg] cannot load certificate key "/k": BIO_new_file() failed (SSL: error:8000000D:system '
                "library::Permission denied:calling fopen(/k, r) error:10080002:BIO routines::system lib)"
            ),
            "permission",
            "the key /k may not be read by nginx",
        ),
        ("nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)", "permission", "nginx may not listen on"),
        ("", "other", "it gave no reason"),
        ("exec: nginx: not found", "other", "exec: nginx: not found"),
    ],
)
def test_other_versions(output: str, kind: str, text: str) -> None:
    complaint = complaint_of(output)
    assert complaint.kind == kind
    assert complaint.text.startswith(text)


@pytest.mark.parametrize(
    "said",
    [
        'unknown directive "S3cr3t"',
        'invalid value "hunter" in "gzip" directive',
        'invalid number "hunter2"',
        'unexpected "Bearer abc" in',
        'host not found in upstream "user:S3cr3t pass@x"',
        'bad "S3cr3t" quoted " oddly',
    ],
)
def test_no_value_of_a_configuration_is_repeated(said: str) -> None:
    complaint = complaint_of(f"nginx: [emerg] {said} in {CONF}:7")
    assert not {"S3cr3t", "hunter", "abc"} & set(complaint.text.replace('"', " ").split()), complaint.text


def test_a_difference_names_lines_and_directives_and_no_value() -> None:
    before = 'server {\n  listen 80;\n  proxy_set_header Authorization "Bearer old1";\n}\n'
    after = before.replace("old1", "new2").replace("listen 80;", "listen 80; # tok3\n  add_header X tok4; return 200;")
    text = change.masked_diff(before, after, CONF)
    assert text.splitlines() == [
        f"--- {CONF}",
        f"+++ {CONF} (values are not shown)",
        "-2: listen",
        "-3: proxy_set_header",
        "+2: listen",
        "+3: add_header return",
        "+4: proxy_set_header",
    ]
    assert change.masked_diff(before, before, CONF) == ""
    assert change.masked_diff(None, "a;\n", CONF).splitlines()[0].endswith("(not there)")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("map $http_key $who {\n  s3cr3t alice;\n}\n", ["map", "(an entry of map)", "}", ""]),
        ('add_header X "tok\ntok2;\ntok3";\nreturn 200;', ["add_header", "(more of it)", "(more of it)", "return"]),
        ("content_by_lua_block {\n  local t = 's';\n}", ["content_by_lua_block", "(code)", "}"]),
        ("# secret\n  S3cr3t;\nset $a ${b};root /x;", ["(comment)", "(not shown)", "set root"]),
        ('"unclosed\nx', ["(not shown)", "(more of it)"]),
        ("}}}\n{{{;;", ["} } }", "(more of it)"]),
        ("a\\", ["(not shown)"]),
    ],
)
def test_lines_are_told_by_what_begins_on_them(text: str, told: list[str]) -> None:
    assert change.printable_lines(text) == told


@pytest.mark.parametrize(
    ("seen", "act"),
    [
        (change.Seen(False, 1.0, 2.0, False), change.INSTALL),
        (change.Seen(True, 1.0, 2.0, False), change.NOTHING),
        (change.Seen(True, 2.0, 1.0, False), change.RELOAD),
        (change.Seen(True, 2.0, 1.0, True), change.RELOAD),
        (change.Seen(True, 1.0, 2.0, True), change.PROVE),
    ],
)
def test_what_is_done_first(seen: change.Seen, act: str) -> None:
    assert change.next_act(seen) == act


def mount(kind: str, source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"Type": kind, "Source": source, "Destination": target, "RW": False, **more}


MOUNTS = [
    mount("bind", "/srv/front.conf", CONF),
    mount("bind", "/srv/tls", "/etc/nginx/tls"),
    mount("volume", "/var/lib/docker/volumes/logs/_data", "/var/log/nginx", Name="logs", RW=True),
]


def test_where_a_file_lies() -> None:
    place = twins.place_of
    assert place(CONF, MOUNTS) == twins.Place(twins.FILE, "/srv/front.conf", "/srv/front.conf")
    assert place("/etc/nginx/nginx.conf", MOUNTS).kind == twins.LAYER
    assert place("/etc/nginx/tls/x.conf", MOUNTS).path == "/srv/tls/x.conf"
    assert place("/etc/nginx/tlsx/x.conf", MOUNTS).kind == twins.LAYER
    assert place("/var/log/nginx/x", MOUNTS).kind == twins.VOLUME
    deeper = [*MOUNTS, mount("bind", "/srv/all", "/etc/nginx")]
    assert place(CONF, deeper).kind == twins.FILE
    assert place("/etc/nginx/conf.d/b.conf", deeper).path == "/srv/all/conf.d/b.conf"
    assert place("/run/x/y.conf", [mount("tmpfs", "", "/run/x")]).kind == twins.MEMORY


@pytest.mark.parametrize(
    "dest", ["conf.d/a", "/a.conf", "/etc/a.conf", "/etc/nginx/../a.conf", "/etc/nginx/", "/e/n/a\n"]
)
def test_a_path_that_is_none(dest: str) -> None:
    with pytest.raises(twins.BadPlace):
        twins.checked(dest)


def test_what_belongs_to_a_release() -> None:
    assert twins.owning_app(f"/srv/travel/mounts/{'a' * 64}/nginx.conf") == "/srv/travel"
    assert twins.owning_app("/srv/travel/releases/20261120T084911Z-5d33865/deploy/nginx.conf") == "/srv/travel"
    assert twins.owning_app("/srv/travel/shared/nginx/default.conf") == ""
    assert twins.owning_app("/srv/mounts/data/nginx.conf") == ""


def test_a_twin_has_all_of_the_live_one_but_the_candidates_folder() -> None:
    inspection = {
        "Image": "sha256:1",
        "Config": {"User": "101", "Env": ["A=b"], "Labels": {"evenkeel.bed": "x", "traefik.enable": "true"}},
        "HostConfig": {
            "NetworkMode": "b_net",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "Tmpfs": {"/run": ""},
            "Dns": [],
        },
        "NetworkSettings": {"Networks": {"b_net": {}, "a_net": {}}},
        "Mounts": [*MOUNTS, mount("bind", "/srv/old", "/etc/nginx/conf.d/deep")],
    }
    twin = twins.twin_of(inspection, ["/etc/nginx/conf.d"], "t", "travel", ["-c", "/x"])
    assert twin.configuration["HostConfig"]["PidsLimit"] == 64
    assert twin.networks == ("b_net",)
    assert twin.volumes == {"/etc/nginx/conf.d": "t-0"}
    own, host = twin.configuration, twin.configuration["HostConfig"]
    assert (own["Image"], own["User"], own["Entrypoint"], own["Cmd"]) == (
        "sha256:1",
        "101",
        ["nginx"],
        ["-c", "/x", "-T"],
    )
    assert own["Labels"] == {"evenkeel.bed": "x", "evenkeel.twin": "travel"}
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"], host["Tmpfs"]) == (
        "a_net",
        True,
        ["ALL"],
        {"/run": ""},
    )
    assert host["LogConfig"] == {"Type": "none"}
    assert "Dns" not in host and "PortBindings" not in host and "Binds" not in host
    # The file that is mounted over the candidate would be tested instead of it.
    assert [m["Target"] for m in host["Mounts"]] == ["/etc/nginx/tls", "/var/log/nginx", "/etc/nginx/conf.d"]
    assert host["Mounts"][1] == {"Type": "volume", "Source": "logs", "Target": "/var/log/nginx", "ReadOnly": False}
    assert host["Mounts"][2]["VolumeOptions"]["NoCopy"] is True
    inspection["HostConfig"] = {"NetworkMode": "host"}
    assert twins.twin_of(inspection, [], "t", "p").configuration["HostConfig"]["NetworkMode"] == "host"


def test_which_folders_are_copied() -> None:
    folders = twins.folders_to_copy
    paths = [m["Destination"] for m in MOUNTS]
    assert folders([CONF], "/etc/nginx", [], paths) == ("/etc/nginx/conf.d",)
    usual = ["/etc", "/etc/nginx", "/etc/nginx/conf.d", "/etc/nginx/conf.d/x.conf", "/etc/nginx/tls", "/run/nginx.pid"]
    assert folders([CONF], "/etc/nginx", usual, paths) == ("/etc/nginx/conf.d",)
    assert folders([CONF], "/etc/nginx", [*usual, "/etc/nginx/made.conf"], paths) == ("/etc/nginx",)
    assert folders(["/srv/sites/a.conf"], "/etc/nginx", ["/etc/nginx/made.conf"], paths) == ("/etc/nginx", "/srv/sites")


def opened(archive: bytes) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=io.BytesIO(archive))


def test_the_archive_of_a_folder_with_the_candidate_in_it() -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as out:
        for name, content in (("conf.d/default.conf", b"old"), ("conf.d/b.conf", b"b")):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = len(content), 0o640, 101
            out.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("conf.d/link.conf")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)
        pipe = tarfile.TarInfo("conf.d/pipe")
        pipe.type = tarfile.FIFOTYPE
        out.addfile(pipe)
    made = opened(with_candidates(whole.getvalue(), "/etc/nginx/conf.d", {CONF: b"new one"}))
    assert sorted(made.getnames()) == ["b.conf", "default.conf", "link.conf"]
    mine = made.getmember("default.conf")
    assert (mine.mode, mine.uid) == (0o640, 101)
    stream = made.extractfile(mine)
    assert stream is not None and stream.read() == b"new one"
    alone = opened(with_candidates(b"", "/etc/nginx/conf.d", {CONF: b"x"}))
    assert alone.getnames() == ["default.conf"]


def test_a_file_is_installed_as_it_is_mounted(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_bytes(b"a longer one")
    path.chmod(0o640)
    inode = path.stat().st_ino
    Site(None, CONF, str(path), True).install(b"short")  # type: ignore[arg-type]
    assert (path.read_bytes(), path.stat().st_ino) == (b"short", inode)
    Site(None, CONF, str(path), False).install(b"other")  # type: ignore[arg-type]
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"other", 0o640)
    assert path.stat().st_ino != inode
    # What a killed call left beside it is written over, a link in its place is not followed.
    (tmp_path / ".evenkeel-a.conf").symlink_to(tmp_path / "elsewhere")
    Site(None, CONF, str(path), False).install(b"again")  # type: ignore[arg-type]
    assert (path.read_bytes(), path.is_symlink(), len(list(tmp_path.iterdir()))) == (b"again", False, 1)
    (tmp_path / ".evenkeel-a.conf").write_bytes(b"half")
    Site(None, CONF, str(path), False).tidy()  # type: ignore[arg-type]
    Site(None, CONF, str(path), False).install(None)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_copies_that_killed_calls_left_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.tempfile, "gettempdir", lambda: str(tmp_path))
    young, old = tmp_path / f"evenkeel-twin-{int(time.time())}-a", tmp_path / "evenkeel-twin-1700000000-b"
    for folder in (young, old, tmp_path / "other"):
        folder.mkdir()
        (folder / "a.conf").write_bytes(b"x")
    site.sweep_temporary()
    assert sorted(p.name for p in tmp_path.iterdir()) == [young.name, "other"]


def test_what_is_remembered(tmp_path: Path) -> None:
    memory = Memory(str(tmp_path), "nginx", CONF)
    assert memory.pending() is None
    memory.begin({CONF: b"\xff old", "/added": None}, {CONF: b"new", "/added": b"too"})
    pending = memory.pending()
    assert pending is not None and pending.before == {CONF: b"\xff old", "/added": None}
    assert pending.knows({CONF: b"new", "/added": None}) and pending.knows({CONF: b"\xff old", "/added": b"too"})
    assert not pending.knows({CONF: b"x"}) and not pending.knows({CONF: None})
    memory.end()
    memory.end()
    assert memory.pending() is None
    paths = [memory.back_up(CONF, b"content %d" % n, 3) for n in range(5)]
    assert len(set(paths)) == 5
    left = sorted(Path(paths[0]).parent.iterdir())
    assert [p.read_bytes() for p in left] == [b"content 2", b"content 3", b"content 4"]
    assert {p.stat().st_mode & 0o777 for p in left} == {0o600}


def test_options_of_a_master() -> None:
    assert start_options("nginx: master process nginx -c /a/b.conf -g daemon off;") == ["-c", "/a/b.conf"]
    assert start_options("nginx: master process nginx -g daemon off;") == []
