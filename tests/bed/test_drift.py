# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand edits in a real container and a real release are found, noise is not, and nothing is left behind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.drift import patch_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.host.containers import Drifts, containers_of
from ansible_collections.evenkeel.deploy.plugins.module_utils.drift.host.trees import of_mounts, of_release
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host import overlay
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.container_files import Budget
from ansible_collections.evenkeel.deploy.plugins.module_utils.engine.host.engine import Engine
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.mounts import place
from ansible_collections.evenkeel.deploy.plugins.module_utils.releases.host.store import Store
from tests.bed.shop import LABEL, run

PROJECT = "evenkeel-drift"


@pytest.fixture
def container() -> Iterator[str]:
    labels = [f"{LABEL}={PROJECT}", f"com.docker.compose.project={PROJECT}", "com.docker.compose.service=web"]
    words = [word for label in labels for word in ("--label", label)]
    made = run(
        [
            "docker",
            "run",
            "--detach",
            *words,
            "--volume",
            "/etc/nginx/conf.d",
            "--volume",
            "/data",
            "evenkeel/nginx:1.26",
            "sleep",
            "600",
        ]
    ).strip()
    yield made
    run(["docker", "rm", "--force", "--volumes", made])


def inside(container: str, script: str) -> None:
    run(["docker", "exec", "-u", "0", container, "sh", "-c", script])


def test_what_was_changed_is_told_before_what_a_program_has_added(container: str) -> None:
    inside(container, "mkdir /aaa; for i in $(seq 250); do echo $i > /aaa/$i; done; echo x >> /etc/nginx/nginx.conf")
    engine = Engine()
    with Drifts(engine, PROJECT, Budget(files=100)) as drifts:
        (inspection,) = containers_of(engine, PROJECT)
        seen = drifts.of_each([inspection])[0]
    changes = {d.path: d.change for d in seen.differences}
    assert changes["/etc/nginx/nginx.conf"] == "changed" and len(changes) == 200 and seen.more == 51


def test_a_hand_edit_in_a_container_is_found(container: str) -> None:
    engine = Engine()
    with Drifts(engine, PROJECT) as drifts:
        (inspection,) = containers_of(engine, PROJECT)
        assert drifts.of_each([inspection])[0].differences == ()
    inside(container, "sleep 16; echo '# by hand' >> /etc/nginx/nginx.conf; chmod 600 /etc/nginx/mime.types")
    inside(container, "echo new > /opt/new.txt; ln -s new.txt /opt/link; mkdir -p /opt/empty; touch /etc/passwd")
    inside(container, "rm -r /etc/skel; rm -f /etc/os-release; echo x > /run/x.pid; mkfifo /opt/pipe; echo y > /data/y")
    inside(
        container,
        "head -c 9000000 /dev/zero > /opt/big; echo z > /tmp/z; mkdir /opt/__pycache__; echo c > /opt/__pycache__/c.pyc",
    )
    with Drifts(engine, PROJECT) as drifts:
        seen = drifts.of_each([inspection])[0]
        found = {d.path: d for d in seen.differences}
        assert {p: d.change for p, d in found.items() if not p.startswith("/etc/skel")} == {
            "/etc/nginx/nginx.conf": "changed", "/etc/nginx/mime.types": "changed", "/opt/new.txt": "added",
            "/opt/link": "added", "/etc/os-release": "removed", "/opt/big": "unread",
        }  # fmt: skip
        assert all(d.change == "removed" for p, d in found.items() if p.startswith("/etc/skel/"))
        assert not any(d.at_start for d in found.values())
        contents = {d.path: (old, new) for d, old, new in drifts.edits(inspection, seen) if d.change != "unread"}
    old, new = contents["/etc/nginx/nginx.conf"]
    assert old is not None and new == old + b"# by hand\n" and "+# by hand\n" in patch_of("nginx.conf", old, new)
    # Where too much would have to be read, that is said instead.
    with Drifts(engine, PROJECT, Budget(files=0)) as drifts:
        assert {d.change for d in drifts.of_each([inspection])[0].differences} == {"unread"}
    assert run(["docker", "ps", "--all", "--quiet", "--filter", "label=evenkeel.reader"]).split() == []


def test_what_a_volume_hides_of_its_image_is_found(container: str) -> None:
    engine = Engine()
    (inspection,) = containers_of(engine, PROJECT)
    with Drifts(engine, PROJECT) as drifts:
        assert drifts.of_volumes(inspection) == []
        inside(container, "echo '# by hand' >> /etc/nginx/conf.d/default.conf; echo x > /etc/nginx/conf.d/more.conf")
        inside(container, "echo data > /data/rows")
        (volume,) = drifts.of_volumes(inspection)
    assert volume.where == "/etc/nginx/conf.d"
    assert [(d.path, d.change) for d in volume.differences] == [("/etc/nginx/conf.d/default.conf", "changed")]
    assert run(["docker", "ps", "--all", "--quiet", "--filter", "label=evenkeel.reader"]).split() == []


#: What is done to a layer, one after the other, and what only the engine judges.
ACTS = (
    "mkdir -p /d/e && echo x > /d/e/f",
    "echo x >> /etc/passwd",
    "rm /etc/group",
    "rm -r /usr/share/doc",
    "chmod 600 /etc/fstab && chmod 700 /home",
    "mv /etc/profile /etc/profile2 && mv /usr/share/perl5 /usr/share/perl6",
    "ln -s /etc/passwd /link && ln /etc/shadow /hard && echo x >> /etc/shadow",
    "mkfifo /pipe; printf x > '/two\nlines'; printf x > \"/$(printf '\\377')\"",
    "rm -r /d && touch /d",
)
RARE = (
    "rm -r /srv && mkdir /srv",
    "rm -r /etc/skel && touch /etc/skel",
    "rm /etc/issue && mkdir /etc/issue",
    "mv /usr/share/perl5 /p && mv /p /usr/share/perl5",
)


def told_by(container: str, engine: Engine) -> tuple[dict[str, str] | None, dict[str, str]]:
    """What the layer says of itself, and what the engine says, without folders that both have."""
    kinds = ("changed", "added", "removed")
    asked = {entry["Path"]: kinds[entry["Kind"]] for entry in engine.api.diff(container) or []}
    script = 'for p in "$@"; do [ -d "$p" ] && [ ! -L "$p" ] && printf "%s\\0" "$p"; done; true'
    changed = [path for path, kind in asked.items() if kind == "changed"]
    folders = run(["docker", "exec", container, "sh", "-c", script, "sh", *changed]).split("\0")
    return overlay.changed_paths(engine.inspect(container)["GraphDriver"]), {
        path: kind for path, kind in asked.items() if path not in folders
    }


def test_a_layer_tells_what_the_engine_tells(container: str) -> None:
    engine = Engine()
    for act in ("true", *ACTS):
        inside(container, act)
        mine, asked = told_by(container, engine)
        assert mine == asked, act


@pytest.mark.parametrize("act", RARE)
def test_what_is_rare_in_a_layer_is_left_to_the_engine(container: str, act: str) -> None:
    inside(container, act)
    engine = Engine()
    assert told_by(container, engine)[0] is None
    assert engine.changed_paths(container)


def test_a_hand_edit_in_a_release_and_in_what_is_mounted_out_of_it_is_found(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "srv"
    (source / "code").mkdir(parents=True)
    (root / "shared").mkdir(parents=True)
    for name in ("code/a.py", "code/b.py", "README"):
        (source / name).write_text(f"{name}\r\n")
    (source / ".gitattributes").write_text("*.py text eol=crlf\n")
    (root / "shared/.env").write_text("A=1\n")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(source)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    run(["git", "clone", "-q", "--mirror", str(source), str(root / "mirror.git")])
    commit = run([*git, "rev-parse", "HEAD"]).strip()
    store = Store(str(root))
    store.make_folders()
    from ansible_collections.evenkeel.deploy.plugins.module_utils.git.host.git import Git

    mirror = Git(str(root / "mirror.git"))
    release = store.create(lambda target: mirror.export(commit, target), commit, "v1", [".env"])
    tree = root / "releases" / release
    copy, _made = place(str(tree / "code"), str(root / "mounts"), str(tree))
    (tree / "compose.yaml").write_text(json.dumps({"x": copy}))
    mounts = [{"Mounts": [{"Type": "bind", "Source": copy}]}]
    assert of_release(store, release).differences == () and of_release(store, release).unseen == ""
    assert of_mounts(store, mounts, Budget()) == []
    (Path(copy) / "b.py").write_text("by hand\n")
    (Path(copy) / "c.py").write_text("new\n")
    (mounted,) = of_mounts(store, mounts, Budget())
    assert {d.path: d.change for d in mounted.differences} == {"b.py": "changed", "c.py": "added"}
    (tree / "code/a.py").unlink()
    (tree / "README").write_text("by hand\n")
    (tree / "new\n.py").write_text("")
    seen = of_release(store, release)
    assert {d.path: d.change for d in seen.differences} == {
        "code/a.py": "removed",
        "README": "changed",
        "new\n.py": "added",
    }
    # What it was made of is gone as well: it is not what it was, and more cannot be said.
    (mounted,) = of_mounts(store, mounts, Budget())
    assert mounted.differences == () and "no release holds" in mounted.unseen
