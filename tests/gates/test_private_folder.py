"""Copies that nobody else can reach: A5 (swap between check and act) and A15 (limits) at the gate."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from placet.core.errors import IndeterminateError, PolicyError, Reason, visible
from placet.gates import private_folder
from placet.gates.private_folder import open_private_folder

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "app.whl").write_bytes(b"approved")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runs"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(source: Path, folders: Path, name: str) -> Reason:
    with open_private_folder(folders) as folder:
        with pytest.raises(PolicyError) as caught:
            folder.copy_input(source, name)
        assert not any(folder.work.rglob("*.whl"))
    assert visible(name) in str(caught.value)
    return caught.value.reason


def test_copies_are_private_and_removed_afterwards(source: Path, folders: Path) -> None:
    with open_private_folder(folders) as folder:
        copy = folder.copy_input(source, "app.whl")
        program = folder.copy_program("/usr/bin/env")
        assert (mode(folder.path), mode(folder.work), mode(folders)) == (0o700, 0o700, 0o700)
        assert (mode(copy.path), mode(program.path)) == (0o400, 0o500)
        assert copy.digest == hashlib.sha256(b"approved").hexdigest()
        assert program.digest == hashlib.sha256(Path("/usr/bin/env").read_bytes()).hexdigest()
    assert list(folders.iterdir()) == []


def test_nested_input_keeps_its_name(source: Path, folders: Path) -> None:
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "c.whl").write_bytes(b"deep")
    with open_private_folder(folders) as folder:
        copy = folder.copy_input(source, "a/b/c.whl")
        assert copy.path == folder.work / "a" / "b" / "c.whl"
        assert (copy.path.read_bytes(), mode(copy.path.parent)) == (b"deep", 0o700)


def test_a5_file_swapped_after_copying_does_not_reach_the_copy(source: Path, folders: Path) -> None:
    with open_private_folder(folders) as folder:
        copy = folder.copy_input(source, "app.whl")
        (source / "app.whl").write_bytes(b"tampered")
        assert copy.path.read_bytes() == b"approved"
        assert copy.path.stat().st_nlink == 1


def test_a5_file_growing_while_it_is_copied_is_hashed_as_copied(
    source: Path, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_folder, "_CHUNK_BYTES", 4)
    read = os.read

    def read_and_tamper(file: int, size: int) -> bytes:
        chunk = read(file, size)
        if chunk == b"appr":
            (source / "app.whl").write_bytes(b"apprTAMPERED")
        return chunk

    monkeypatch.setattr(os, "read", read_and_tamper)
    with open_private_folder(folders) as folder:
        copy = folder.copy_input(source, "app.whl")
        assert copy.path.read_bytes() == b"apprTAMPERED"
        assert copy.digest == hashlib.sha256(b"apprTAMPERED").hexdigest()


def test_a5_symbolic_links_are_refused(source: Path, folders: Path) -> None:
    (source / "link.whl").symlink_to(source / "app.whl")
    (source / "real").mkdir()
    (source / "real" / "app.whl").write_bytes(b"approved")
    (source / "folder").symlink_to(source / "real")
    assert refusal(source, folders, "link.whl") == Reason.EXECUTION_MISMATCH
    assert refusal(source, folders, "folder/app.whl") == Reason.EXECUTION_MISMATCH


def test_linked_program_is_refused(source: Path, folders: Path) -> None:
    (source / "env").symlink_to("/usr/bin/env")
    with open_private_folder(folders) as folder, pytest.raises(PolicyError) as caught:
        folder.copy_program(str(source / "env"))
    assert caught.value.reason == Reason.EXECUTION_MISMATCH


@pytest.mark.parametrize(
    "name", ["../app.whl", "/etc/passwd.whl", "a/../app.whl", "./app.whl", "a//b.whl", "a\0.whl"]
)
def test_a15_path_that_leaves_the_folder_is_refused(source: Path, folders: Path, name: str) -> None:
    assert refusal(source, folders, name) == Reason.EXECUTION_MISMATCH


def test_missing_file_folder_pipe_and_socket_are_refused(source: Path, folders: Path) -> None:
    (source / "folder.whl").mkdir()
    os.mkfifo(source / "pipe.whl")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket.whl"))
        for name in ("missing.whl", "folder.whl", "pipe.whl", "socket.whl"):
            assert refusal(source, folders, name) == Reason.EXECUTION_MISMATCH


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_TOTAL_BYTES"])
def test_a15_too_large_is_refused(
    source: Path, folders: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    (source / "b.whl").write_bytes(b"12345")
    monkeypatch.setattr(private_folder, limit, 8)
    with open_private_folder(folders) as folder:
        folder.copy_input(source, "app.whl")
        if limit == "MAX_FILE_BYTES":
            (source / "b.whl").write_bytes(b"123456789")
        with pytest.raises(PolicyError) as caught:
            folder.copy_input(source, "b.whl")
    assert caught.value.reason == Reason.TOO_LARGE


def test_folder_that_cannot_be_made_is_undecided(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(IndeterminateError, match="private folder"),
        open_private_folder(tmp_path / "file" / "runs"),
    ):
        pass


def _copy_and_die(source: Path, folders: Path, group: int) -> None:
    with open_private_folder(folders) as folder:
        folder.copy_input(source, "app.whl")
        if group:
            folder.group_file.write_text(str(group))
        os.kill(os.getpid(), signal.SIGKILL)


def _kill_a_run(source: Path, folders: Path, group: int = 0) -> Path:
    run = FORK.Process(target=_copy_and_die, args=(source, folders, group))
    run.start()
    run.join()
    assert run.exitcode == -signal.SIGKILL
    (left,) = folders.iterdir()
    return left


def test_folder_of_a_killed_run_is_removed_at_the_next_start(source: Path, folders: Path) -> None:
    left = _kill_a_run(source, folders)
    with open_private_folder(folders):
        assert not left.exists()


def test_folder_of_a_killed_run_stays_while_its_command_runs(source: Path, folders: Path) -> None:
    with subprocess.Popen(["sleep", "60"], process_group=0) as command:
        try:
            left = _kill_a_run(source, folders, group=command.pid)
            with open_private_folder(folders):
                assert (left / "work" / "app.whl").exists()
        finally:
            command.kill()
    with open_private_folder(folders):
        assert not left.exists()


def test_folder_of_a_living_run_stays(source: Path, folders: Path) -> None:
    with open_private_folder(folders) as first, open_private_folder(folders) as second:
        assert first.path.exists()
        assert second.path.exists()
