"""What the tests of the stores are given: a catalogue, a clock, events, and a way to compare states."""

import asyncio
import hashlib
import json
import shutil
import sqlite3
import threading
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, Self

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.policy_state import PolicyState
from bandstand.bandit.profile import Profile
from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_settings import RewardSettings
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.ids import DecisionIds
from bandstand.store.protocol import MovedError, Store
from bandstand.store.records import AcceptedReward, Decision, Reward, RewardWindow
from bandstand.store.tables.generations import LoggedGeneration, PromptRef
from bandstand.store.tables.judgements import Conclusion, JudgedTurn, TurnOutcome
from bandstand.store.tables.policies import to_policy_ref

NOON = 1_750_000_000.0
DAY = 86_400.0

# A store of the tests keeps no sync it need not keep, and writes documents when it closes or must evict.
QUICK = StoreOptions(sync=False, checkpoint_seconds=3600.0, retention_days=0, follow_seconds=0.0)

BUSY = replace(QUICK, checkpoint_seconds=0.01)
"""The same, with documents written and users evicted all the while."""

VERDICT = {"version": 1, "model": "m-1", "scored": True, "label": "pos_praise", "rationale": "quotes it", "raw": "{}"}

_IDS = DecisionIds()


def load_shipped() -> Catalogue:
    """The catalogue that ships with the package, read anew."""
    definitions = resources.files("bandstand").joinpath("defaults.toml").read_text(encoding="utf-8")
    return Catalogue.parse(tomllib.loads(definitions))


CATALOGUE = load_shipped()


class Clock:
    """Moves only when it is told to."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


MakeStore = Callable[[Clock], Store]
"""A store over the same state each time: the same object for memory, the same directory for disk."""


class Subject:
    """A store under test, its clock, and the events that are put to it."""

    def __init__(self, make_store: MakeStore, seed: int = 0) -> None:
        self.clock = Clock()
        self.random = Random(seed)
        self._make_store = make_store
        self.store = make_store(self.clock)

    async def __aenter__(self) -> Self:
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def reopen(self) -> None:
        """Stop, if it runs, and start again."""
        await self.store.close()
        self.store = self._make_store(self.clock)
        await self.store.open()

    async def iter_restarts(self) -> AsyncIterator[None]:
        """Pass twice: as it is, and after a restart."""
        yield
        await self.reopen()
        yield

    async def decide(self, user_id: str, policy: str = "linucb-v2", **values: Any) -> Decision:
        """Score as the service does: warm the user, then number and hand over without a pause."""
        await self.store.load_profile(user_id)
        decision = self.build_decision(user_id, policy, **values)
        while True:
            try:
                return await self.store.decide(decision)
            except MovedError as moved:
                assert decision.tries < 20
                decision.tries, decision.known = decision.tries + 1, moved.known

    def build_decision(
        self,
        user_id: str,
        policy: str = "linucb-v2",
        *,
        own_id: str | None = None,
        tip_id: str | None = None,
        exploring: bool = False,
        window: RewardWindow | None = None,
    ) -> Decision:
        """A decision about random candidates, numbered now."""
        chosen = CATALOGUE.policies[policy]
        request = random_request(self.random, user_id, tip_id)
        x = chosen.schema.encode(request["context"], [each["features"] for each in request["candidates"]])
        pick = self.random.randrange(len(x))
        seq = self.store.next_seq(self.clock())
        return Decision(
            decision_id=own_id or _IDS.next(seq),
            own_id=own_id is not None,
            seq=seq,
            user_id=user_id,
            policy=to_policy_ref(chosen),
            client="tests",
            ts=self.clock(),
            tip_id=request["candidates"][pick]["id"],
            pick=pick,
            exploring=exploring,
            seed=self.random.random(),
            score=self.random.random(),
            propensity=0.25,
            floor=0.02,
            body=json.dumps(request).encode(),
            numbers=np.arange(4.0 * len(x)).reshape(4, len(x)),
            likeliest=len(x) - 1,
            x=x[pick].copy(),
            window=window,
        )

    async def reward(self, decision: Decision, value: float = 1.0, **values: Any) -> AcceptedReward:
        """Reward a decision by its id."""
        return await self.store.reward(self.reward_of(decision, value, **values))

    def reward_of(
        self,
        decision: Decision,
        value: float = 1.0,
        *,
        user_id: str | None = None,
        key: tuple[str, str] | None = None,
        body: str = "",
        client: str = "tests",
        settings: RewardSettings | None = None,
        reaction: SentReaction | None = None,
    ) -> Reward:
        """A reward that names a decision; its request is ``body`` and the value. With settings it is one part of it."""
        return Reward(
            user_id=user_id or decision.user_id,
            policy=decision.policy,
            tip_id=decision.tip_id,
            value=value,
            client=client,
            ts=self.clock(),
            body_hash=hash_body(f"{body}{value}"),
            settings=settings,
            x=None,
            decision_id=decision.decision_id,
            idempotency=key,
            reaction=reaction,
        )

    async def reward_legacy(self, user_id: str, value: float = 1.0, **values: Any) -> AcceptedReward:
        """Reward a user in the legacy form."""
        return await self.store.reward(self.legacy(user_id, value, **values))

    def legacy(
        self,
        user_id: str,
        value: float = 1.0,
        *,
        policy: str = "linucb-v2",
        tip_id: str = "tip",
        key: tuple[str, str] | None = None,
        reaction: SentReaction | None = None,
    ) -> Reward:
        """A reward that brings its own features."""
        chosen = CATALOGUE.policies[policy]
        context, features = random_context(self.random), random_features(self.random)
        return Reward(
            user_id=user_id,
            policy=to_policy_ref(chosen),
            tip_id=tip_id,
            value=value,
            client="tests",
            ts=self.clock(),
            body_hash=hash_body(f"{tip_id}{value}"),
            x=chosen.schema.encode(context, [features])[0].copy(),
            features=json.dumps({"context": context, "features": features}).encode(),
            idempotency=key,
            reaction=reaction,
        )

    async def generate(self, user_id: str, *tips: str) -> bool:
        """Log that tips were written for a user."""
        seq = self.store.next_seq(self.clock())
        generation = LoggedGeneration(
            generation_id=_IDS.next(seq),
            seq=seq,
            user_id=user_id,
            client="tests",
            ts=self.clock(),
            prompt=PromptRef("tips", "v1", "digest"),
            chosen="default",
            propensity=1.0,
            source="llm",
            model="scripted",
            requested=3,
            tips=tips or ("tip",),
            prompt_tokens=10,
            completion_tokens=20,
            tries=1,
            tasks_left_out=0,
        )
        return await self.store.log_generation(generation)

    def turn(self, decision: Decision, *, body: str = "turn", key: tuple[str, str] | None = None) -> JudgedTurn:
        """A turn for a decision; its request is ``body``."""
        return JudgedTurn(
            judgement_id="0" * 16 + "1" * 16,
            seq=0,
            user_id=decision.user_id,
            policy=decision.policy,
            tip_id=decision.tip_id,
            taxonomy="followup-v1",
            body_hash=hash_body(body),
            client="tests",
            ts=self.clock(),
            decision_id=decision.decision_id,
            texts=("q", "a", "m", "hints first"),
            idempotency=key,
        )

    async def take_turn(self, user_id: str = "anna", **values: Any) -> JudgedTurn:
        """Take a turn for a new decision."""
        return (await self.store.accept(self.turn(await self.decide(user_id), **values))).judgement

    async def build_conclusion(
        self, judgement: JudgedTurn, teach: float | None = 0.8, cause: str = "judge"
    ) -> TurnOutcome:
        """Make something of a judgement as it stands."""
        standing = await self.store.get_judgement(judgement.judgement_id)
        conclusion = Conclusion(
            cause="override" if cause == "override" else "judge",
            client="tests",
            verdict=VERDICT,
            applied={"reward": teach},
            teach=teach,
            reason=None if teach is not None else "below_tau",
        )
        made = await self.store.apply_conclusion(standing, conclusion)
        assert made is not None
        return made

    async def load_sums(self, user_id: str = "anna") -> tuple[int, Any]:
        """How many rewards a policy holds of a user, and their sum, to be compared to 1e-9."""
        state = await self.state(user_id)
        return state.reward_count, pytest.approx(state.cumulative_reward, abs=1e-9)

    async def load_standing(self, decision: Decision) -> tuple[Any, bool, str | None]:
        """The reward that stands for a decision."""
        receipt = await self.store.find_receipt(decision.decision_id)
        assert receipt is not None
        assert receipt.reward is not None
        return pytest.approx(receipt.reward.value, abs=1e-9), receipt.reward.applied, receipt.reward.reason

    async def state(self, user_id: str, policy: str = "linucb-v2") -> PolicyState:
        """What a policy knows of a user; an empty state if nothing."""
        profile = await self.store.load_profile(user_id)
        key = to_policy_ref(CATALOGUE.policies[policy]).key
        return profile.policies.get(key) or PolicyState()


def make_embedded(state_dir: Path, options: StoreOptions = QUICK) -> MakeStore:
    """Make stores of the class that serves, over one directory."""
    return lambda clock: EmbeddedStore(state_dir, CATALOGUE, options=options, clock=clock)


def random_request(random: Random, user_id: str, tip_id: str | None = None) -> dict[str, Any]:
    """A score request with two to four candidates, all of the tip ``tip_id`` if one is given."""
    candidates = [
        {"id": tip_id or f"tip-{number}", "features": random_features(random)} for number in range(random.randint(2, 4))
    ]
    return {"user_id": user_id, "context": random_context(random), "candidates": candidates}


def random_context(random: Random) -> dict[str, object]:
    return {"hour_of_day": random.randrange(24), "day_of_week": random.randrange(7)}


def random_features(random: Random) -> dict[str, object]:
    return {
        "is_overdue": random.random() < 0.5,
        "task_age_days": random.uniform(0, 40),
        "priority": random.randint(1, 4),
    }


def hash_body(body: str) -> bytes:
    return hashlib.blake2b(body.encode(), digest_size=16).digest()


def assert_same(live: Profile, other: Profile) -> None:
    """Both hold the same state: counts alike, sums to 1e-9."""
    assert (other.user_id, other.reset_seq) == (live.user_id, live.reset_seq)
    assert other.policies.keys() == live.policies.keys()
    for key, state in live.policies.items():
        twin = other.policies[key]
        assert (twin.pulls, twin.explores, twin.reward_count) == (state.pulls, state.explores, state.reward_count)
        assert twin.last_updated == state.last_updated
        assert abs(twin.cumulative_reward - state.cumulative_reward) <= 1e-9
        assert (twin.ridge is None) == (state.ridge is None)
        if state.ridge is not None and twin.ridge is not None:
            np.testing.assert_allclose(twin.ridge.gram, state.ridge.gram, rtol=0, atol=1e-9)
            np.testing.assert_allclose(twin.ridge.b, state.ridge.b, rtol=0, atol=1e-9)
            assert (twin.ridge.weight, twin.ridge.count) == (state.ridge.weight, state.ridge.count)


async def rebuild_profile(state_dir: Path, user_id: str) -> Profile:
    """The user's state from a closed directory's ledger alone."""
    for path in documents_in(state_dir):
        path.unlink()
    async with Subject(make_embedded(state_dir)) as subject:
        return await subject.store.load_profile(user_id)


class Gate:
    """Where a thread waits until a test lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.opened.wait(60)


@contextmanager
def hold_calls(monkeypatch: pytest.MonkeyPatch, owner: object, function: str) -> Iterator[Gate]:
    """Hold up every call of a function of a class or module until the end of the block."""
    gate = Gate()
    original = getattr(owner, function)

    def wait(*arguments: object, **named: object) -> object:
        gate.wait()
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, function, wait)
        try:
            yield gate
        finally:
            gate.opened.set()


async def wait_until_settled(condition: Callable[[], bool]) -> None:
    """Wait for what a store does in the background."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (upkeep has no event to await)
            await asyncio.sleep(0.005)


@contextmanager
def ledger_of(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """The ledger's rows, for a test to look at."""
    connection = sqlite3.connect(state_dir / "ledger.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def copy_as_killed(state_dir: Path, copy: Path) -> Path:
    """What ``kill -9`` now would leave of an open state directory, as a copy."""
    return Path(shutil.copytree(state_dir, copy, dirs_exist_ok=True))


def files_in(directory: Path) -> set[Path]:
    """Every file below."""
    return {path for path in directory.rglob("*") if path.is_file()}


def documents_in(state_dir: Path) -> list[Path]:
    """Every user document."""
    return sorted((state_dir / "users").rglob("*.json"))
