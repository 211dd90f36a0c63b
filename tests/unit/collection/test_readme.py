# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder that the README tells users to make is enough: its commands find the server and its variables."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOKS = ("update", "hotfix", "rollback", "status")


def written(folder: Path) -> list[str]:
    """Make the files whose names stand before a block of the README; returns their names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^   `([\w./]+)`[^\n]*\n\n   ```\w+\n(.*?)^   ```", text, re.DOTALL | re.MULTILINE)
    for name, block in found:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line[3:]}\n" for line in block.splitlines()), encoding="utf-8")
    return [name for name, _block in found]


def ansible(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-playbook"), *words],
        cwd=folder,
        # As it is for somebody who has installed the collection.
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_folder_of_the_readme_finds_its_server_and_its_variables(tmp_path: Path) -> None:
    assert written(tmp_path) == ["ansible.cfg", "inventory.yml", "group_vars/travel.yml", "update.yml"]
    assert "shop.example.com" in ansible(tmp_path, "update.yml", "--list-hosts")
    (tmp_path / "show.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: {msg: '{{ app_name }} {{ app_health_url }}'}\n"
    )
    assert "travel https://shop.example.com/health/" in ansible(tmp_path, "show.yml")


@pytest.mark.parametrize("playbook", sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml")))
def test_each_playbook_is_a_command_that_the_readme_names(playbook: str) -> None:
    assert f"`evenkeel.deploy.{playbook}`" in (ROOT / "README.md").read_text(encoding="utf-8")
    (play,) = yaml.safe_load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"))
    # A plan is an update that ends before it touches anything.
    same = {"plan": {"role": "evenkeel.deploy.update", "update_only_plan": True}}
    assert play["roles"] == [same.get(playbook, {"role": f"evenkeel.deploy.{playbook}"})]
    assert play["gather_facts"] is False


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_the_demo_has_what_the_readme_names(playbook: str) -> None:
    assert f"`{playbook}.yml`" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "shop.example" in ansible(ROOT / "demo/deploy", f"{playbook}.yml", "--list-hosts")
