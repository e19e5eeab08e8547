"""Users in memory: who is asked for in one turn of the loop is read together, and fails alone."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest

from bandstand.bandit.profile import Profile
from bandstand.errors import StorageUnavailableError
from bandstand.store.learners.documents import Documents
from bandstand.store.learners.user_cache import CachedUser, UserCache


class Disk:
    """Where users come from: everybody is there, but for those who cannot be read.

    Attributes:
        reads: whose reading was asked for, by call.
    """

    def __init__(self, *broken: str) -> None:
        self.reads: list[list[str]] = []
        self._broken = broken

    async def read(self, user_ids: Collection[str]) -> list[CachedUser]:
        self.reads.append(list(user_ids))
        await asyncio.sleep(0)
        if not set(self._broken).isdisjoint(user_ids):
            raise StorageUnavailableError("disk I/O error")
        return [CachedUser(Profile(user_id), 1, registered=True, changed=False) for user_id in user_ids]


def make_cache(disk: Disk, tmp_path: Path) -> UserCache:
    return UserCache(Documents(tmp_path), disk.read, max_users=1000, on_error=print)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 100])
async def test_who_is_asked_for_in_one_turn_is_read_together_and_once(tmp_path: Path, count: int) -> None:
    disk = Disk()
    cache = make_cache(disk, tmp_path)
    names = [f"user-{number}" for number in range(count)]
    users = await asyncio.gather(*map(cache.get_or_load, [*names, *names]))
    assert [user.profile.user_id for user in users] == [*names, *names]
    assert users[:count] == users[count:]
    assert [user_id for chunk in disk.reads for user_id in chunk] == names
    assert len(disk.reads) == -(-count // 16), "not one by one, and nobody waits for a hundred others"
    assert [await cache.get_or_load(user_id) for user_id in names] == users[:count]
    assert sum(map(len, disk.reads)) == count, "they are in memory now"


async def test_one_who_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    cache = make_cache(Disk("user-3"), tmp_path)
    found = await asyncio.gather(*(cache.get_or_load(f"user-{n}") for n in range(8)), return_exceptions=True)
    assert [n for n, user in enumerate(found) if isinstance(user, StorageUnavailableError)] == [3]
    assert [user.profile.user_id for user in found if isinstance(user, CachedUser)] == [
        f"user-{n}" for n in range(8) if n != 3
    ]
    assert len(cache) == 7


async def test_where_one_cannot_be_read_the_others_do_not_wait_for_each_other(tmp_path: Path) -> None:
    disk, held = Disk("user-0"), asyncio.Event()

    async def read(user_ids: Collection[str]) -> list[CachedUser]:
        if list(user_ids) == ["user-1"]:
            await held.wait()
        return await disk.read(user_ids)

    cache = UserCache(Documents(tmp_path), read, max_users=1000, on_error=print)
    asked = [asyncio.ensure_future(cache.get_or_load(f"user-{n}")) for n in range(4)]
    done, waiting = await asyncio.wait(asked, timeout=0.5)
    assert waiting == {asked[1]}
    assert isinstance(asked[0].exception(), StorageUnavailableError)
    held.set()
    assert (await asked[1]).profile.user_id == "user-1"
    assert done == {asked[0], asked[2], asked[3]}


async def test_whoever_leaves_while_users_are_read_takes_nobody_along(tmp_path: Path) -> None:
    cache = make_cache(Disk(), tmp_path)
    first, second = (asyncio.ensure_future(cache.get_or_load(name)) for name in ("anna", "berta"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).profile.user_id == "berta"
    assert first.cancelled()
    assert (await cache.get_or_load("anna")).profile.user_id == "anna"
