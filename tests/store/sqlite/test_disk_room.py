"""Whether a disk takes more: by the kernel's count, and after a refusal by trying."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from bandstand.store.sqlite.disk_room import DiskRoom


def set_free_bytes(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))


def refuse(number: int) -> Callable[..., object]:
    def open_nothing(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return open_nothing


def test_there_is_room_and_nothing_is_left_behind(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path)
    assert not room.is_full()
    room.was_full = True
    assert not room.is_full(), "there is room again"
    assert list(tmp_path.iterdir()) == []


def test_no_free_block_is_full_before_anything_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = DiskRoom(tmp_path)
    set_free_bytes(monkeypatch, 16_384)
    assert room.is_full()
    set_free_bytes(monkeypatch, 10_000_000)
    assert not room.is_full()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_after_a_refusal_only_writing_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    room = DiskRoom(tmp_path)
    monkeypatch.setattr(Path, "open", refuse(number))
    assert not room.is_full()
    room.was_full = True
    assert room.is_full()
    room.was_full = False
    assert not room.is_full()


def test_a_disk_that_answers_with_another_error_is_not_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = DiskRoom(tmp_path)
    room.was_full = True
    monkeypatch.setattr(Path, "open", refuse(errno.EIO))
    assert not room.is_full()
