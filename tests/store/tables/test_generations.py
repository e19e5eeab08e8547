"""Generation → tip → decision → reward: who is credited, what is forgotten, what stays."""

import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from bandstand.bandit.arms import RewardSums
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.ids import DecisionIds
from bandstand.store.records import Decision, Erasure
from bandstand.store.sqlite.schema import SCHEMA_VERSION
from bandstand.store.tables.generations import LoggedGeneration, PromptRef, PromptTotals, TipOrigin
from tests.store.given import (
    DAY,
    NOON,
    MakeStore,
    Subject,
    documents_in,
    hash_body,
    ledger_of,
    load_shipped,
    make_embedded,
)
from tests.store.test_contract import memory, on_disk

V1 = PromptRef("generate", "v1", "1" * 64)
V2 = PromptRef("generate", "v2-mentor", "2" * 64)
TEMPLATE = PromptRef("generate", "template", "")

_IDS = DecisionIds()


def begin_generation(
    subject: Subject, user_id: str, prompt: PromptRef = V1, *tips: str, **changed: Any
) -> LoggedGeneration:
    """A generation that begins now."""
    seq = subject.store.next_seq(subject.clock())
    values: dict[str, Any] = {
        "generation_id": _IDS.next(seq),
        "seq": seq,
        "user_id": user_id,
        "client": "tests",
        "ts": subject.clock(),
        "prompt": prompt,
        "chosen": "auto",
        "propensity": 0.5,
        "source": "llm",
        "model": "m-1",
        "requested": 3,
        "tips": tips or ("tip-1", "tip-2"),
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "tries": 1,
        "tasks_left_out": 0,
    }
    return LoggedGeneration(**{**values, **changed})


async def generate(subject: Subject, user_id: str, prompt: PromptRef = V1, *tips: str) -> LoggedGeneration:
    subject.clock.now += 1
    generation = begin_generation(subject, user_id, prompt, *tips)
    assert await subject.store.log_generation(generation)
    return generation


async def decide_tip(subject: Subject, user_id: str, tip_id: str) -> Decision:
    subject.clock.now += 1
    return await subject.decide(user_id, tip_id=tip_id)


async def list_prompt_counts(subject: Subject) -> dict[PromptRef, tuple[int, int, int, RewardSums]]:
    totals = await subject.store.load_prompt_totals()
    return {each.prompt: (each.generations, each.tips, each.decisions, each.reward_sums) for each in totals}


@pytest.fixture(params=[memory, on_disk])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    store: MakeStore = request.param(tmp_path)
    return store


class TestEveryStore:
    async def test_a_decision_knows_the_generation_that_its_pick_came_from(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            generation = await generate(subject, "anna", V1, "tip-1")
            picked, another = await decide_tip(subject, "anna", "tip-1"), await decide_tip(subject, "anna", "tip-9")
            for _ in range(2):
                assert await subject.store.find_origin(picked) == TipOrigin(V1, generation.generation_id, "m-1")
                assert await subject.store.find_origin(another) is None
                await subject.reopen()
            await subject.store.erase("anna", "tests")
            assert await subject.store.find_origin(picked) is None

    async def test_a_reward_is_credited_to_the_newest_generation_that_holds_the_tip(
        self, make_store: MakeStore
    ) -> None:
        async with Subject(make_store) as subject:
            early = await decide_tip(subject, "anna", "tip-1")
            await generate(subject, "anna", V1, "tip-1", "tip-2", "tip-3")
            first = await decide_tip(subject, "anna", "tip-1")
            await generate(subject, "anna", V2, "tip-1")
            second = await decide_tip(subject, "anna", "tip-1")
            older = await decide_tip(subject, "anna", "tip-2")
            for number, decision in enumerate((early, first, second, older)):
                await subject.reward(decision, number / 4)
            for _ in range(2):
                assert await list_prompt_counts(subject) == {
                    V1: (1, 3, 2, RewardSums(2, 1.0, 0.0625 + 0.5625)),
                    V2: (1, 1, 1, RewardSums(1, 0.5, 0.25)),
                }
                await subject.reopen()

    async def test_what_is_taken_back_is_taken_from_its_prompt(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            await generate(subject, "anna")
            given = [
                (await subject.reward(await decide_tip(subject, "anna", "tip-1"), value)).reward
                for value in (0.5, -1.0)
            ]
            for _ in range(2):  # the second time there is nothing left of it
                await subject.store.revoke([given[1].seq], cause="test", client="tests")
                assert await list_prompt_counts(subject) == {V1: (1, 2, 2, RewardSums(1, 0.5, 0.25))}
            await subject.reopen()
            assert await list_prompt_counts(subject) == {V1: (1, 2, 2, RewardSums(1, 0.5, 0.25))}

    async def test_what_others_were_told_does_not_count(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            await generate(subject, "anna")
            await subject.reward(await decide_tip(subject, "berta", "tip-1"))
            await subject.reward(await decide_tip(subject, "anna", "tip-9"))
            assert await list_prompt_counts(subject) == {V1: (1, 2, 0, RewardSums())}

    async def test_a_generation_without_tips_counts_as_one(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            assert await subject.store.log_generation(begin_generation(subject, "anna", TEMPLATE, tips=()))
            assert await list_prompt_counts(subject) == {TEMPLATE: (1, 0, 0, RewardSums())}

    async def test_each_wording_of_a_version_counts_for_itself(self, make_store: MakeStore) -> None:
        reworded = PromptRef("generate", "v1", "3" * 64)
        async with Subject(make_store) as subject:
            for prompt in (V1, reworded, V1):
                await generate(subject, "anna", prompt)
            await decide_tip(subject, "anna", "tip-1")
            assert await list_prompt_counts(subject) == {V1: (2, 4, 1, RewardSums()), reworded: (1, 2, 0, RewardSums())}

    async def test_a_retry_counts_once(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            await generate(subject, "anna")
            await subject.store.load_profile("anna")
            decision = subject.build_decision("anna", own_id="mine", tip_id="tip-1")
            again = subject.build_decision("anna", own_id="mine", tip_id="tip-1")
            assert await subject.store.decide(decision) is decision
            assert await subject.store.decide(again) is decision
            for _ in range(3):
                await subject.reward(decision, 0.5)
            assert await list_prompt_counts(subject) == {V1: (1, 2, 1, RewardSums(1, 0.5, 0.25))}

    async def test_a_reward_for_what_was_reset_teaches_no_prompt_either(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            await generate(subject, "anna")
            decision = await decide_tip(subject, "anna", "tip-1")
            await subject.store.reset("anna", "tests")
            await subject.reward(decision)
            assert await list_prompt_counts(subject) == {V1: (1, 2, 1, RewardSums())}

    async def test_a_generation_alone_makes_a_user_known_and_nothing_else(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            await generate(subject, "anna")
            for _ in range(2):
                assert (await subject.store.list_users("", 0, 10)).users == ["anna"]
                profile = await subject.store.load_profile("anna")
                assert (profile.seq, profile.policies) == (0, {})
                assert subject.store.status().quarantined == 0
                await subject.reopen()

    async def test_numbers_go_on_after_a_generation(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            generation = await generate(subject, "anna")
            await subject.reopen()
            subject.clock.now = NOON - DAY
            assert subject.store.next_seq(subject.clock()) > generation.seq

    async def test_erasure_takes_the_generations_and_leaves_the_totals(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            await generate(subject, "anna")
            await generate(subject, "anna", V2)
            await generate(subject, "berta")
            decision = await decide_tip(subject, "anna", "tip-1")
            await subject.reward(decision, 1.0)
            assert await subject.store.erase("anna", "tests") == Erasure(
                decisions=1, rewards=1, marks=0, documents=0, generations=2
            )
            for _ in range(2):
                await decide_tip(subject, "anna", "tip-1")
                assert await list_prompt_counts(subject) == {
                    V1: (2, 4, 0, RewardSums()),
                    V2: (1, 2, 1, RewardSums(1, 1.0, 1.0)),
                }
                await subject.reopen()

    async def test_a_generation_that_outlasts_its_user_is_not_logged(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            await generate(subject, "anna")
            under_way = begin_generation(subject, "anna")
            await subject.store.erase("anna", "tests")
            assert not await subject.store.log_generation(under_way)
            assert (await subject.store.list_users("", 0, 10)).users == []
            subject.clock.now += 1
            assert await subject.store.log_generation(begin_generation(subject, "anna"))

    async def test_nor_is_one_that_outlasts_a_stranger(self, make_store: MakeStore) -> None:
        async with Subject(make_store) as subject:
            under_way = begin_generation(subject, "stranger")
            await subject.store.erase("stranger", "tests")
            assert not await subject.store.log_generation(under_way)
            assert (await subject.store.list_users("", 0, 10)).users == []


async def test_no_text_and_no_trace_of_an_erased_user_stays_on_disk(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    async with Subject(make_embedded(state_dir)) as subject:
        await generate(subject, "anna", V1, "annas-own-tip")
        await decide_tip(subject, "anna", "annas-own-tip")
        await generate(subject, "berta")
        await decide_tip(subject, "berta", "tip-1")
        await subject.store.erase("anna", "tests")
        with ledger_of(state_dir) as ledger:
            for table, rows in (("generations", 1), ("generated_tips", 2), ("lineage", 1), ("prompts", 1)):
                assert ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == rows  # noqa: S608 (our names)
    assert not any(b"annas-own-tip" in path.read_bytes() for path in state_dir.rglob("*") if path.is_file())


async def test_a_legacy_reward_is_credited_through_the_decision_it_is_linked_to(tmp_path: Path) -> None:
    async with Subject(on_disk(tmp_path)) as subject:
        await generate(subject, "anna")
        await decide_tip(subject, "anna", "tip-2")
        await subject.reward_legacy("anna", -0.5, tip_id="tip-2")
        await subject.reward_legacy("anna", 1.0, tip_id="tip-2")
        assert await list_prompt_counts(subject) == {V1: (1, 2, 1, RewardSums(1, -0.5, 0.25))}


async def test_a_generation_leaves_no_document(tmp_path: Path) -> None:
    async with Subject(on_disk(tmp_path)) as subject:
        await generate(subject, "anna")
        await subject.reopen()
        assert documents_in(tmp_path / "state") == []
        await decide_tip(subject, "anna", "tip-1")
    assert len(documents_in(tmp_path / "state")) == 1


async def test_retention_takes_old_generations_and_a_late_reward_still_counts(tmp_path: Path) -> None:
    options = StoreOptions(sync=False, checkpoint_seconds=3600.0, retention_days=30)
    async with Subject(make_embedded(tmp_path / "state", options)) as subject:
        for number in range(2500):
            await subject.store.log_generation(begin_generation(subject, f"user-{number % 7}", V1, f"tip-{number}"))
        await generate(subject, "anna")
        subject.clock.now += DAY
        decision = await decide_tip(subject, "anna", "tip-1")
        await generate(subject, "anna", V2, "tip-8")
        subject.clock.now += 29.5 * DAY
        store = subject.store
        assert isinstance(store, EmbeddedStore)
        await store.apply_retention()
        with ledger_of(tmp_path / "state") as ledger:
            kept = ledger.execute("SELECT tips FROM generations").fetchall()
            tips = ledger.execute("SELECT tip_id FROM generated_tips").fetchall()
        assert (kept, tips) == ([('["tip-8"]',)], [("tip-8",)])
        await subject.reward(decision, 0.5)
        assert (await list_prompt_counts(subject))[V1] == (2501, 2502, 1, RewardSums(1, 0.5, 0.25))


async def test_a_trimmed_decision_leaves_no_link(tmp_path: Path) -> None:
    options = StoreOptions(sync=False, checkpoint_seconds=3600.0, retention_days=30)
    async with Subject(make_embedded(tmp_path / "state", options)) as subject:
        await generate(subject, "anna")
        await decide_tip(subject, "anna", "tip-1")
        subject.clock.now += 31 * DAY
        store = subject.store
        assert isinstance(store, EmbeddedStore)
        await store.apply_retention()
        with ledger_of(tmp_path / "state") as ledger:
            assert ledger.execute("SELECT count(*) FROM lineage").fetchone() == (0,)


async def test_a_row_keeps_everything_the_ledger_should_know(tmp_path: Path) -> None:
    async with Subject(on_disk(tmp_path)) as subject:
        generation = begin_generation(
            subject, "anna", V2, "täglich", "tip-2", chosen="request", propensity=None, tries=3
        )
        await subject.store.log_generation(generation)
        with ledger_of(tmp_path / "state") as ledger:
            ledger.row_factory = sqlite3.Row
            row = dict(ledger.execute("SELECT * FROM generations").fetchone())
        assert f"{row.pop('seq'):016x}{row.pop('nonce')}" == generation.generation_id
        assert row == {
            "uid": 1,
            "prompt": 1,
            "chosen": "request",
            "propensity": None,
            "source": "llm",
            "model": "m-1",
            "requested": 3,
            "tips": '["täglich", "tip-2"]',
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "tries": 3,
            "tasks_left_out": 0,
            "client": "tests",
            "ts": NOON,
        }


async def test_a_refused_generation_leaves_no_gap_in_the_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Subject(on_disk(tmp_path)) as subject:
        generation = begin_generation(subject, "anna")
        await subject.store.log_generation(generation)
        with pytest.raises(Exception, match="collided"):
            await subject.store.log_generation(begin_generation(subject, "anna", V2, seq=generation.seq))
        await generate(subject, "anna", V2)
        assert await list_prompt_counts(subject) == {V1: (1, 2, 0, RewardSums()), V2: (1, 2, 0, RewardSums())}


def old_ledger(state_dir: Path) -> None:
    """A ledger of format 1, with one decision and its reward."""
    state_dir.mkdir()
    schema = load_shipped().policies["linucb-v2"].schema
    with ledger_of(state_dir) as ledger:
        ledger.executescript(files("bandstand.store.sqlite").joinpath("scripts", "schema.sql").read_text("utf-8"))
        ledger.execute("INSERT INTO meta VALUES ('secret', ?)", (b"s" * 32,))
        ledger.execute("INSERT INTO users VALUES (1, 'anna')")
        policy = (1, "linucb-v2", load_shipped().policies["linucb-v2"].hash, schema.name, schema.hash, "{}")
        ledger.execute("INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?)", policy)
        body = b'{"user_id": "anna", "candidates": [{"id": "tip-1"}]}'
        row = (1 << 40, "0" * 16, 1, 1, "tests", NOON, "tip-1", 0, 0, 0.5, 0.1, 1.0, 0.02, body, bytes(32))
        ledger.execute(f"INSERT INTO decisions VALUES ({', '.join('?' * 15)})", row)  # noqa: S608 (placeholders)
        reward = (
            (1 << 40) + 1,
            1,
            1,
            1 << 40,
            None,
            "tip-1",
            0.5,
            1.0,
            1,
            None,
            "client",
            None,
            hash_body(""),
            "t",
            NOON,
        )
        ledger.execute(f"INSERT INTO rewards VALUES ({', '.join('?' * 15)})", reward)  # noqa: S608 (placeholders)
        ledger.execute("PRAGMA user_version = 1")


async def test_a_ledger_of_format_1_is_brought_up_to_date(tmp_path: Path) -> None:
    old_ledger(tmp_path / "state")
    async with Subject(on_disk(tmp_path)) as subject:
        assert (await subject.state("anna")).reward_count == 1
        assert await subject.store.load_prompt_totals() == []
        await generate(subject, "anna")
        await subject.reward(await decide_tip(subject, "anna", "tip-1"), 1.0)
        totals = [PromptTotals(V1, 1, 2, 1, RewardSums(1, 1.0, 1.0))]
        for _ in range(2):
            assert await subject.store.load_prompt_totals() == totals
            await subject.reopen()
    with ledger_of(tmp_path / "state") as ledger:
        assert ledger.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
