"""One process owns a state directory, and says so to the next."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError
from bandstand.store.sqlite.ownership import Ownership
from tests.store.given import Subject, make_embedded

HOLDER = """
import sys, pathlib
from bandstand.store.sqlite.ownership import Ownership
ownership = Ownership(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
NOBODY = 65_534


def test_a_second_owner_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = Ownership(tmp_path / "state")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="in use by another process"):
            Ownership(tmp_path / "state")
    other = Ownership(tmp_path / "other")
    first.release()
    Ownership(tmp_path / "state").release()
    other.release()


async def test_a_second_store_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.decide("anna")
        second = Subject(make_embedded(tmp_path))
        with pytest.raises(ConfigurationError, match="in use by another process"):
            await second.store.open()
        await subject.decide("anna")
        await subject.reopen()
        assert (await subject.state("anna")).pulls == 2


def test_the_lock_names_its_owner_for_people(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("123456789 and more from before\n")
    ownership = Ownership(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    ownership.release()


def test_a_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigurationError, match="in use by another process"):
            Ownership(tmp_path)
        holder.kill()
    Ownership(tmp_path).release()


def test_a_place_that_is_no_directory_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(ConfigurationError, match=re.escape(repr(str(place)))):
            Ownership(place)


@contextmanager
def drop_privileges() -> Iterator[None]:
    """Root may write anywhere: be nobody for a moment."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def allow(path: Path, mode: int) -> None:
    path.chmod(mode)


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A directory that anybody may enter and nobody may write to."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        (place / "state").mkdir()
        (place / "state").chmod(0o555)
        yield place / "state"
        (place / "state").chmod(0o755)


def test_a_read_only_directory_is_refused_in_words(read_only: Path) -> None:
    for place in (read_only, read_only / "deeper"):
        with drop_privileges(), pytest.raises(ConfigurationError, match=r"cannot be written: Permission denied"):
            Ownership(place)


async def test_a_store_does_not_start_on_a_read_only_directory(read_only: Path) -> None:
    with drop_privileges(), pytest.raises(ConfigurationError, match=r"name a writable directory"):
        await Subject(make_embedded(read_only)).store.open()


async def test_a_ledger_that_cannot_be_written_is_refused_in_words(read_only: Path) -> None:
    allow(read_only, 0o777)
    async with Subject(make_embedded(read_only)) as subject:
        await subject.decide("anna")
    allow(read_only / "lock", 0o666)
    allow(read_only / "ledger.db", 0o444)
    with drop_privileges(), pytest.raises(ConfigurationError, match=r"ledger\.db.* cannot be opened"):
        await subject.reopen()
    assert names_in(read_only) == {"lock", "users", "ledger.db"}
    allow(read_only / "ledger.db", 0o644)
    await subject.reopen()
    assert (await subject.state("anna")).pulls == 1
    await subject.store.close()
