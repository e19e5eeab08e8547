"""Laws of stores that share a ledger: two of them, as two processes have them."""

import asyncio
import json
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import asyncpg
import pytest

from bandstand.bandit.holdout import Holdout, HoldoutSplit
from bandstand.bandit.memory import Memory
from bandstand.bandit.reaction_table import SentReaction
from bandstand.bandit.reward_settings import CONTRACT
from bandstand.errors import AlreadyRewardedError, BandstandError, UnknownDecisionError
from bandstand.judge_worker.update_rate_limit import UpdateRateLimit
from bandstand.store.learners.documents import render
from bandstand.store.postgres.profiles import CHECKPOINT_EVENTS
from bandstand.store.postgres.store import SharedStore
from bandstand.store.postgres.upkeep import NoLeaderError
from bandstand.store.protocol import MovedError
from bandstand.store.records import AcceptedReward, Decision, RewardPart, RewardWindow, UnreadReward
from bandstand.store.tables.arms import ArmHistory
from bandstand.store.tables.gains import GainSums
from bandstand.store.tables.judgements import Conclusion
from bandstand.store.tables.launches import LaunchAction, LaunchEvent, LaunchPlan, LaunchState
from bandstand.store.tables.loops import LoopChange
from bandstand.store.tables.memories import MemoryChange
from bandstand.store.tables.promotions import Promotion
from bandstand.store.tables.undo import Selection
from bandstand.store.tables.windows import MetricSums
from bandstand.testing.memory_store import MemoryStore
from bandstand.testing.postgres_server import find_programs
from tests.store.checks import list_refs
from tests.store.given import CATALOGUE, DAY, NOON, VERDICT, Subject, assert_same
from tests.store.reward_checks import SUM

_SILENT = 200
_CUTS = 6
_CUT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'bandstand' AND state <> 'idle'"""


class SharedSubjects:
    """Two stores over one ledger, each with its own events, and the ledger's rows."""

    def __init__(self, make_store: Callable[[int], Subject], session: asyncpg.Connection) -> None:
        self.first, self.second = make_store(1), make_store(2)
        self.session = session

    async def count(self, table: str, **where: object) -> int:
        """How many rows of a table have these values."""
        conditions = " AND ".join(f"{name} = ${number}" for number, name in enumerate(where, start=1)) or "true"
        found: int = await self.session.fetchval(f"SELECT count(*) FROM {table} WHERE {conditions}", *where.values())  # noqa: S608 (a test's own words)
        return found


async def decide_stale(subject: Subject) -> Decision:
    """Have a decision about anna logged that was made from what is in memory."""
    return await subject.store.decide(subject.build_decision("anna"))


async def a_reward_taken_by_one_counts_in_the_next_decision_of_the_other(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    decision = await other.decide("anna")
    await one.store.load_profile("anna")
    for number in range(1, 11):
        await other.reward(decision, 0.5)
        stale = one.build_decision("anna")
        with pytest.raises(MovedError):
            await one.store.decide(stale)
        assert await subjects.count("decisions", seq=stale.seq) == 0, "a stale decision is never logged"
        profile = one.store.get_cached_profile("anna")
        assert profile is not None
        assert profile.policies["linucb-v2", "tips-v2"].reward_count == number
        decision = await decide_stale(one)
        one, other = other, one
        await one.store.load_profile("anna")


async def a_reset_by_one_holds_in_the_next_decision_of_the_other_however_often_it_tried(
    subjects: SharedSubjects,
) -> None:
    one, other = subjects.first, subjects.second
    early = await other.decide("anna")
    await other.reward(await other.decide("anna"))
    await one.store.load_profile("anna")
    await other.store.reset("anna", "tests")
    stale = one.build_decision("anna")
    stale.known = 0  # not to be compared
    with pytest.raises(MovedError):
        await one.store.decide(stale)
    profile = one.store.get_cached_profile("anna")
    assert profile is not None
    assert profile.policies == {}
    await decide_stale(one)
    assert not (await one.reward(early)).reward.applied


async def a_decision_made_from_what_the_ledger_held_after_the_request_is_taken_though_its_user_was_rewarded(
    subjects: SharedSubjects,
) -> None:
    one, other = subjects.first, subjects.second
    rewarded = [await other.decide("anna") for _ in range(6)]
    await one.store.load_profile("anna")
    assert not one.store.is_behind("anna"), "nothing says so yet"
    for number in range(3):
        await other.reward(rewarded.pop())
        if number:  # it looks first
            assert one.store.is_behind("anna")
            known = await one.store.refresh_profile("anna")
        else:
            with pytest.raises(MovedError) as moved:
                await decide_stale(one)
            known = moved.value.known
        assert known == 3 * number + 1
        await other.reward(rewarded.pop())
        taken = one.build_decision("anna")
        taken.known = known
        assert await one.store.decide(taken) is taken
        seen = await subjects.session.fetchval("SELECT version FROM decisions WHERE seq = $1", taken.seq)
        assert seen == known, "every reward that was acknowledged before the request, and none that came later"
        assert (await other.reward(taken)).reward.applied
    for _ in range(2):
        await one.store.refresh_profile("anna")
    assert not one.store.is_behind("anna"), "there was nothing new"


async def a_decision_made_from_less_than_the_ledger_held_after_the_request_is_compared(
    subjects: SharedSubjects,
) -> None:
    one, other = subjects.first, subjects.second
    early = await other.decide("anna")
    await one.store.load_profile("anna")
    await other.reward(early)
    stale = one.build_decision("anna")
    stale.known = 1  # somebody looked, and memory has lost what they saw
    with pytest.raises(MovedError):
        await one.store.decide(stale)
    await other.store.announce_change()
    with pytest.raises(MovedError) as moved:  # nobody has looked at its user
        await decide_stale(one)
    assert moved.value.known is None


async def whoever_is_behind_waits_for_one_read_that_begins_after_they_asked(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    rewarded = [await other.decide("anna") for _ in range(3)]
    await one.store.load_profile("anna")
    store = one.store
    assert isinstance(store, SharedStore)
    calls = store.ledger.readers.figures.calls
    await other.reward(rewarded.pop())
    first = asyncio.ensure_future(store.refresh_profile("anna"))
    while not store.ledger.readers.figures.busy:  # noqa: ASYNC110 (a task begins)
        await asyncio.sleep(0)
    await other.reward(rewarded.pop())
    later = [store.refresh_profile("anna") for _ in range(20)]
    assert await asyncio.gather(*later) == [2] * 20
    assert await first in {1, 2}
    assert store.ledger.readers.figures.calls == calls + 2


async def an_erasure_by_one_is_an_unknown_user_to_the_other(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    decision = await one.decide("anna")
    await other.store.erase("anna", "tests")
    with pytest.raises(MovedError):
        await decide_stale(one)
    assert await one.store.find_decision(decision.decision_id) is None
    with pytest.raises(UnknownDecisionError):
        await one.reward(decision)
    assert (await one.store.load_profile("anna")).policies == {}


async def an_erasure_in_the_middle_of_scores_and_rewards_leaves_nothing(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    decisions = [await one.decide("anna") for _ in range(10)]
    uid = await subjects.session.fetchval("SELECT uid FROM users WHERE user_id = 'anna'")
    for subject in (one, other):
        await subject.store.load_profile("anna")
    scores = [decide_stale((one, other)[number % 2]) for number in range(40)]
    rewards = [other.reward(decision) for decision in decisions]
    await asyncio.gather(
        *scores[:20], *rewards, other.store.erase("anna", "tests"), *scores[20:], return_exceptions=True
    )
    for table in ("users", "decisions", "rewards", "claims", "checkpoints", "decision_ids"):
        assert await subjects.count(table, uid=uid) == 0


class KeptPriors:
    """What keeps something of a few users beside a store."""

    def __init__(self, *user_ids: str) -> None:
        self.kept = set(user_ids)

    def list_members(self) -> set[str]:
        return self.kept

    def apply_reset(self, user_id: str) -> None:
        self.kept.discard(user_id)

    async def apply_erasure(self, user_id: str) -> int:
        self.kept.discard(user_id)
        return 1

    async def apply_revocation(self, user_ids: Collection[str], seq: int) -> list[str]:
        raise AssertionError((user_ids, seq))


async def a_ledger_that_was_put_back_is_read_anew_by_all(subjects: SharedSubjects) -> None:
    one, other, session = subjects.first, subjects.second, subjects.session
    await one.reward(await one.decide("anna"))
    heard = [_await_restore(one), _await_restore(other)]
    with tempfile.NamedTemporaryFile() as dump:
        await _run_program(session, "pg_dump", "-n", "bandstand", "-f", dump.name)
        lost = await one.decide("anna")
        await one.reward(lost)
        await one.decide("carla")  # whose key is somebody else's afterwards
        await other.store.load_profile("anna")
        words = ("-q", "-1", "-v", "ON_ERROR_STOP=1", "-c", "DROP SCHEMA bandstand CASCADE", "-f", dump.name)
        await _run_program(session, "psql", *words)
    async with asyncio.timeout(60):
        for event in heard:
            await event.wait()
    for subject in (one, other):
        assert subject.store.get_cached_profile("anna") is None
        assert subject.store.get_cached_decision(lost.decision_id) is None
        assert await subject.store.find_decision(lost.decision_id) is None
    with pytest.raises(UnknownDecisionError):
        await one.reward(lost)
    await other.reward(await other.decide("anna"), 0.5)  # as many events as were lost
    decision = await one.decide("anna")
    assert await subjects.count("decisions", seq=decision.seq, version=2) == 1
    for subject in (one, other):
        profile = await subject.store.load_profile("anna")
        assert profile.policies["linucb-v2", "tips-v2"].cumulative_reward == 1.5
    assert one.store.status().details["slot"] != other.store.status().details["slot"]


def _await_restore(subject: Subject) -> asyncio.Event:
    heard = asyncio.Event()

    async def note() -> None:
        heard.set()

    subject.store.subscribe_restores(note)
    return heard


async def _run_program(session: asyncpg.Connection, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on the ledger's database."""
    programs = find_programs()
    assert programs is not None
    folder = await session.fetchval("SHOW unix_socket_directories")
    where = {"PGHOST": folder, "PGUSER": "bandstand", "PGDATABASE": "postgres"}
    process = await asyncio.create_subprocess_exec(
        programs / name, *arguments, env=where, stdout=DEVNULL, stderr=DEVNULL
    )
    assert await process.wait() == 0


async def whoever_one_resets_or_erases_the_other_s_priors_let_go_of(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    for user_id in ("anna", "berta", "carla"):
        await one.decide(user_id)
    store, priors = one.store, KeptPriors("anna", "berta", "carla")
    assert isinstance(store, SharedStore)
    store.subscribe_departures(priors)
    await other.store.reset("anna", "tests")
    await other.store.erase("berta", "tests")
    for _ in range(2):
        await store.ledger.departures.notify_departed(store.secret)
        await store.ledger.departures.close()
        assert priors.kept == {"carla"}


async def what_one_makes_active_all_decide_by(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    told: list[str | None] = []

    async def listen() -> None:
        told.append((await one.store.list_promotions())[-1].policy)

    await one.store.load_profile("anna")
    one.store.subscribe(listen)
    await other.store.log_promotion(Promotion("promote", "egreedy-v1", "linucb-v2", NOON, "tests"))
    with pytest.raises(MovedError):
        await decide_stale(one)
    assert told == ["egreedy-v1"]
    await decide_stale(one)


async def an_experiment_begun_by_one_is_the_other_s(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    begun = await one.store.set_experiment("half and half")
    assert begun is not None
    assert await other.store.set_experiment("half and half") == begun
    assert await one.store.set_experiment(None) is None
    again = await other.store.set_experiment("half and half")
    assert again is not None
    assert again.seq > begun.seq


async def shadows_and_memories_of_one_are_the_other_s(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    await one.store.set_shadows(list_refs("thompson-v1"))
    await other.reward(await other.decide("anna"), 0.5)
    for subject in (one, other):
        assert (await subject.state("anna", "thompson-v1")).reward_count == 1
    change = MemoryChange("linucb-v2", NOON, Memory(0.0, NOON), 0.1)
    await other.store.set_memory(change)
    assert await one.store.list_memory_changes() == [change]


async def the_same_reward_key_or_id_through_both_at_once_counts_once(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    decision = await one.decide("anna")
    same = await asyncio.gather(*(subject.reward(decision, 0.5) for subject in (one, other) * 10))
    assert sorted(outcome.match for outcome in same) == ["decision"] * 19 + ["new"]
    assert len({outcome.reward.seq for outcome in same}) == 1
    keyed = await asyncio.gather(
        *(subject.reward_legacy("berta", 0.5, key=("route", "key")) for subject in (one, other) * 10)
    )
    assert sorted(outcome.match for outcome in keyed) == ["key"] * 19 + ["new"]
    chosen = await asyncio.gather(*(subject.decide("carla", own_id="mine") for subject in (one, other) * 10))
    assert len({each.seq for each in chosen}) == 1
    for subject in (one, other):
        counts = [(await subject.state(user_id)).reward_count for user_id in ("anna", "berta")]
        assert counts == [1, 1]
        assert (await subject.state("carla")).pulls == 1


async def a_reward_whose_decision_was_not_read_is_taken_once_and_only_as_the_decision_says(
    subjects: SharedSubjects,
) -> None:
    one, other = subjects.first, subjects.second
    decision, mine = await one.decide("anna"), await one.decide("ben", own_id="mine")
    await other.store.load_profile("anna")

    def build(decided: Decision = decision, **values: Any) -> UnreadReward:
        return UnreadReward(decided.decision_id, 0.5, "tests", other.clock(), b"body", **values)

    async def take(reward: UnreadReward) -> AcceptedReward | None:
        return await other.store.reward_unread(reward)

    other.clock.now += 1.0
    for refused in (
        build(user_id="ben"),
        build(tip_id="another"),
        build(mine),
        UnreadReward(one.build_decision("anna").decision_id, 0.5, "tests", other.clock(), b"body"),
        UnreadReward("later", 0.5, "tests", other.clock(), b"body"),
    ):
        assert await take(refused) is None
    assert await subjects.count("rewards") == 0
    key = ("tests", "key")
    both = [build(idempotency=key), build(user_id="anna", tip_id=decision.tip_id)]
    first, second = await asyncio.gather(*map(take, both))
    assert (first is None) != (second is None), "the decision is rewarded once"
    accepted = first or second
    assert accepted is not None
    assert accepted.match == "new"
    taught = accepted.reward
    assert (taught.user_id, taught.tip_id, taught.policy) == ("anna", decision.tip_id, decision.policy)
    assert taught.applied
    profile = other.store.get_cached_profile("anna")
    assert profile is not None
    assert profile.policies["linucb-v2", "tips-v2"].reward_count == 1, "who took it has folded it"
    again = await one.decide("anna")
    assert (await one.reward(again, key=key)).match == ("new" if first is None else "key")
    windowed = await one.decide("anna", window=RewardWindow(held=True))
    assert await take(build(windowed)) is None, "its reward is one of several"
    ahead = one.store.next_seq(other.clock() + 3600.0)
    late = one.build_decision("anna")
    assert late.seq > ahead
    assert await take(build(late)) is None, "nobody's word moves the numbers"
    assert other.store.next_seq(other.clock()) < ahead
    assert_same(await one.store.load_profile("anna"), await other.store.load_profile("anna"))


async def a_key_that_is_spent_while_it_is_looked_for_contradicts_nothing(subjects: SharedSubjects) -> None:
    one, other, key = subjects.first, subjects.second, ("scope", "1")
    decision, store = await other.decide("anna"), one.store
    assert isinstance(store, SharedStore)
    fetch = store.ledger.readers.fetch_one

    async def answer_late(query: str, *values: object) -> Any:
        found = await fetch(query, *values)
        await other.reward(decision, 0.5, key=key)
        return found

    store.ledger.readers.fetch_one = answer_late  # type: ignore[method-assign]
    assert await store.find_reward_by_key(key) is None
    found = await store.find_reward_by_key(key)
    assert found is not None
    assert found.value == 0.5


async def a_turn_is_one_process_s_to_judge_and_another_s_when_that_is_gone(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    taken = await one.take_turn()
    assert await other.store.claim_turns([taken.seq]) == []
    assert await other.store.list_abandoned() == []
    (mine,) = await one.store.claim_turns([taken.seq])
    assert mine.texts == ("q", "a", "m", "hints first")
    await subjects.session.execute("UPDATE processes SET seen = seen - interval '2 minutes'")
    assert [seq for seq, _, _ in await other.store.list_abandoned()] == [taken.seq]
    (theirs,) = await other.store.claim_turns([taken.seq])
    assert await one.store.claim_turns([taken.seq, 1]) != [], "it has not heard that it was given up"
    await other.build_conclusion(theirs, 0.5)
    nothing = Conclusion(cause="judge", client="tests", state="unscored", reason="timeout")
    late = await one.store.apply_conclusion(mine, nothing)
    assert late is None, "it came too late, and is told that there is nothing to tell"
    assert (await one.state("anna")).reward_count == 1


async def a_turn_that_both_have_judged_is_taught_once(subjects: SharedSubjects) -> None:
    taken = await subjects.first.take_turn()
    verdict = Conclusion(cause="judge", client="tests", verdict=VERDICT, applied={"reward": 0.5}, teach=0.5)
    both = (subjects.first, subjects.second)
    assert await subjects.first.store.apply_conclusion(taken, verdict) is not None
    with pytest.raises(AlreadyRewardedError):
        await subjects.second.store.apply_conclusion(taken, verdict)
    for subject in both:
        assert await subject.load_sums() == (1, 0.5)


async def what_a_user_s_turns_may_teach_is_counted_over_both(subjects: SharedSubjects) -> None:
    limits = [
        UpdateRateLimit(subject.store, 3, lambda: subjects.first.clock.now)
        for subject in (subjects.first, subjects.second)
    ]
    states = []
    for number in range(6):
        subject, limit = (subjects.first, subjects.second)[number % 2], limits[number % 2]
        taken = await subject.take_turn()
        await limit.load_user("anna")
        conclusion = Conclusion(cause="judge", client="judge", verdict=VERDICT, teach=0.5)
        allow_update = partial(limit.allow_update, "anna")
        outcome = await subject.store.apply_conclusion(taken, conclusion, allow_update=allow_update)
        assert outcome is not None
        states.append((outcome.judgement.state, outcome.judgement.reason))
    assert states == [("taught", None)] * 3 + [("withheld", "influence_cap")] * 3


async def a_turn_that_is_concluded_while_it_is_read_is_read_as_it_was_or_is(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    taken, store = await one.take_turn(), one.store
    assert isinstance(store, SharedStore)
    fetch = store.ledger.readers.fetch

    async def answer_late(query: str, *values: object) -> list[Any]:
        rows = await fetch(query, *values)
        store.ledger.readers.fetch = fetch  # type: ignore[method-assign]
        await other.build_conclusion(taken, 0.5)
        return rows

    store.ledger.readers.fetch = answer_late  # type: ignore[method-assign]
    for _ in range(2):
        detail = await store.load_detail(taken)
        assert {each["verdict"] for each in detail["conclusions"]} <= detail["verdicts"].keys()


async def totals_do_not_depend_on_who_counted(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    for subject in (one, other, one, other):
        await subject.reward(await subject.decide("anna"), 0.5)
    assert await one.store.load_policy_totals() == await other.store.load_policy_totals()
    assert (await one.store.load_policy_totals())["linucb-v2"].rewards == 4
    mine, theirs = await one.store.load_loop_sums(2), await other.store.load_loop_sums(2)
    assert mine == theirs
    assert {sums.decisions for sums in mine.draws} == {4}


async def no_two_give_the_same_number(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    seqs = [subject.store.next_seq(NOON) for _ in range(5000) for subject in (one, other)]
    assert len(set(seqs)) == len(seqs)
    await one.reopen()
    assert one.store.next_seq(NOON) not in set(seqs)


async def what_is_read_from_a_checkpoint_is_what_all_events_make(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    await one.store.load_profile("anna")
    for _ in range(CHECKPOINT_EVENTS + 6):
        await one.reward_legacy("anna", one.random.uniform(-1, 1))
    store = one.store
    assert isinstance(store, SharedStore)
    await store.ledger.users.write_checkpoints()
    assert await subjects.count("checkpoints") == 1
    from_checkpoint = (await other.store.load_profile("anna")).copy()
    await subjects.session.execute("DELETE FROM checkpoints")
    await other.reopen()
    assert_same(await other.store.load_profile("anna"), from_checkpoint)


async def a_user_whose_state_has_gone_back_is_read_anew(subjects: SharedSubjects) -> None:
    one = subjects.first
    for known in (None, 3):  # compared, and not
        while (await one.store.load_profile("anna")).seq < 3:
            await one.reward_legacy("anna", 0.5)
        await subjects.session.execute(
            "DELETE FROM rewards WHERE n > 1; UPDATE users SET version = 1"
        )  # as a restore does
        gone = one.build_decision("anna")
        gone.known = known
        with pytest.raises(MovedError, match="gone back"):
            await one.store.decide(gone)
    await one.decide("anna")
    assert await one.load_sums() == (1, 0.5)


async def a_number_that_a_lost_lease_would_give_is_refused(subjects: SharedSubjects) -> None:
    store = subjects.first.store
    assert isinstance(store, SharedStore)
    before = store.next_seq(NOON)
    await subjects.session.execute("UPDATE slots SET holder = 'another' WHERE holder IS NOT NULL")
    with pytest.raises(Exception, match="away for too long"):
        await store.ledger.lease.renew()
    with pytest.raises(Exception, match="too long to number"):
        store.next_seq(NOON)
    assert store.status().state == "failed"
    await store.ledger.take_slot()
    assert store.next_seq(NOON) > before
    assert store.status().state == "ready"


async def what_retention_takes_leaves_what_it_taught(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    old = [await one.decide("anna", exploring=number == 0) for number in range(6)]
    for decision in old[:4]:
        sent = SentReaction.from_request({"action": "done"}, one.clock(), CONTRACT.reactions)
        await one.reward(decision, one.random.uniform(-1, 1), reaction=sent)
    taken = (await one.reward_legacy("anna", 0.25)).reward
    await one.store.revoke([taken.seq], cause="test", client="tests")
    for subject in (one, other):
        subject.clock.now += 30 * DAY
    await other.reward(await other.decide("anna"), 0.5)
    before = (await one.store.load_profile("anna")).copy()
    store = other.store
    assert isinstance(store, SharedStore)
    for subject in (one, other):
        subject.clock.now += 70 * DAY
    await subjects.session.execute("DELETE FROM leases")
    await store.upkeep.try_to_lead()
    await store.upkeep.apply_retention()
    left = {table: await subjects.count(table) for table in ("decisions", "rewards", "reactions")}
    assert left == {"decisions": 1, "rewards": 1, "reactions": 0}
    assert await one.store.find_out_of_reach(0.0) == (1, taken.ts)
    assert (await one.store.select_rewards(Selection(client="tests"))).out_of_reach == 1
    assert await one.store.find_out_of_reach(taken.ts + 1) == (0, None)
    for _ in range(2):
        for subject in (one, other):
            assert_same(await subject.store.load_profile("anna"), before)
            assert await subject.store.find_decision(old[0].decision_id) is None
            await subject.reopen()
    await one.store.reset("anna", "tests")
    assert (await other.state("anna")).pulls == 0


async def whoever_stays_in_memory_misses_nothing_that_retention_took(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    await one.reward_legacy("anna", 0.5)
    await one.store.load_profile("anna")
    for _ in range(4):
        await other.reward_legacy("anna", 0.25)
    for subject in (one, other):
        subject.clock.now += 100 * DAY
    store = other.store
    assert isinstance(store, SharedStore)
    await subjects.session.execute("DELETE FROM leases")
    await store.upkeep.try_to_lead()
    await store.upkeep.apply_retention()
    assert await subjects.count("rewards") == 0
    await other.reward_legacy("anna", 1.0)
    with pytest.raises(MovedError):  # it was decided from the first reward alone
        await decide_stale(one)
    assert await one.load_sums() == (6, 2.5)


async def what_a_baseline_cannot_give_back_exactly_is_taken_as_it_is(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    taken = (await one.reward_legacy("anna", 0.5)).reward
    await one.reward_legacy("anna", 0.25)
    document = render(await one.store.load_profile("anna"))
    await subjects.session.execute(
        "INSERT INTO baselines (uid, version, last, document) SELECT uid, 2, $1, $2 FROM users", one.clock(), document
    )
    await one.store.revoke([taken.seq], cause="test", client="tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bandstand.bandit.policy_state._EXACTNESS_RATIO", 0.0)  # nothing is ever exact
        assert await other.load_sums() == (1, 0.25)
        assert await one.load_sums() == (1, 0.25)


async def a_leader_that_was_paused_writes_nothing(subjects: SharedSubjects) -> None:
    one, other = subjects.first.store, subjects.second.store
    assert isinstance(one, SharedStore)
    assert isinstance(other, SharedStore)
    await subjects.session.execute("DELETE FROM leases")
    await one.upkeep.try_to_lead()
    await other.upkeep.try_to_lead()
    assert (one.upkeep.is_leader, other.upkeep.is_leader) == (True, False)
    await subjects.session.execute("UPDATE leases SET until = clock_timestamp() - interval '1 second'")
    await other.upkeep.try_to_lead()
    assert other.upkeep.is_leader
    with pytest.raises(NoLeaderError):
        await one.upkeep.apply_retention()
    assert not one.upkeep.is_leader
    await other.upkeep.apply_retention()


# ── rewards over time ─────────────────────────────────────────────────────────────────────────────────────────────────


async def parts_that_come_to_both_at_once_come_to_one_sum(subjects: SharedSubjects) -> None:
    decision = await subjects.first.decide("anna")
    for subject in (subjects.first, subjects.second):
        await subject.store.load_profile("anna")
    keys = [("scope", str(number % 10)) for number in range(20)]
    both = (subjects.first, subjects.second)
    given = [
        asyncio.gather(*(each.reward(decision, 0.0625, settings=SUM, key=key) for each in both), return_exceptions=True)
        for key in keys
    ]
    assert not [each for pair in await asyncio.gather(*given) for each in pair if isinstance(each, BaseException)]
    for subject in both:
        assert await subject.load_sums() == (1, 0.625)
        assert (await subject.load_standing(decision))[0] == 0.625
    assert await subjects.count("reward_parts") == 10
    assert await subjects.count("revocations", cause="revision") == 9
    assert not await subjects.first.store.has_revocations_since(0), "a revision takes nothing from anybody"


async def what_was_shown_through_one_takes_its_rewards_through_the_other(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    decision = await one.decide("anna", window=RewardWindow(held=True))
    assert (await other.reward(decision, 0.5)).reward.reason == "held"
    activations = await asyncio.gather(
        *(each.store.activate(decision.decision_id, None, "tests") for each in (one, other))
    )
    assert [each.activated for each in activations] == [True, True]
    assert sum(each.reward is not None for each in activations) == 1
    for subject in (one, other):
        assert await subject.load_sums() == (1, 0.5)


async def silence_is_taught_once_though_both_look(subjects: SharedSubjects) -> None:
    both = (subjects.first, subjects.second)
    for _ in range(5):
        await subjects.first.decide("anna", window=RewardWindow(due=NOON + 60, fallback=-0.5))
    for subject in both:
        subject.clock.now += 60
    closed = await asyncio.gather(*(subject.store.close_windows(10) for subject in both))
    assert sum(len(each.taught) for each in closed) == 5
    for subject in both:
        assert await subject.load_sums() == (5, -2.5)
    assert not await subjects.second.store.has_awaiting_windows()


async def metrics_are_of_the_parts_that_are_there(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    for number, user_id in enumerate(("anna", "berta", "berta")):
        decision = await one.decide(user_id, tip_id="tip", window=RewardWindow(held=True) if number == 2 else None)
        reward = other.reward_of(decision, 0.5, settings=SUM)
        reward.part = RewardPart(0.5, metrics=json.dumps({"seconds": 3.0 + number, "é": 1}))
        await other.store.reward(reward)
        if number == 2:
            assert await other.store.load_metric_sums() == expect_metrics(2, 7.0, 25.0)
            await one.store.activate(decision.decision_id, SUM, "tests")
    assert await one.store.load_metric_sums() == expect_metrics(3, 12.0, 50.0)
    assert (await one.store.erase("berta", "tests")).parts == 2
    assert await other.store.load_metric_sums() == expect_metrics(1, 3.0, 9.0)
    store = one.store
    assert isinstance(store, SharedStore)
    for subject in (one, other):
        subject.clock.now += 100 * DAY
    await subjects.session.execute("DELETE FROM leases")
    await store.upkeep.try_to_lead()
    await store.upkeep.apply_retention()
    assert await other.store.load_metric_sums() == []
    assert (await subjects.count("reward_parts"), await subjects.count("windows")) == (0, 0)


async def silence_is_taught_once_though_connections_are_cut_in_the_middle_of_groups(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    for number in range(_SILENT):
        await one.decide(f"user-{number % 5}", window=RewardWindow(due=NOON + number, fallback=-0.5))
    for subject in (one, other):
        subject.clock.now = NOON + 7 * DAY
    closing = [asyncio.create_task(_close_all(subject)) for subject in (one, other)]
    cut = 0
    while cut < _CUTS and not all(task.done() for task in closing):
        cut += len(await subjects.session.fetch(_CUT))  # whatever they are in the middle of
    assert cut > 0
    async with asyncio.timeout(60):
        await asyncio.gather(*closing)
    once = "SELECT count(*), count(DISTINCT decision_seq), count(DISTINCT (uid, n)) FROM rewards"
    assert tuple(await subjects.session.fetchrow(once)) == (_SILENT, _SILENT, _SILENT)
    assert await subjects.session.fetchval("SELECT sum(rewards) FROM rollups_s WHERE hour = -1") == _SILENT
    for subject in (one, other):
        for number in range(5):
            assert await subject.load_sums(f"user-{number}") == (_SILENT / 5, -0.5 * _SILENT / 5)


async def _close_all(subject: Subject) -> None:
    """Close windows until none awaits its end; who cannot be reached is asked again."""
    while True:
        with suppress(BandstandError):
            await subject.store.close_windows()
            if not await subject.store.has_awaiting_windows():
                return


def expect_metrics(parts: int, total: float, squares: float) -> list[MetricSums]:
    """The sums of the metrics that the law's parts bring."""
    ones = MetricSums("linucb-v2", "é", "tip", parts, float(parts), float(parts))
    return [MetricSums("linucb-v2", "seconds", "tip", parts, total, squares), ones]


# ── gains ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def gains_and_arms_are_what_all_events_come_to(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    memory = Subject(lambda clock: MemoryStore(CATALOGUE, clock=clock), seed=1)  # draws as the first does
    async with memory:
        memory.store.secret = one.store.secret
        holdout = Holdout(0.5, "random")
        split = HoldoutSplit(holdout, one.store.secret)
        begun = await one.store.set_holdout(holdout.to_canonical_json())
        assert begun == await other.store.set_holdout(holdout.to_canonical_json()), "it goes on"
        told = await memory.store.set_holdout(holdout.to_canonical_json())
        assert begun is not None
        assert told is not None
        names = [f"user-{number}" for number in range(100)]
        users = [[name for name in names if split.is_control(name) == is_control][:4] for is_control in (True, False)]
        for number in range(24):
            user_id = users[number % 2][number // 2 % 4]
            policy = holdout.policy if split.is_control(user_id) else "linucb-v2"
            decision, twin = await one.decide(user_id, policy), await memory.decide(user_id, policy)
            if number % 4:
                metrics = json.dumps({f"metric-{number}": 1.0, "minutes": 0.5, "reward": 2.0})
                for value in (0.25, 0.5)[: 1 + number % 2]:
                    for subject, made in ((other, decision), (memory, twin)):
                        reward = subject.reward_of(made, value, settings=SUM)
                        reward.part = RewardPart(value, metrics=metrics)
                        await subject.store.reward(reward)
            if number % 5 == 0:
                await other.store.follow_gains()
            for subject in (one, other, memory):
                subject.clock.now += 20_000
        for _ in range(2):
            for subject in (one, other):
                await subject.store.follow_gains()
                assert_same_gains(await subject.store.load_gain_sums(), await memory.store.load_gain_sums())
                arms, expected = await subject.store.load_arms(begun.seq), await memory.store.load_arms(told.seq)
                assert arms.now["reward"].keys() == arms.now["minutes"].keys() == {"bandit", "control"}
                assert _flatten(arms) == pytest.approx(_flatten(expected), abs=1e-9)
                assert arms.left_out == expected.left_out > 0, "a metric of the reward's name has no place"
            await one.store.erase(users[1][3], "tests")
            await memory.store.erase(users[1][3], "tests")
    assert (await other.store.load_arms(begun.seq)).days


def _flatten(arms: ArmHistory) -> dict[tuple[str, str, str], float]:
    """The newest sums of every metric and arm, by name."""
    return {
        (metric, arm, name): value
        for metric, by_arm in arms.now.items()
        for arm, sums in by_arm.items()
        for name, value in list(sums._asdict().items())[3:]
    }


async def no_event_is_summed_before_all_with_lower_numbers_are_there(subjects: SharedSubjects) -> None:
    one, other = subjects.first, subjects.second
    for subject in (one, other):
        await subject.reward(await subject.decide("anna"), 0.5)
    store = one.store
    assert isinstance(store, SharedStore)
    store.ledger.options = replace(store.ledger.options, settle_seconds=60.0)
    await one.store.follow_gains()
    assert (await one.store.load_gain_sums()).days == []
    one.clock.now += 61
    await one.store.follow_gains()
    [day] = (await other.store.load_gain_sums()).days
    assert day.rewarded == 2


async def a_launch_is_changed_by_one_at_a_time(subjects: SharedSubjects) -> None:
    both = (subjects.first.store, subjects.second.store)
    plan = LaunchPlan(policy="egreedy-v1", control="linucb-v2", steps=(5.0, 100.0), min_decisions=1)
    known = 0
    told: list[tuple[LaunchAction, LaunchState]] = [("start", "running"), ("hold", "held"), ("cancel", "cancelled")]
    for action, state in told:
        event = LaunchEvent(
            seq=0,
            ts=NOON,
            client="tests",
            action=action,
            state=state,
            step=0,
            since=known,
            reason="by hand",
            plan=plan,
            figures={"share": 5.0},
        )
        done = await asyncio.gather(*(each.log_launch(event, after=known) for each in both), return_exceptions=True)
        [logged] = [each for each in done if isinstance(each, LaunchEvent)]
        assert [type(each) for each in done if each is not logged] == [MovedError]
        assert logged.since == (known or logged.seq)
        for store in both:
            assert (await store.list_launches())[-1] == logged
        known = logged.seq


async def loops_are_changed_by_one_at_a_time(subjects: SharedSubjects) -> None:
    one, other = subjects.first.store, subjects.second.store
    made = LoopChange(name="menu", action="create", before=None, after={}, ts=NOON, client="ops", place="menu_1")
    first = await one.log_loop_change(made, after=0)
    with pytest.raises(MovedError):
        await other.log_loop_change(made, after=0)
    second = await other.log_loop_change(replace(made, action="change", place=None), after=first.seq)
    assert first.seq < second.seq
    for store in (one, other):
        assert await store.list_loop_changes() == [first, second]
    heard: list[int] = []

    async def note() -> None:
        heard.append(1)

    other.subscribe(note)
    await one.announce_change()
    with pytest.raises(MovedError):  # it is to look what its loop is, before it decides in it
        await decide_stale(await _load_anna(subjects.second))
    assert heard == [1]
    await decide_stale(subjects.second)


async def _load_anna(subject: Subject) -> Subject:
    await subject.store.load_profile("anna")
    return subject


async def a_policy_that_both_promote_at_once_is_promoted_once(subjects: SharedSubjects) -> None:
    both = (subjects.first.store, subjects.second.store)
    promotion = Promotion("promote", "egreedy-v1", "linucb-v2", NOON, "tests")
    await asyncio.gather(*(store.log_promotion(promotion) for store in both))
    assert [await store.list_promotions() for store in both] == [[promotion], [promotion]]


def assert_same_gains(sums: GainSums, others: GainSums) -> None:
    """Both hold the same of every day with rewarded decisions."""
    mine, theirs = ({each[:2]: each[2:] for each in days if each.rewarded} for days in (sums.days, others.days))
    assert mine.keys() == theirs.keys()
    for key, amounts in mine.items():
        assert list(amounts) == pytest.approx(list(theirs[key]), abs=1e-9)
