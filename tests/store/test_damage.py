"""Damaged state: what cannot be trusted is set aside and made again from the ledger, never silently reset."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from bandstand.bandit.profile import Profile
from bandstand.bandit.ridge import RidgeState
from bandstand.errors import ConfigurationError
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.learners.documents import DocumentError, Documents, parse
from bandstand.store.tables.policies import to_policy_ref
from tests.store.given import (
    CATALOGUE,
    QUICK,
    Subject,
    assert_same,
    copy_as_killed,
    documents_in,
    ledger_of,
    make_embedded,
)

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "first byte only": lambda text: text[:1],
    "first half": lambda text: text[: len(text) // 2],
    "last bytes missing": lambda text: text[:-3],
    "first byte missing": lambda text: text[1:],
    "second half only": lambda text: text[len(text) // 2 :],
    "twice": lambda text: text * 2,
    "zeros, as a power cut leaves them": lambda text: bytes(len(text)),
    "tail of zeros": lambda text: text[: len(text) // 2] + bytes(len(text) - len(text) // 2),
    "a bit of a number flipped": lambda text: text.replace(b'"pulls":3', b'"pulls":2'),
    "a number grown": lambda text: text.replace(b'"pulls":3', b'"pulls":33'),
    "the id changed": lambda text: text.replace(b'"anna"', b'"anne"'),
    "no checksum": lambda text: text[: text.index(b',"checksum"')] + b"}",
    "checksum of another text": lambda text: text.replace(b'"checksum":"', b'"checksum":"0'),
    "checksum null": lambda text: text[: text.index(b'"checksum"')] + b'"checksum":null}',
    "not UTF-8": lambda text: text.replace(b"anna", b"ann\xff"),
    "UTF-16": lambda text: text.decode().replace("anna", "anne").encode("utf-16"),
    "not a number": lambda text: text.replace(b'"pulls":3', b'"pulls":NaN'),
    "a huge number": lambda text: text.replace(b'"pulls":3', b'"pulls":1e999'),
    "a list": lambda _: b"[1,2,3]",
    "null": lambda _: b"null",
    "too deep": lambda _: b"[" * 200_000,
    "a picture": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
}


async def teach_and_close(subject: Subject, user_id: str) -> Profile:
    """A user with three decisions and two rewards, checkpointed; closes the store."""
    for _ in range(2):
        await subject.reward(await subject.decide(user_id), 0.5)
    await subject.decide(user_id)
    profile = await subject.store.load_profile(user_id)
    await subject.store.close()
    return profile


# ── documents ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_document_is_set_aside_and_made_again(tmp_path: Path, damage: str) -> None:
    subject = Subject(make_embedded(tmp_path))
    await subject.store.open()
    live = await teach_and_close(subject, "anna")
    (path,) = documents_in(tmp_path)
    intact = path.read_bytes()
    damaged = DAMAGES[damage](intact)
    assert damaged != intact
    path.write_bytes(damaged)

    await subject.reopen()
    assert_same(live, await subject.store.load_profile("anna"))
    assert subject.store.status().quarantined == 1
    (quarantined,) = (tmp_path / "quarantine").iterdir()
    assert quarantined.read_bytes() == damaged
    await subject.reopen()
    assert path.read_bytes() == intact
    assert_same(live, await subject.store.load_profile("anna"))
    assert subject.store.status().quarantined == 0
    await subject.store.close()


async def test_every_single_damaged_byte_is_noticed(tmp_path: Path) -> None:
    subject = Subject(make_embedded(tmp_path))
    await subject.store.open()
    live = await teach_and_close(subject, "anna")
    (path,) = documents_in(tmp_path)
    intact = path.read_bytes()
    random = Random(0)
    for position in range(len(intact)):
        flipped = intact[position] ^ (1 << random.randrange(8))
        for damaged in (
            intact[:position] + bytes([flipped]) + intact[position + 1 :],
            intact[:position] + intact[position + 1 :],
            intact[:position] + b"\0" + intact[position:],
            intact[:position],
        ):
            try:
                profile = parse(damaged)
            except DocumentError:
                continue
            assert_same(live, profile)  # white space was damaged, and nothing else
            assert json.loads(damaged) == json.loads(intact)


async def test_several_damages_are_all_kept(tmp_path: Path) -> None:
    subject = Subject(make_embedded(tmp_path))
    await subject.store.open()
    live = await teach_and_close(subject, "anna")
    (path,) = documents_in(tmp_path)
    for number in range(3):
        path.write_bytes(b"damage %d" % number)
        await subject.reopen()
        assert_same(live, await subject.store.load_profile("anna"))
        await subject.store.close()
    kept = {path.read_bytes() for path in (tmp_path / "quarantine").iterdir()}
    assert kept == {b"damage 0", b"damage 1", b"damage 2"}


async def test_another_users_document_is_not_believed(tmp_path: Path) -> None:
    subject = Subject(make_embedded(tmp_path))
    await subject.store.open()
    anna = await teach_and_close(subject, "anna")
    await subject.store.open()
    await subject.reward_legacy("berta")
    await subject.store.close()
    documents = Documents(tmp_path)
    shutil.copy(documents.path("anna"), documents.path("berta"))

    await subject.reopen()
    assert (await subject.state("berta")).reward_count == 1
    assert_same(anna, await subject.store.load_profile("anna"))
    assert subject.store.status().quarantined == 1
    await subject.store.close()


async def test_a_document_of_nobody_is_not_believed(tmp_path: Path) -> None:
    subject = Subject(make_embedded(tmp_path / "one"))
    await subject.store.open()
    await teach_and_close(subject, "anna")
    shutil.copytree(tmp_path / "one" / "users", tmp_path / "other" / "users")

    async with Subject(make_embedded(tmp_path / "other")) as stranger:
        assert (await stranger.store.load_profile("anna")).policies == {}
        assert stranger.store.status().quarantined == 1


async def test_sums_of_another_schema_s_shape_are_not_believed(tmp_path: Path) -> None:
    """Nothing could be scored or taught with them: the user would fail at every request."""
    subject = Subject(make_embedded(tmp_path))
    await subject.store.open()
    live = await teach_and_close(subject, "anna")
    x = subject.legacy("anna", policy="egreedy-v1").x
    assert x is not None
    documents, key = Documents(tmp_path), to_policy_ref(CATALOGUE.policies["linucb-v2"]).key
    profile = documents.read("anna")
    assert profile is not None
    profile.policies[key].ridge = RidgeState.empty(x.size).with_reward(x, 0.5)
    documents.write(profile)

    await subject.reopen()
    assert_same(live, await subject.store.load_profile("anna"))
    assert subject.store.status().quarantined == 1
    await subject.reward(await subject.decide("anna"), 0.5)
    assert (await subject.state("anna")).reward_count == 3
    await subject.store.close()


async def test_a_document_that_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    subject = Subject(make_embedded(tmp_path))
    await subject.store.open()
    live = await teach_and_close(subject, "anna")
    (path,) = documents_in(tmp_path)
    path.unlink()
    path.mkdir()
    await subject.reopen()
    assert_same(live, await subject.store.load_profile("anna"))
    await subject.store.close()


# ── the ledger ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("meanwhile", [False, True], ids=["at once", "after new events"])
async def test_a_document_newer_than_its_ledger_is_not_believed(tmp_path: Path, *, meanwhile: bool) -> None:
    state_dir, lost = tmp_path / "state", tmp_path / "lost"
    subject = Subject(make_embedded(state_dir))
    await subject.store.open()
    await subject.reward(await subject.decide("anna"), 0.5)
    await subject.store.close()
    shutil.copy(state_dir / "ledger.db", tmp_path / "early.db")
    await subject.reopen()
    await subject.reward_legacy("anna", 0.5)
    await subject.store.close()
    shutil.copytree(state_dir, lost)
    shutil.copy(tmp_path / "early.db", lost / "ledger.db")

    survivor = Subject(make_embedded(lost))
    survivor.clock.now += 60
    async with survivor:
        if meanwhile:
            for _ in range(5):
                await survivor.reward_legacy("berta", 0.5)
        state = await survivor.state("anna")
        assert (state.pulls, state.reward_count, state.cumulative_reward) == (1, 1, 0.5)
        assert survivor.store.status().quarantined == 1
        await survivor.reward_legacy("anna", 0.25)
        await survivor.reopen()
        assert (await survivor.state("anna")).reward_count == 2
        assert survivor.store.status().quarantined == 0


@pytest.mark.parametrize("checkpointed", [False, True], ids=["without documents", "with documents"])
async def test_a_truncated_write_ahead_log_keeps_a_prefix(tmp_path: Path, *, checkpointed: bool) -> None:
    users = ["anna", "berta", "carla"]
    subject = Subject(make_embedded(tmp_path / "state"))
    await subject.store.open()
    rewards = [(await subject.reward_legacy(users[number % 3], 0.5)).reward for number in range(60)]
    crashed = copy_as_killed(tmp_path / "state", tmp_path / "crashed")
    await subject.store.close()
    if checkpointed:
        shutil.copytree(tmp_path / "state" / "users", crashed / "users")
    wal = (crashed / "ledger.db-wal").read_bytes()
    random = Random(0)
    offsets = sorted({0, 1, 31, 32, 33, 56, len(wal) - 1, len(wal), *random.sample(range(len(wal)), 12)})

    survived = []
    for offset in offsets:
        state_dir = tmp_path / f"cut-{offset}"
        shutil.copytree(crashed, state_dir)
        (state_dir / "ledger.db-wal").write_bytes(wal[:offset])
        async with Subject(make_embedded(state_dir)) as survivor:
            with ledger_of(state_dir) as ledger:
                kept = [seq for (seq,) in ledger.execute("SELECT seq FROM rewards ORDER BY seq")]
            assert kept == [reward.seq for reward in rewards[: len(kept)]]
            counts = [(await survivor.state(user)).reward_count for user in users]
            assert counts == [len(kept[first::3]) for first in range(3)]
            assert (await survivor.reward_legacy("anna")).match == "new"
        survived.append(len(kept))
        shutil.rmtree(state_dir)
    assert survived == sorted(survived)
    assert (survived[0], survived[-1]) == (0, 60)
    assert len(set(survived)) > 5


async def test_a_crash_keeps_every_acknowledged_event(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        for round_ in range(5):
            for _ in range(10):
                await asyncio.gather(*(subject.reward_legacy("anna", 0.5) for _ in range(5)))
            crashed = copy_as_killed(tmp_path / "state", tmp_path / f"crashed-{round_}")
            async with Subject(make_embedded(crashed)) as survivor:
                assert (await survivor.state("anna")).reward_count == (round_ + 1) * 50


@pytest.mark.parametrize("name", ["ledger.db"])
@pytest.mark.parametrize("content", [b"not a database, but long enough to have a header" * 4, bytes(8192)])
async def test_a_ledger_that_is_none_ends_the_start_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ledger\.db"):
        await EmbeddedStore(tmp_path, CATALOGUE, options=QUICK).open()
    assert (tmp_path / name).read_bytes() == content
