"""The decision log: everything that happened, in order, in pages, beside whoever writes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bandstand.store.logged_events import LoggedDecision, LoggedEvent, LoggedReset, LoggedReward, LoggedState
from bandstand.store.maintenance.decision_log import read_events
from bandstand.store.maintenance.export import export, read_lines
from bandstand.store.maintenance.import_ import import_states
from bandstand.store.maintenance.offline import OpenedDirectory, open_owned, open_read_only
from bandstand.store.records import to_time
from tests.store.given import CATALOGUE, DAY, NOON, Subject, ledger_of, make_embedded
from tests.store.learners.test_replay import USERS, play_history
from tests.store.populated import Served, build_shop, catalogue_of, serve_users, trim_directory

KINDS = (LoggedDecision, LoggedReward, LoggedReset, LoggedState)


@contextmanager
def open_directory(state_dir: Path) -> Iterator[OpenedDirectory]:
    with open_read_only(state_dir, CATALOGUE) as state:
        yield state


def events(state_dir: Path, **bounds: float) -> list[LoggedEvent]:
    with open_directory(state_dir) as state:
        return [event for page in read_events(state, **bounds) for event in page]  # type: ignore[arg-type]  # page is no float


def count(state_dir: Path, query: str) -> int:
    with ledger_of(state_dir) as connection:
        return int(connection.execute(query).fetchone()[0])


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_everything_comes_once_and_in_order_however_long_a_page_is(tmp_path: Path, page: int) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await play_history(subject, 300)
    with open_directory(tmp_path) as state:
        pages = list(read_events(state, page=page))
    assert all(len([event for event in each if isinstance(event, kind)]) <= page for each in pages for kind in KINDS)
    found = [event for each in pages for event in each]
    assert all(earlier.seq < later.seq for earlier, later in pairwise(found))
    assert len([event for event in found if isinstance(event, LoggedDecision)]) == count(
        tmp_path, "SELECT count(*) FROM decisions WHERE seq NOT IN (SELECT decision FROM windows WHERE held)"
    )
    assert len([event for event in found if isinstance(event, LoggedReward)]) == count(
        tmp_path, "SELECT count(*) FROM rewards WHERE applied AND seq NOT IN (SELECT reward_seq FROM revocations)"
    )
    assert len([event for event in found if isinstance(event, LoggedReset)]) == count(
        tmp_path, "SELECT count(*) FROM marks WHERE kind = 'reset'"
    )
    assert len({event.uid for event in found}) <= len(USERS)


async def test_a_decision_is_as_it_was_logged(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        made = await subject.decide("anna", "egreedy-v1")
        decision = await subject.store.find_receipt(made.decision_id)
    assert decision is not None
    [event] = events(tmp_path)
    assert isinstance(event, LoggedDecision)
    assert (event.seq, event.policy, event.ts) == (decision.seq, "egreedy-v1", NOON)
    assert (event.seed, event.pick, event.propensity) == (decision.seed, decision.pick, decision.propensity)
    assert (event.body, event.reward) == (decision.body, None)
    assert decision.numbers is not None
    np.testing.assert_array_equal(event.probabilities, decision.numbers[3])


async def test_a_decision_comes_with_the_reward_it_got_in_the_end(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        named = await subject.decide("anna", tip_id="a")
        linked = await subject.decide("anna", tip_id="b")
        both = await subject.decide("anna", tip_id="c")
        none = await subject.decide("anna", tip_id="d")
        before_reset = await subject.decide("bob", tip_id="e")
        await subject.reward(named, 0.5)
        await subject.reward_legacy("anna", -0.25, tip_id="b")
        await subject.reward_legacy("anna", 0.75, tip_id="c")
        await subject.reward(both, 1.0)
        await subject.store.reset("bob", "tests")
        await subject.reward(before_reset, -1.0)
    found = events(tmp_path)
    rewards = {event.seq: event.reward for event in found if isinstance(event, LoggedDecision)}
    assert rewards == {named.seq: 0.5, linked.seq: -0.25, both.seq: 1.0, none.seq: None, before_reset.seq: -1.0}
    taught = [event.value for event in found if isinstance(event, LoggedReward)]
    assert taught == [0.5, -0.25, 0.75, 1.0]  # what the reset left without effect was given, and taught nothing


async def test_a_reward_in_the_legacy_form_brings_its_features_as_a_request_of_one(tmp_path: Path) -> None:
    policy = CATALOGUE.policies["linucb-v2"]
    async with Subject(make_embedded(tmp_path)) as subject:
        reward = subject.legacy("anna")
        await subject.store.reward(reward)
    [event] = events(tmp_path)
    assert isinstance(event, LoggedReward)
    assert (event.decision_seq, event.pick) == (None, 0)
    request = json.loads(event.body)
    [candidate] = request["candidates"]
    np.testing.assert_array_equal(policy.schema.encode(request["context"], [candidate["features"]])[0], reward.x)


async def test_earlier_decisions_are_left_out_and_still_teach(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        first = await subject.decide("anna")
        await subject.reward(first, 0.5)
        subject.clock.now += DAY
        second = await subject.decide("anna")
    found = events(tmp_path, since=NOON + DAY / 2)
    assert [type(event) for event in found] == [LoggedReward, LoggedDecision]
    assert found[1].seq == second.seq


async def test_nothing_after_the_end_is_read_not_even_a_reward(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna")
        subject.clock.now += DAY
        await subject.reward(decision, 0.5)
        await subject.decide("anna")
    [event] = events(tmp_path, until=NOON + DAY / 2)
    assert isinstance(event, LoggedDecision)
    assert event.reward is None


async def test_what_retention_took_comes_first_as_a_state(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        late = await served.decide("anna")
        await served.live_history("anna")
        await served.store.reset("anna", "tests")
        await served.live_history("anna")
        served.clock.now += 10 * DAY
        await served.reward(late)  # keeps its decision past retention
        await served.live_history("anna")
    cut = trim_directory(tmp_path, NOON + 5 * DAY)
    found = events(tmp_path)
    assert isinstance(found[0], LoggedState)
    assert (found[0].seq, to_time(found[0].profile.seq)) == (0, cut)
    assert found[0].profile.policies
    assert all(to_time(event.seq) > cut for event in found[1:])
    assert count(tmp_path, "SELECT count(*) FROM decisions") == 1 + sum(
        isinstance(event, LoggedDecision) for event in found
    )
    assert not [event for event in found if isinstance(event, LoggedReset)]


async def test_an_import_comes_in_its_place(tmp_path: Path) -> None:
    await serve_users(tmp_path / "there", "anna")
    with open_read_only(tmp_path / "there", CATALOGUE) as there:
        lines = [line.encode() for line in export(there)]
    async with Subject(make_embedded(tmp_path / "here")) as subject:
        await subject.decide("anna")
    with open_owned(tmp_path / "here", CATALOGUE) as here:
        import_states(here, read_lines(lines), now=NOON + DAY)
    [decision, imported] = events(tmp_path / "here")
    assert isinstance(decision, LoggedDecision)
    assert isinstance(imported, LoggedState)
    assert imported.profile.policies
    assert imported.seq > decision.seq


async def test_it_is_read_beside_a_writer_and_holds_no_transaction_between_pages(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        for _ in range(3):
            await served.live_history("anna")
        with open_directory(tmp_path) as state:
            seen = 0
            for page in read_events(state, page=2):
                seen += sum(isinstance(event, LoggedDecision) for event in page)
                assert not state.connection.in_transaction
                await served.live_history("bob")  # after the log as of now
                with ledger_of(tmp_path) as other:
                    busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                assert busy == 0
        assert seen == 18


async def test_policies_newer_than_the_opened_directory_have_names(tmp_path: Path) -> None:
    await serve_users(tmp_path, "anna")
    with open_directory(tmp_path) as state:
        async with Served(tmp_path, catalogue_of(build_shop()), days=1) as served:
            await served.decide("anna", "shop")
        found = [event for page in read_events(state) for event in page]
    assert isinstance(found[-1], LoggedDecision)
    assert found[-1].policy == "shop"
