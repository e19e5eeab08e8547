"""A ledger with a long history, for tests that move it: how it came about, what it answers, and how it goes on."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple, is_dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

from bandstand.bandit.holdout import Holdout
from bandstand.bandit.memory import Memory
from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.store.maintenance import export, import_
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.records import Decision, RewardPart, RewardWindow
from bandstand.store.tables.judgements import JudgementState
from bandstand.store.tables.loops import LoopChange
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import Promotion
from bandstand.store.tables.shadows import Shadow
from bandstand.store.tables.undo import Selection
from tests.store.checks import list_refs
from tests.store.given import CATALOGUE, DAY, NOON, Subject, ledger_of, make_embedded
from tests.store.populated import trim_directory
from tests.store.postgres.shared import make_shared
from tests.store.reaction_checks import NOW as OTHER

WAITING: tuple[JudgementState, ...] = ("waiting",)
SUM = RewardSettings(aggregation="sum")
USERS = ("anna", "berta", "clara", "dora", "emil", "é 'quoted\" \\", "retained", "imported")
ERASED = "erased"
HOLDOUT = Holdout(0.5, "random").to_canonical_json()


class History:
    """A state directory with a history, and what came of it.

    Attributes:
        decisions: every decision that was made, oldest first.
        seen: what the store answered before it was closed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.decisions: list[Decision] = []
        self.split = 0
        self.experiment = 0
        self.secret = b""
        self.seen: dict[str, Any] = {}

    def copy(self, directory: Path) -> "History":
        """The same in another directory."""
        other = History(directory)
        vars(other).update(vars(self) | {"directory": directory})
        shutil.copytree(self.directory, directory)
        return other

    @asynccontextmanager
    async def serve(self, url: str | None = None, seed: int = 1) -> AsyncIterator[Subject]:
        """A store over it: of the directory, or moved."""
        subject = Subject(make_embedded(self.directory) if url is None else make_shared(url), seed)
        subject.clock.now = NOON + 10 * DAY
        async with subject:
            yield subject

    async def make(self) -> None:
        """Make the history, in three sittings: between them retention takes something, and a state is imported."""
        held = 0
        async with Subject(make_embedded(self.directory), 3) as subject:
            for number in range(9):
                made = await subject.decide("retained" if number % 3 else "imported", exploring=number % 2 == 0)
                given = await subject.reward(made, subject.random.uniform(-1, 1), key=("reward", f"early-{number}"))
                subject.clock.now += 60
                self.decisions[:] = [made]
                if number == 1:
                    held = given.reward.seq
            await subject.decide("retained")
            await subject.store.revoke([held], cause="test", client="tests")  # retention keeps what is taken back later
        trim_directory(self.directory, subject.clock.now - 250, CATALOGUE)
        with ledger_of(self.directory) as ledger:
            assert ledger.execute(
                "SELECT * FROM rewards AS r JOIN marks AS m ON m.uid = r.uid WHERE m.kind = 'baseline' "
                "AND r.seq = ? AND r.seq <= m.document ->> '$.ledger_seq'",
                (held,),
            ).fetchone()
        with open_owned(self.directory, CATALOGUE) as state:
            lines = [line.encode() for line in export.export(state) if '"imported"' in line]
            assert len(lines) == 1
            import_.import_states(state, export.read_lines(lines), now=subject.clock.now)
        async with self.serve(seed=4) as subject:
            subject.clock.now = NOON + DAY
            await self._play(subject)
            subject.clock.now = NOON + 10 * DAY
            self.seen = await self.observe(subject)
            self.secret = subject.store.secret

    async def _play(self, subject: Subject) -> None:
        store, random = subject.store, subject.random
        await store.set_memory(MemoryChange("linucb-v2", subject.clock(), Memory(30.0, 0.0), 0.1))
        definition = {"scope": "user", "mode": "online"}
        await store.log_loop_change(
            LoopChange(
                name="default", action="change", before=None, after=definition, ts=subject.clock(), client="tests"
            )
        )
        await store.log_promotion(Promotion("promote", "egreedy-v1", "linucb-v2", subject.clock(), "tests"))
        experiment, holdout = await store.set_experiment('{"a": 1}'), await store.set_holdout(HOLDOUT)
        assert experiment is not None
        assert holdout is not None
        self.experiment, self.split = experiment.seq, holdout.seq
        for number in range(100):
            subject.clock.now += 600
            if number == 30:
                await store.set_shadows(list_refs("thompson-v1"))
            user_id = random.choice(USERS)
            if number % 9 == 0:
                await subject.generate(user_id, f"tip-{number}", "tip")
            window = None
            if number % 7 == 0:
                window = RewardWindow(held=number % 2 == 0, due=subject.clock() + 30 * DAY, fallback=-0.25)
            decision = subject.build_decision(
                user_id,
                random.choice(("linucb-v2", "linucb-v1", "egreedy-v1")),
                own_id=f"own-{number}" if number % 5 == 0 else None,
                tip_id=f"tip-{number}" if number % 9 == 0 else None,
                exploring=random.random() < 0.3,
                window=window,
            )
            decision.experiment = self.experiment
            await store.load_profile(user_id)
            decision = await store.decide(decision)
            self.decisions.append(decision)
            if number > 30:
                pick = number % 2
                store.log_shadows(
                    decision,
                    [
                        Shadow(
                            list_refs("thompson-v1")[0],
                            pick,
                            exploring=False,
                            agrees=pick == 1,
                            propensity=0.5,
                            weight=random.random(),
                            probabilities=np.array([0.25, 0.75]),
                        )
                    ],
                )
            await self._answer(subject, number, decision)
        await store.reset("emil", "tests")
        self.decisions.append(await subject.decide("emil"))
        await store.revoke([self.legacy_seq], cause="test", client="tests")
        erased = await subject.decide(ERASED)
        await subject.reward(erased, 1.0, key=("reward", "erased"))
        await store.erase(ERASED, "tests")
        selected = await store.select_rewards(Selection(client="tests", since=subject.clock() - 40_000))
        await store.revoke(selected.revocable[:3], cause="test", client="tests")

    async def _answer(self, subject: Subject, number: int, decision: Decision) -> None:
        value, store = subject.random.uniform(-1, 1), subject.store
        match number % 6:
            case 0:
                await subject.reward(decision, value, key=("reward", str(number)))
            case 1:
                for part in (value, 0.125):
                    reward = subject.reward_of(decision, part, settings=SUM, body=str(part))
                    reward.part = RewardPart(part, metrics=json.dumps({"seconds": 3.0, "é": 1}))
                    await store.reward(reward)
            case 2:
                sent = SentReaction.from_request(
                    {"action": "dismiss", "dwell_ms": 1500}, subject.clock(), CONTRACT.reactions
                )
                await subject.reward(decision, value, reaction=sent)
                self.legacy_seq = (await subject.reward_legacy(decision.user_id, value)).reward.seq
            case 3 if decision.window is None or not decision.window.held:
                taken = (await store.accept(subject.turn(decision, key=("turn", str(number))))).judgement
                if number % 4:
                    await subject.build_conclusion(taken, value)
                    if number % 12 == 9:
                        await subject.build_conclusion(taken, 0.5, "override")
            case 4:
                await subject.reward_legacy(decision.user_id, value, tip_id=decision.tip_id)

    async def observe(self, subject: Subject) -> dict[str, Any]:
        """What the store answers about everything."""
        store = subject.store
        await store.follow_gains()
        turns = await store.list_judgements(("waiting", "taught", "withheld", "unscored"), 1 << 62, 1000)
        gains = await store.load_gain_sums()
        return {
            "users": sorted((await store.list_users("", 0, 100)).users),
            "receipts": [await describe_receipt(subject, each) for each in self.decisions],
            "histories": [[each.seq for each in await store.list_history(user_id, 100)] for user_id in USERS],
            "totals": await store.load_policy_totals(),
            "sums": await store.load_loop_sums(30),
            "metrics": sorted(await store.load_metric_sums()),
            "prompts": sorted(await store.load_prompt_totals(), key=str),
            "origins": [await store.find_origin(each) for each in self.decisions],
            "shadows": await store.load_shadow_sums(),
            "turns": [(each.seq, each.state, each.reason, each.reward_seq, each.rounds) for each in turns.judgements],
            "details": [await store.load_detail(each) for each in turns.judgements],
            "waiting": await store.list_waiting(),
            "turn totals": sorted(await store.load_turn_totals()),
            "enrolled": await store.count_enrolled(self.experiment),
            "promotions": await store.list_promotions(),
            "loops": await store.list_loop_changes(),
            "memories": await store.list_memory_changes(),
            "reactions": await store.list_reactions(0, 0.0, 100),
            "undos": await store.list_undos(1 << 62, 10),
            "out of reach": await store.find_out_of_reach(0.0),
            "gains": ([tuple(each) for each in gains.days], gains.seq),
            "arms": await store.load_arms(self.split),
            "awaiting": await store.has_awaiting_windows(),
        }


async def describe_receipt(subject: Subject, made: Decision) -> tuple[Any, ...] | None:
    """All that a receipt tells of a decision."""
    found = await subject.store.find_receipt(made.decision_id)
    if found is None:
        return None
    reward = found.reward
    return (
        *(
            found.decision_id,
            found.own_id,
            found.seq,
            found.user_id,
            found.policy,
            found.client,
            found.ts,
            found.tip_id,
        ),
        *(found.pick, bool(found.exploring), found.seed, found.score, found.propensity, found.floor, found.body),
        *(None if found.numbers is None else found.numbers.tolist(), found.window, found.pending_turn_seq, found.parts),
        None
        if reward is None
        else (
            reward.seq,
            reward.value,
            bool(reward.applied),
            reward.reason,
            reward.source,
            reward.weight,
            reward.body_hash,
        ),
    )


async def go_on(history: History, subject: Subject) -> dict[str, Any]:
    """What a deployment does later, on either side alike; returns what came of it."""
    store = subject.store
    answers: list[Any] = []
    rewarded = subject.random.sample(history.decisions[1:-1], 60)
    for number, decision in enumerate(rewarded):
        subject.clock.now += 60
        try:
            accepted = await subject.reward(
                decision, 0.5, settings=SUM if number % 2 else None, key=("later", str(number))
            )
            answers.append(
                (accepted.match, accepted.reward.value, bool(accepted.reward.applied), accepted.reward.reason)
            )
        except Exception as error:  # noqa: BLE001 (which it is is compared)
            answers.append(type(error).__name__)
    for decision in history.decisions:
        receipt = await store.find_receipt(decision.decision_id)
        if receipt is not None and receipt.window is not None and receipt.window.held and receipt.pick % 2:
            answers.append((await store.activate(decision.decision_id, SUM, "tests")).activated)
    for _, _, _ in await store.list_waiting():
        page = await store.list_judgements(WAITING, 1 << 62, 1)
        await subject.build_conclusion(page.judgements[0])
    subject.clock.now += 40 * DAY
    answers.append(len((await store.close_windows(100)).taught))
    selected = await store.select_rewards(Selection(client="tests", since=NOON + 2 * DAY))
    answers.append(astuple(replace(selected, revocable=[])))
    done = await store.revoke(selected.revocable[::3], cause="test", client="tests")
    answers.append(len(done))
    reactions = await store.list_reactions(0, 0.0, 100)
    answers += [await store.reapply_reactions([each], OTHER, "tests") for each in reactions]
    for user_id in (*USERS, ERASED):
        await subject.reward(await subject.decide(user_id), 0.25)
    await store.reset("berta", "tests")
    erasure = await store.erase("clara", "tests")
    answers.append(
        (erasure.decisions, erasure.rewards, erasure.parts, erasure.shadows, erasure.turns, erasure.revocations)
    )
    await subject.reopen()
    return {
        "answers": answers,
        "profiles": {user_id: (await subject.store.load_profile(user_id)).copy() for user_id in USERS},
        "totals": await subject.store.load_policy_totals(),
        "shadows": await subject.store.load_shadow_sums(),
        "metrics": await subject.store.load_metric_sums(),
        "prompts": await subject.store.load_prompt_totals(),
        "enrolled": await subject.store.count_enrolled(history.experiment),
    }


async def execute(url: str, statements: str) -> None:
    """Run statements on a server, whatever schemas it has."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn)
    try:
        await session.execute(statements)
    finally:
        await session.close()


def flatten_sums(sums: Any) -> list[Any]:
    """The values in it, in one order."""
    rows = sorted(sums.items(), key=str) if hasattr(sums, "items") else sorted(sums, key=str)
    return [number for row in rows for number in _list_numbers(row)]


def _list_numbers(value: Any) -> list[float]:
    if is_dataclass(value):
        value = astuple(value)  # type: ignore[arg-type]  # an instance
    if isinstance(value, (tuple, list)):
        return [number for each in value for number in _list_numbers(each)]
    return [float(value)] if isinstance(value, (int, float)) else []
