# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written to a control group, and what is left alone; the kernel's own files stand in a folder."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ansible_collections.evenkeel.deploy.plugins.module_utils.base.host import processor_share

FILES = ((False, "cpu.shares", "1024", "102"), (True, "cpu.weight", "100", "10"))


@pytest.fixture(params=FILES, ids=["first", "second"])
def group(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str, str]:
    second, name, usual, low = request.param
    monkeypatch.setattr(processor_share, "control_group", lambda _pid, _controller: (str(tmp_path), second))
    (tmp_path / name).write_text(f"{usual}\n")
    return tmp_path / name, usual, low


def test_it_is_lowered_once_and_as_before_again(group: tuple[Path, str, str]) -> None:
    file, usual, low = group
    for _time in range(2):
        processor_share.lower(7)
        assert file.read_text() == low
    for _time in range(2):
        processor_share.restore(7)
        assert file.read_text() == usual


def test_a_share_of_its_own_is_left_alone(group: tuple[Path, str, str]) -> None:
    file, _usual, _low = group
    for act in (processor_share.lower, processor_share.restore):
        file.write_text("512\n")
        act(7)
        assert file.read_text() == "512\n"


def test_one_that_has_ended_or_may_not_be_written_is_no_failure(group: tuple[Path, str, str]) -> None:
    file, usual, _low = group
    processor_share.lower(0)
    assert file.read_text().strip() == usual
    file.unlink()
    processor_share.lower(7)
    assert not file.exists()


@pytest.mark.parametrize("second, name, usual, low", FILES, ids=["first", "second"])
def test_one_that_is_started_has_a_tenth_as_soon_as_it_has_a_group(
    second: bool, name: str, usual: str, low: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor_share, "control_group", lambda _pid, _controller: (f"{tmp_path}/docker-abc", second))
    with processor_share.lowered_at_start("def", "abc", 7):
        (tmp_path / "docker-def").mkdir()
        file = tmp_path / "docker-def" / name
        file.write_text(f"{usual}\n")
        deadline = time.monotonic() + 10
        while file.read_text() != low and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.read_text() == low


def test_one_whose_group_cannot_be_told_is_started_as_ever(
    group: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, usual, _low = group
    with processor_share.lowered_at_start("def", "abc", 7):
        time.sleep(0.1)
    assert file.read_text().strip() == usual


@pytest.mark.parametrize(
    "second, hurried, path, share",
    [
        (False, False, "cpu/evenkeel/cpu.shares", "102"),
        (False, True, "cpu/evenkeel-hurried/cpu.shares", "256"),
        (True, False, "evenkeel/cpu.weight", "10"),
        (True, True, "evenkeel-hurried/cpu.weight", "25"),
    ],
)
def test_what_serves_nobody_has_a_group_of_its_own(
    tmp_path: Path, second: bool, hurried: bool, path: str, share: str
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    # The kernel makes it with the group.
    file.write_text("100\n")
    for _time in range(2):
        processor_share.step_back(hurried, str(tmp_path))
        assert file.read_text() == share and (file.parent / "cgroup.procs").read_text() == "0"


def test_another_process_is_moved_there_and_back(group: tuple[Path, str, str], tmp_path: Path) -> None:
    file, _usual, _low = group
    folder = tmp_path / "evenkeel"
    folder.mkdir()
    (folder / "cpu.weight").write_text("100\n")
    left = processor_share.step_back(False, str(tmp_path), pid=7)
    assert left == str(file.parent) and (folder / "cgroup.procs").read_text() == "7"
    processor_share.step_forward(left, 7)
    assert (file.parent / "cgroup.procs").read_text() == "7"


@pytest.mark.parametrize("hurried", [True, False])
def test_where_groups_share_no_processors_none_is_left(tmp_path: Path, hurried: bool) -> None:
    processor_share.step_back(hurried, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_where_no_group_can_be_made_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/evenkeel").touch()
    processor_share.step_back(False, str(tmp_path))
    assert (tmp_path / "cpu/evenkeel").is_file()


ENGINES = ((False, "cpu.shares", "1024", "103", "257"), (True, "cpu.weight", "100", "11", "26"))


@pytest.fixture(params=ENGINES, ids=["first", "second"])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[Path], str, str, str]:
    """The files of both units, what the kernel gives, a tenth and a quarter."""
    second, name, usual, low, hurried = request.param
    slices = tmp_path / ("" if second else "cpu") / "system.slice"
    files = [slices / unit / name for unit in ("docker.service", "containerd.service")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text(f"{usual}\n")
    return files, usual, low, hurried


Units = tuple[list[Path], str, str, str]


def test_the_engine_has_a_tenth_a_quarter_where_users_wait_and_as_before_again(units: Units, tmp_path: Path) -> None:
    files, usual, low, hurried = units
    lower, hurry, restore = processor_share.lower_engine, processor_share.hurry, processor_share.restore_engine
    # The next module of a hurried operation lowers nothing.
    for act, text in (
        (lower, low),
        (hurry, hurried),
        (lower, hurried),
        (restore, usual),
        (lower, low),
        (restore, usual),
    ):
        for _time in range(2):
            act(str(tmp_path))
            assert [file.read_text().strip() for file in files] == [text, text]


def test_who_hurries_where_the_engine_was_not_lowered_leaves_it_as_it_is(units: Units, tmp_path: Path) -> None:
    files, usual, _low, _hurried = units
    processor_share.hurry(str(tmp_path))
    assert [file.read_text().strip() for file in files] == [usual, usual]


def test_it_says_whether_the_engine_had_less(units: Units, tmp_path: Path) -> None:
    processor_share.lower_engine(str(tmp_path))
    assert processor_share.restore_engine(str(tmp_path))
    assert not processor_share.restore_engine(str(tmp_path))


@pytest.mark.parametrize("theirs", ["25", "10", "512"])
def test_what_an_administrator_gave_the_engine_stays(units: Units, tmp_path: Path, theirs: str) -> None:
    files, usual, low, _hurried = units
    files[0].write_text(theirs)
    processor_share.lower_engine(str(tmp_path))
    assert [file.read_text() for file in files] == [theirs, low]
    processor_share.restore_engine(str(tmp_path))
    assert [file.read_text() for file in files] == [theirs, usual]


def test_an_engine_with_its_containers_below_it_keeps_its_share(units: Units, tmp_path: Path) -> None:
    files, usual, low, _hurried = units
    (files[0].parent / "0123abcd").mkdir()
    processor_share.lower_engine(str(tmp_path))
    assert [file.read_text().strip() for file in files] == [usual, low]


def test_an_engine_that_is_no_unit_of_systemd_is_left_alone(tmp_path: Path) -> None:
    for act in (processor_share.lower_engine, processor_share.restore_engine):
        act(str(tmp_path))
    assert not list(tmp_path.iterdir())
