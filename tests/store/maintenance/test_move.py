"""A ledger that was moved answers as the one it was, and goes on as that would have."""

import asyncio
import inspect
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
import pytest_asyncio

from bandstand.bandit.holdout import Holdout
from bandstand.bandit.memory import Memory
from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.errors import ConfigurationError, IdempotencyMismatchError, StorageUnavailableError
from bandstand.service.shown import SearchQuestion, parse_question
from bandstand.store.event_files.day_reader import DirectoryDays
from bandstand.store.event_files.day_rows import DayReader
from bandstand.store.event_files.form import EventRow
from bandstand.store.event_files.shared_days import open_shared_days
from bandstand.store.logged_events import EventLog, LoggedDecision, LoggedEvent, LoggedReward, LoggedState
from bandstand.store.maintenance import export, import_, rebuild_verify
from bandstand.store.maintenance import move as moving_module
from bandstand.store.maintenance.backup import create_backup
from bandstand.store.maintenance.decision_log import DirectoryEventLog
from bandstand.store.maintenance.offline import open_owned, open_read_only
from bandstand.store.maintenance.report_rows import read_report
from bandstand.store.postgres import moved_rows
from bandstand.store.postgres.address import LedgerAddress
from bandstand.store.postgres.arrival import describe_target
from bandstand.store.postgres.event_reader import open_shared_log
from bandstand.store.postgres.report_reader import read_report as read_shared_report
from bandstand.store.postgres.shown import search_ledger
from bandstand.store.postgres.store import SharedStore
from bandstand.store.records import LAST_SEQ, Decision, RewardPart, RewardWindow
from bandstand.store.tables.judgements import JudgementState
from bandstand.store.tables.loops import LoopChange
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import Promotion
from bandstand.store.tables.shadows import Shadow
from bandstand.store.tables.shown import search_decisions
from bandstand.store.tables.undo import Selection
from tests.store.checks import Law, check_store, list_refs
from tests.store.given import CATALOGUE, DAY, NOON, Subject, assert_same, ledger_of, make_embedded
from tests.store.populated import trim_directory
from tests.store.postgres.moving import make_moving, move_directory
from tests.store.postgres.shared import make_shared, run_law_server
from tests.store.reaction_checks import NOW as OTHER
from tests.store.test_contract import LAWS

SLOW = pytest.mark.slow
ROOT = Path(__file__).parents[3]
WAITING: tuple[JudgementState, ...] = ("waiting",)
SUM = RewardSettings(aggregation="sum")
USERS = ("anna", "berta", "clara", "dora", "emil", "é 'quoted\" \\", "retained", "imported")
ERASED = "erased"
HOLDOUT = Holdout(0.5, "random").to_canonical_json()
CONTINUED = [law for law in LAWS if "reopen" in inspect.getsource(law)]


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


def list_events(log: EventLog) -> list[tuple[Any, ...]]:
    """What evaluations read, but for where the features of a reward are."""
    pages = list(log.read_events(page=7))
    assert 0 < sum(map(len, pages)) <= log.count_events()
    return [_to_values(event) for page in pages for event in page]


def list_shared_events(url: str) -> list[tuple[Any, ...]]:
    with open_shared_log(LedgerAddress.parse(url), CATALOGUE) as log:
        return list_events(log)


def list_days(reader: DayReader) -> list[tuple[Any, ...]]:
    """The rows of every day that an export would write; of a baseline, what was learned."""
    first, baselines, found = reader.find_first_day(), reader.read_baselines(), list[EventRow]()
    assert first is not None
    for number in range(12):
        for page in reader.read_day(first + timedelta(days=number), baselines, is_first=not number):
            found += page
    assert reader.read_tombstones()
    return [_to_row(row) for row in found]


def list_shared_days(url: str) -> list[tuple[Any, ...]]:
    """The same of a shared ledger, by a thread without an event loop."""
    with open_shared_days(LedgerAddress.parse(url), CATALOGUE) as reader:
        return list_days(reader)


def _to_row(row: EventRow) -> tuple[Any, ...]:
    if row.kind == "baseline":
        return row.kind, row.uid, row.user, json.loads(row.document or "")["policies"]
    arrays = (None if each is None else list(each) for each in (row.probabilities, row.means))
    picked = None if row.picked is None else {"context": {}} | json.loads(row.picked)
    return *row._replace(probabilities=None, means=None, picked=None), *arrays, picked


def _to_values(event: LoggedEvent) -> tuple[Any, ...]:
    match event:
        case LoggedDecision():
            arrays = event.probabilities.tolist(), event.means.tolist()
            return *event._replace(probabilities=np.zeros(0), means=np.zeros(0))[:7], event.body, event.reward, *arrays
        case LoggedReward():
            return tuple(event[:6])
        case LoggedState():
            policies = event.profile.policies.items()
            return event.seq, event.uid, event.ts, [(key, state.reward_count, state.pulls) for key, state in policies]
    return tuple(event)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    made = History(tmp_path_factory.mktemp("moved") / "state")
    await made.make()
    return made


@pytest.fixture(scope="module")
def database() -> Any:
    with run_law_server() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def url(database: str) -> str:
    await execute(database, "DROP SCHEMA IF EXISTS bandstand CASCADE")
    return database


@pytest.fixture
def copied(history: History, tmp_path: Path) -> History:
    """The history in a directory of the test's own."""
    return history.copy(tmp_path / "state")


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_all_is_answered_as_before_and_goes_on_as_it_would_have(
    copied: History, url: str, tmp_path: Path
) -> None:
    twin = copied.copy(tmp_path / "twin")
    (copied.directory / "population").mkdir()
    steps: list[str] = []
    result = await move_directory(copied.directory, url, step=steps.append)
    assert result.target == describe_target(url)
    assert result.verified == len(USERS)
    assert [each.split()[0] for each in result.left_behind] == ["past_rewards:", "files"]
    filled = {name for name, rows in result.tables.items() if rows}
    assert set(result.tables) - filled == {"judge_spending", "subjects"}, "the history has some of all"
    assert steps[-2:] == ["mark", "release"]
    wanted = parse_question(SearchQuestion(candidate_id="tip-1"))
    with open_read_only(copied.directory, CATALOGUE) as state:
        log = list_events(DirectoryEventLog(state))
        days = list_days(DirectoryDays(state))
        found = search_decisions(state.connection, wanted, LAST_SEQ, 5, LAST_SEQ)
    assert found.decisions
    assert await search_ledger(LedgerAddress.parse(url), wanted, LAST_SEQ, 5) == found
    assert await asyncio.to_thread(list_shared_events, url) == log
    assert await asyncio.to_thread(list_shared_days, url) == days
    with pytest.raises(StorageUnavailableError):  # which server is asked, the URL says
        await asyncio.to_thread(list_shared_days, f"{url}&target_session_attrs=standby")
    assert {"baseline", "decision", "reward", "revocation", "reset", "state"} <= {kind for kind, *_ in days}
    splits = {"holdout": HOLDOUT}
    report = read_report(copied.directory, CATALOGUE, splits, has_picks=True)
    assert report.gains.days
    assert report.splits.keys() == splits.keys()
    assert await read_shared_report(LedgerAddress.parse(url), CATALOGUE, splits, has_picks=True) == report
    async with copied.serve(url) as subject:
        assert subject.store.secret == copied.secret
        seen = await copied.observe(subject)
        for name, before in copied.seen.items():
            assert seen[name] == before, name
        moved = await go_on(copied, subject)
        with pytest.raises(IdempotencyMismatchError):  # what is left behind of it is its answer
            await subject.reward(copied.decisions[0], 0.5, key=("reward", "early-0"))
    async with twin.serve() as subject:
        stayed = await go_on(twin, subject)
    assert moved["answers"] == stayed["answers"]
    for user_id in USERS:
        mine, other = moved["profiles"][user_id], stayed["profiles"][user_id]
        assert bool(mine.reset_seq) == bool(other.reset_seq)
        mine.reset_seq = other.reset_seq
        for key, held in mine.policies.items():
            assert held.last_updated == pytest.approx(other.policies[key].last_updated)
            held.last_updated = other.policies[key].last_updated
        assert_same(mine, other)
    for name in ("totals", "metrics", "prompts", "enrolled", "shadows"):
        assert _flatten(moved[name]) == pytest.approx(_flatten(stayed[name]), abs=1e-9), name


@pytest.mark.parametrize(
    "fatal",
    [pytest.param("copy rewards", marks=SLOW), "commit", pytest.param("verify", marks=SLOW), "release"],
)
async def test_one_that_is_killed_is_done_by_the_next(copied: History, url: str, fatal: str) -> None:
    command = [sys.executable, "-m", "tests.store.postgres.moving", "in", str(copied.directory), url, fatal]
    killed = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with ledger_of(copied.directory) as ledger:
        (is_marked,) = ledger.execute("SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'moved')").fetchone()
    assert is_marked == (fatal == "release"), "never do both sides take events"
    if fatal in {"verify", "release"}:
        with pytest.raises(ConfigurationError, match="is being moved"):
            await make_shared(url)(Subject(make_shared(url)).clock).open()
    steps: list[str] = []
    result = await move_directory(copied.directory, url, step=steps.append)
    assert steps == ["release"] if fatal == "release" else result.verified == len(USERS)
    async with copied.serve(url) as subject:
        assert await subject.store.count_users() == len(USERS)
        assert await subject.store.load_policy_totals() == copied.seen["totals"]


async def test_no_service_writes_to_a_directory_that_was_moved(copied: History, url: str) -> None:
    await move_directory(copied.directory, url)
    target = describe_target(url)
    with pytest.raises(ConfigurationError, match="was moved to") as refused:
        await make_embedded(copied.directory)(Subject(make_shared(url)).clock).open()
    assert target in refused.value.detail
    assert "\n" not in refused.value.detail
    with pytest.raises(ConfigurationError, match="was moved to"), open_owned(copied.directory, CATALOGUE):
        pass
    assert rebuild_verify.verify(copied.directory, CATALOGUE).is_sound
    assert create_backup(copied.directory, copied.directory.parent / "backup").users == len(USERS)
    with open_read_only(copied.directory, CATALOGUE) as state:
        assert len(list(export.export(state))) == len(USERS)
    with pytest.raises(ConfigurationError, match="is served from there"):
        await move_directory(copied.directory, url)
    with pytest.raises(ConfigurationError, match=r"was moved to .* before"):
        await move_directory(copied.directory, url.replace("=bandstand", "=another"))


@pytest.mark.parametrize("table", ["meta", "theirs", None])
async def test_a_schema_that_holds_something_is_left_alone(copied: History, url: str, table: str | None) -> None:
    if table is None:
        async with Subject(make_shared(url)) as subject:
            await subject.decide("anna")
    else:
        await execute(url, f"CREATE SCHEMA bandstand; CREATE TABLE bandstand.{table} (a int)")
    before = await count_tables(url)
    with pytest.raises(ConfigurationError, match=f"holds other data .*{table or 'arm_days'}"):
        await move_directory(copied.directory, url)
    assert await count_tables(url) == before > 0
    async with copied.serve() as subject:
        assert await subject.store.load_policy_totals() == copied.seen["totals"], "it is served on"


async def test_what_cannot_be_moved_is_refused_by_name_before_anything_is_written(copied: History, url: str) -> None:
    async with copied.serve() as subject:
        change = LoopChange(name="shop", action="create", before=None, after={}, ts=NOON, client="tests")
        await subject.store.log_loop_change(change)
    with pytest.raises(ConfigurationError, match="shop"):
        await move_directory(copied.directory, url)
    scope = json.dumps({"loop": "default", "action": "change", "before": None, "after": {"scope": "loop"}})
    changes = {
        f"UPDATE marks SET document = '{scope}' WHERE kind = 'loop'": "scope",  # noqa: S608 (a constant)
        "DELETE FROM marks WHERE kind = 'loop'; UPDATE generations SET model = 'm' || char(0)": "generations",
    }
    for changed, named in changes.items():
        with ledger_of(copied.directory) as ledger:
            ledger.executescript(changed)
        with pytest.raises(ConfigurationError, match=named):
            await move_directory(copied.directory, url)
    assert await count_tables(url) == 0


async def test_sides_that_differ_are_not_served(copied: History, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = moved_rows.iter_rows

    def change(connection: Any, table: str, columns: Any, places: Any) -> Any:
        names, found = rows(connection, table, columns, places)
        if table == "rewards":
            place = names.index("value")
            found = ((*row[:place], row[place] + 1e-6, *row[place + 1 :]) for row in found)
        return names, found

    monkeypatch.setattr(moving_module, "iter_rows", change)
    with pytest.raises(StorageUnavailableError, match="is not the same"):
        await move_directory(copied.directory, url)
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="is being moved"):
        await make_shared(url)(Subject(make_shared(url)).clock).open()
    async with copied.serve() as subject:
        assert await subject.store.load_policy_totals() == copied.seen["totals"]
    assert (await move_directory(copied.directory, url)).verified == len(USERS)


async def test_retention_goes_on_where_it_was(copied: History, url: str) -> None:
    await move_directory(copied.directory, url)
    async with copied.serve(url) as subject:
        before = {user_id: (await subject.store.load_profile(user_id)).copy() for user_id in USERS}
        store = subject.store
        assert isinstance(store, SharedStore)
        subject.clock.now = NOON + 95 * DAY
        await store.upkeep.try_to_lead()
        await store.upkeep.apply_retention()
        await subject.reopen()
        for user_id, profile in before.items():
            assert_same(profile, await subject.store.load_profile(user_id))
        assert await subject.store.find_receipt(copied.decisions[0].decision_id) is None


async def test_the_target_is_told_without_its_secrets() -> None:
    told = describe_target(
        "postgresql://someone:s3cret@a,b:5433/db?password=t0p&schema=mine&sslmode=require&host=/run/pg"
    )
    assert told == "postgresql://a,b:5433/db?host=/run/pg&schema=mine"


@pytest.mark.slow
@pytest.mark.parametrize("law", CONTINUED, ids=lambda law: law.__name__)
async def test_every_law_that_outlives_a_restart_outlives_a_move(law: Law, url: str, tmp_path: Path) -> None:
    await check_store(make_moving(tmp_path / "state", url), law)


async def execute(url: str, statements: str) -> None:
    """Run statements on a server, whatever schemas it has."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn)
    try:
        await session.execute(statements)
    finally:
        await session.close()


async def count_tables(url: str) -> int:
    """How many tables the schema has."""
    session = await asyncpg.connect(LedgerAddress.parse(url).dsn)
    try:
        return int(await session.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'bandstand'"))
    finally:
        await session.close()


def _flatten(sums: Any) -> list[Any]:
    """The values in it, in one order."""
    rows = sorted(sums.items(), key=str) if hasattr(sums, "items") else sorted(sums, key=str)
    return [number for row in rows for number in _list_numbers(row)]


def _list_numbers(value: Any) -> list[float]:
    if is_dataclass(value):
        value = astuple(value)  # type: ignore[arg-type]  # an instance
    if isinstance(value, (tuple, list)):
        return [number for each in value for number in _list_numbers(each)]
    return [float(value)] if isinstance(value, (int, float)) else []
