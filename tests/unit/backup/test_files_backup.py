# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads and environment files in archives: whole, or not there at all; and put back without touching what is newer."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host import age, vault
from ansible_collections.evenkeel.deploy.plugins.module_utils.backup.host import files_backup as subject
from ansible_collections.evenkeel.deploy.plugins.module_utils.base.errors import BadInput
from ansible_collections.evenkeel.deploy.plugins.module_utils.calls import files_backup

KEY = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


class App:
    def __init__(self, folder: Path) -> None:
        self.media, self.dest = folder / "media", folder / "backups"
        (self.media / "2026/ü ber").mkdir(parents=True)
        (self.media / "2026/ü ber/a\nb.jpg").write_bytes(os.urandom(70_000))
        (self.media / "empty").write_bytes(b"")
        (self.media / "link").symlink_to("2026")
        os.mkfifo(self.media / "pipe")

    def __call__(self, check: bool = False, **more: Any) -> dict[str, Any]:
        given = {
            "name": "media", "path": str(self.media), "dest": str(self.dest), "state": "present", "keep": 7, "min_free": "0",
            "encrypt_to": [], "replace": False, **more,
        }  # fmt: skip
        return files_backup.call(given, check)

    def refused(self, **more: Any) -> str:
        before = self.files()
        with pytest.raises(BadInput) as caught:
            self(**more)
        assert self.files() == before
        return caught.value.message()

    def files(self) -> list[str]:
        return sorted(p.name for p in self.dest.glob("[!.]*")) if self.dest.exists() else []


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App(tmp_path)


def test_what_is_backed_up_is_put_back_and_what_is_newer_stays(app: App) -> None:
    assert app(check=True)["changed"] and not app.dest.exists()
    made = app()
    assert made["files"] == 2 and "1 are no files and were left out: pipe" in made["msg"], made["msg"]
    path = Path(made["backup"]["path"])
    assert {p.stat().st_mode & 0o777 for p in app.dest.iterdir() if p.is_file() and p.name != ".lock"} == {0o600}
    assert json.loads(Path(f"{path}.json").read_text())["proven"] == "read"
    again = {"state": "restored", "backup": path.name}
    assert not app(**again)["changed"]

    content = (app.media / "2026/ü ber/a\nb.jpg").read_bytes()
    shutil.rmtree(app.media / "2026")
    (app.media / "empty").write_bytes(b"newer")
    (app.media / "more").write_bytes(b"more")
    foreseen = app(check=True, **again)
    assert foreseen["changed"] and not (app.media / "2026").exists()
    done = app(**again)
    assert done["changed"] and done["differing"] == ["empty"], done
    assert (app.media / "2026/ü ber/a\nb.jpg").read_bytes() == content
    assert (app.media / "empty").read_bytes() == b"newer" and (app.media / "more").exists()
    assert not app(**again)["changed"]
    assert app(replace=True, **again)["changed"] and (app.media / "empty").read_bytes() == b""
    assert not app(replace=True, **again)["changed"]
    assert list(app.media.rglob(".evenkeel-*")) == []


def test_an_environment_file_is_one_file(app: App, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("SECRET=never-told-1")
    env.chmod(0o600)
    made = app(name="env", path=str(env))
    assert "never-told-1" not in json.dumps(made) and made["files"] == 1
    env.unlink()
    given = {"name": "env", "path": str(env), "state": "restored", "backup": Path(made["backup"]["path"]).name}
    assert app(**given)["changed"] and env.read_text() == "SECRET=never-told-1" and env.stat().st_mode & 0o777 == 0o600
    assert not app(**given)["changed"]
    # Each kind is kept for itself.
    app(keep=1)
    assert app(name="env", path=str(env), keep=1)["removed"] == [Path(made["backup"]["path"]).name]


def test_a_file_that_changes_or_vanishes_while_it_is_read_is_named(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    big = app.media / "big"
    big.write_bytes(b"x" * 3_000_000)
    read = subject.ExactSize.read

    def shrinking(self: Any, size: int) -> bytes:
        if self.left >= 3_000_000:
            os.truncate(big, 1_000_000)
        (app.media / "empty").unlink(missing_ok=True)
        return read(self, size)

    monkeypatch.setattr(subject.ExactSize, "read", shrinking)
    made = app()
    assert "big" in made["files_changed"] and "vanished meanwhile: empty" in made["msg"], made["msg"]
    with tarfile.open(made["backup"]["path"]) as archive:
        assert archive.getmember("big").size == 3_000_000


def test_what_cannot_be_is_refused_by_name_and_leaves_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is not there" in app.refused(path="/nowhere/at/all")
    assert "absolute" in app.refused(path="relative")
    assert "is none" in app.refused(name="../x")
    assert "is a link" in app.refused(path=str(app.media / "link"))
    assert "MiB are to be left" in app.refused(min_free="900T")
    assert "no public key of age" in app.refused(encrypt_to=["-rf"])
    monkeypatch.setattr(age.shutil, "which", lambda _name: None)
    assert "age is not installed" in app.refused(encrypt_to=[KEY])
    assert "two ways" in app.refused(encrypt_to=[KEY], vault_password="x")
    monkeypatch.setattr(vault, "HAS_CRYPTOGRAPHY", False)
    assert "install the package python3-cryptography" in app.refused(vault_password="x")
    assert "which is backed up" in app.refused(dest=str(app.media / "backups"))
    name = Path(app()["backup"]["path"]).name
    given = {"state": "restored", "backup": name}
    assert "no backup of" in app.refused(state="restored", backup="media-20200101T000000Z.tar")
    assert "no backup of" in app.refused(name="other", **given)
    whole = (app.dest / name).read_bytes()
    (app.dest / name).write_bytes(whole[:-10_000])
    assert "is truncated" in app.refused(**given)
    (app.dest / name).write_bytes(whole[:600] + b"\xff" + whole[601:])
    assert "is corrupted" in app.refused(**given)


def test_nothing_is_written_through_a_link_that_came_later(app: App, tmp_path: Path) -> None:
    name = Path(app()["backup"]["path"]).name
    shutil.rmtree(app.media / "2026")
    (app.media / "2026").symlink_to(tmp_path)
    with pytest.raises(BadInput, match="is a link by now"):
        app(state="restored", backup=name)
    assert not (tmp_path / "ü ber").exists()


def test_what_is_encrypted_is_read_by_its_key_alone(app: App, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True)
    public = next(line.split()[-1] for line in key.read_text().splitlines() if "public key" in line)
    made = app(encrypt_to=[public])
    path = Path(made["backup"]["path"])
    assert path.name.endswith(".tar.age") and path.read_bytes().startswith(b"age-encryption.org/v1")
    plain = subprocess.run(["age", "-d", "-i", str(key), str(path)], check=True, capture_output=True).stdout
    (tmp_path / "plain.tar").write_bytes(plain)
    with tarfile.open(tmp_path / "plain.tar") as archive:
        assert "2026/ü ber/a\nb.jpg" in archive.getnames()
    assert "is encrypted" in app.refused(state="restored", backup=path.name)


def test_what_is_small_is_read_by_ansible_vault(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = tmp_path / ".env"
    env.write_text("SECRET_KEY=never-told-9981\n")
    made = app(name="env", path=str(env), vault_password="never-told-3310\n")
    path = Path(made["backup"]["path"])
    assert path.name.endswith(".tar.vault") and path.stat().st_mode & 0o777 == 0o600
    manifest = json.loads(Path(f"{path}.json").read_text())
    assert manifest["encrypted"] and manifest["proven"] == "read" and b"9981" not in path.read_bytes()
    assert "never-told" not in json.dumps([made, manifest])
    plain = VaultLib([("default", VaultSecret(b"never-told-3310"))]).decrypt(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        found = archive.extractfile(".env")
        assert found is not None and found.read() == env.read_bytes()
    given = {"name": "env", "path": str(env), "vault_password": "x"}
    assert "ansible-vault decrypt" in app.refused(state="restored", backup=path.name, **given)
    # Its place in retention is that of any other.
    assert app(**given, keep=1)["removed"] == [path.name]
    monkeypatch.setattr(vault, "MOST", 1000)
    assert "too much for Ansible Vault" in app.refused(**given)


def test_what_was_sealed_is_opened_by_its_password_alone() -> None:
    for data in (b"", b"x" * 15, b"x" * 16, os.urandom(5000)):
        assert vault.opened(vault.sealed(data, "one"), "one") == data
    with pytest.raises(ValueError, match="not what was written"):
        vault.opened(vault.sealed(b"x", "one"), "two")


# -- an app that writes to its uploads is not to be trusted ------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the server's own, with a file of the name that one of the uploads has."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/shadow").write_text("root's own")
    return tmp_path / "etc"


def exchange(app: App, victim: Path) -> None:
    """What the app does in the middle: a folder of the uploads is elsewhere, and a link has its name."""
    if not (app.media / "2026").is_symlink():
        (app.media / "2026").rename(app.media / "away")
        (app.media / "2026").symlink_to(victim)


def test_a_folder_that_is_exchanged_while_it_is_read_is_not_followed(
    app: App, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app.media / "2026/shadow").write_text("an upload")
    listdir, seen = os.listdir, []

    def listed(path: Any = ".") -> list[str]:
        names = listdir(path)
        if "shadow" in names:
            seen.append(names)
            if len(seen) == 2:
                # The first look was for the size of it all.
                exchange(app, victim)
        return names

    monkeypatch.setattr(os, "listdir", listed)
    made = app()
    assert len(seen) == 2
    with tarfile.open(made["backup"]["path"]) as archive:
        file = archive.extractfile("2026/shadow")
        assert file and file.read() == b"an upload"


def test_a_folder_that_is_exchanged_while_it_is_restored_is_not_written_through(
    app: App, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app.media / "2026/shadow").write_text("an upload")
    made = app()
    (app.media / "2026/shadow").unlink()
    token, drawn = subject.put_back.__globals__["secrets"].token_hex, []

    def exchanged(size: int) -> str:
        # The name of a temporary file is drawn right before it is made; the names of records have another length.
        if size == 8:
            exchange(app, victim)
            drawn.append(size)
        return str(token(size))

    monkeypatch.setattr("secrets.token_hex", exchanged)
    with contextlib.suppress(BadInput):
        app(state="restored", backup=Path(made["backup"]["path"]).name)
    assert drawn
    assert [p.name for p in victim.iterdir()] == ["shadow"] and (victim / "shadow").read_text() == "root's own"


def test_a_link_in_the_place_of_the_uploads_is_not_written_through(app: App, victim: Path) -> None:
    (app.media / "passwd").write_text("an upload")
    made = app()
    shutil.rmtree(app.media)
    app.media.symlink_to(victim)
    said = app.refused(state="restored", backup=Path(made["backup"]["path"]).name)
    assert "is a link by now" in said
    assert [p.name for p in victim.iterdir()] == ["shadow"]


def test_a_pipe_in_the_place_of_an_upload_is_not_waited_for(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    file = app.media / "2026/x"
    file.write_text("an upload")
    made = app()
    file.unlink()
    os.mkfifo(file)
    done = app(state="restored", backup=Path(made["backup"]["path"]).name, replace=True)
    assert done["changed"] and file.read_text() == "an upload"
