"""Shadows on disk: what they learned is made again from the ledger alone, whatever happened to it meanwhile."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bandstand.bandit.catalogue import Catalogue
from bandstand.errors import ConfigurationError
from bandstand.store.embedded.options import StoreOptions
from bandstand.store.embedded.store import EmbeddedStore
from bandstand.store.maintenance.migrate_schema import migrate
from bandstand.store.maintenance.offline import open_owned
from bandstand.store.maintenance.rebuild_verify import Verification, verify
from bandstand.store.records import Decision, PolicyRef
from bandstand.store.tables.policies import to_policy_ref
from bandstand.store.tables.shadows import Shadow
from tests.store.given import (
    CATALOGUE,
    DAY,
    QUICK,
    Subject,
    assert_same,
    copy_as_killed,
    ledger_of,
    make_embedded,
    rebuild_profile,
)
from tests.store.maintenance.test_migrate_schema import NEW, OLD, STOCK, WEEKDAY
from tests.store.populated import Served, build_shop, catalogue_of, load_states, trim_directory

NAMES = ("thompson-v1", "linucb-v1")


def list_refs(*names: str, catalogue: Catalogue = CATALOGUE) -> list[PolicyRef]:
    return [to_policy_ref(catalogue.policies[name]) for name in names]


async def live_decisions(subject: Subject, rounds: int = 12) -> list[Decision]:
    """Decisions, most of them rewarded, and rewards in the legacy form."""
    decisions = [await subject.decide("anna") for _ in range(rounds)]
    for number, decision in enumerate(decisions):
        if number % 4:
            await subject.reward(decision, subject.random.uniform(-1, 1))
        else:
            await subject.reward_legacy("anna", subject.random.uniform(-1, 1))
    return decisions


async def test_a_crash_and_a_rebuild_come_to_the_live_state(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        await subject.store.set_shadows(list_refs(*NAMES))
        await live_decisions(subject)
        await subject.reopen()  # documents of the first half
        await subject.store.set_shadows(list_refs("squarecb-v1"))
        await live_decisions(subject)
        live = (await subject.store.load_profile("anna")).copy()
        crashed = copy_as_killed(tmp_path / "state", tmp_path / "crashed")
        assert {name for name, _ in live.policies} == {"linucb-v2", "squarecb-v1", *NAMES}
    async with Subject(make_embedded(crashed)) as subject:
        assert_same(live, await subject.store.load_profile("anna"))
    assert verify(crashed, CATALOGUE) == Verification(users=1, equal=1)
    assert_same(live, await rebuild_profile(crashed, "anna"))


async def test_undo_leaves_shadows_as_if_it_had_never_come(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path / "state")) as subject:
        await subject.store.set_shadows(list_refs(*NAMES))
        await live_decisions(subject, 8)
        await subject.reopen()
        await subject.store.set_shadows([])  # they are found in the shadow of the reward's own time
        with ledger_of(tmp_path / "state") as ledger:
            seqs = [seq for (seq,) in ledger.execute("SELECT seq FROM rewards ORDER BY seq")]
        assert len(await subject.store.revoke(seqs[:5], cause="test", client="tests")) == 5
        live = (await subject.store.load_profile("anna")).copy()
        assert [live.policies[ref.key].reward_count for ref in list_refs("linucb-v2", *NAMES)] == [3, 3, 3]
        assert_same(live, await rebuild_profile(copy_as_killed(tmp_path / "state", tmp_path / "copy"), "anna"))


async def test_retention_keeps_in_the_baseline_what_shadows_learned(tmp_path: Path) -> None:
    options = StoreOptions(sync=False, checkpoint_seconds=3600.0, retention_days=5)
    async with Subject(make_embedded(tmp_path / "state", options)) as subject:
        await subject.store.set_shadows(list_refs(*NAMES))
        (first, *_) = await live_decisions(subject)
        made = Shadow(
            list_refs("thompson-v1")[0], 0, exploring=False, agrees=True, propensity=1.0, weight=1.0, probabilities=P
        )
        subject.store.log_shadows(first, [made])
        subject.clock.now += 3 * DAY
        late = await subject.decide("anna")
        live = (await subject.store.load_profile("anna")).copy()
        subject.clock.now += 3 * DAY
        assert isinstance(subject.store, EmbeddedStore)
        assert await subject.store.apply_retention() == 1
        assert await subject.store.load_shadows(first) == []
        assert (await subject.store.load_shadow_sums())[made.policy].decisions == 1, "sums outlive it"
        assert_same(live, await rebuild_profile(copy_as_killed(tmp_path / "state", tmp_path / "copy"), "anna"))
        await subject.reward(late)
        live = (await subject.store.load_profile("anna")).copy()
    assert_same(live, await rebuild_profile(tmp_path / "state", "anna"))


async def test_a_promoted_shadow_goes_on_from_what_it_learned(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        await subject.store.set_shadows(list_refs("thompson-v1"))
        await subject.reward_legacy("anna")
        await subject.reward(await subject.decide("anna", "thompson-v1"))
        for _ in range(2):
            state = await subject.state("anna", "thompson-v1")
            assert (state.pulls, state.reward_count) == (1, 2)
            await subject.reopen()


async def test_a_schema_that_only_a_shadow_reads_is_migrated(tmp_path: Path) -> None:
    async with Served(tmp_path, OLD) as served:
        await served.store.set_shadows(list_refs("shop", catalogue=OLD))
        await served.live_history("anna", rounds=9, policies=("linucb-v2",))
    with pytest.raises(ConfigurationError, match="run `bandstand state migrate --schema shop`"):
        await Served(tmp_path, NEW).store.open()
    with open_owned(tmp_path, NEW, migrating=True) as state:
        result = migrate(state, ["shop"])
    assert result.rewards > 0
    (profile,) = load_states(tmp_path, NEW).values()
    ridge = profile.policies["shop", "shop"].ridge
    assert ridge is not None
    assert ridge.b.shape == (NEW.schemas["shop"].dimension,)
    assert ridge.count == profile.policies["linucb-v2", "tips-v2"].reward_count == result.rewards
    assert verify(tmp_path, NEW) == Verification(users=1, equal=1)


async def test_what_a_shadow_cannot_read_teaches_it_nothing_live_and_rebuilt(tmp_path: Path) -> None:
    plain, stocked = catalogue_of(build_shop()), catalogue_of(build_shop(STOCK, WEEKDAY))
    async with Served(tmp_path, plain) as served:
        ids = [await served.decide("anna", "linucb-v2", stock=stock) for stock in ("none", 3, 1e9)]
    async with Served(tmp_path, stocked) as served:
        await served.store.set_shadows(list_refs("shop", catalogue=stocked))
        for decision_id in ids:
            await served.reward(decision_id)
        live = await served.profile("anna")
    assert live.policies["linucb-v2", "tips-v2"].reward_count == 3
    assert live.policies["shop", "shop"].reward_count == 1, "neither a word nor a number above the field's maximum"
    assert_same(live, load_states(tmp_path, stocked)["anna"])


async def test_what_a_shadow_learned_before_retention_survives_a_migration_cold(tmp_path: Path) -> None:
    async with Served(tmp_path, OLD) as served:
        await served.store.set_shadows(list_refs("shop", catalogue=OLD))
        await served.live_history("anna", rounds=9, policies=("linucb-v2",))
        end = served.clock.now
    trim_directory(tmp_path, end + 1, OLD)
    with open_owned(tmp_path, NEW, migrating=True) as state:
        assert migrate(state, ["shop"]).cold == 1
    assert load_states(tmp_path, NEW)["anna"].policies["shop", "shop"].ridge is None


async def test_a_half_life_is_each_shadows_own(tmp_path: Path) -> None:
    forgetful: dict[str, Any] = {"policies": {"forgetful": {"kind": "linucb", "schema": "tips-v2", "half_life": 3}}}
    catalogue = catalogue_of(forgetful)
    async with Served(tmp_path, catalogue) as served:
        await served.store.set_shadows(list_refs("forgetful", catalogue=catalogue))
        await served.reward_legacy("anna", "linucb-v2")
        served.clock.now += 3 * DAY - 1
        await served.reward_legacy("anna", "linucb-v2")
        live = await served.profile("anna")
    state, served_state = live.policies["forgetful", "tips-v2"], live.policies["linucb-v2", "tips-v2"]
    assert state.ridge is not None
    assert served_state.ridge is not None
    assert state.ridge.weight == pytest.approx(1.5, abs=1e-5)
    assert served_state.ridge.weight == 2.0
    assert_same(live, load_states(tmp_path, catalogue)["anna"])


async def test_a_block_is_learned_in_the_shadow(tmp_path: Path) -> None:
    catalogue = catalogue_of(build_shop(block={"source": "candidate.colour", "values": ["red", "green"]}))
    async with Served(tmp_path, catalogue) as served:
        await served.store.set_shadows(list_refs("shop", catalogue=catalogue))
        for colour in ("red", "green", "blue", "red"):
            await served.reward(await served.decide("anna", "linucb-v2", colour=colour))
            await served.reward_legacy("anna", "linucb-v2", colour=colour)
        live = await served.profile("anna")
    ridge = live.policies["shop", "shop"].ridge
    assert ridge is not None
    assert (ridge.gram.ndim, ridge.count) == (3, 8)
    assert_same(live, load_states(tmp_path, catalogue)["anna"])


async def test_a_judges_reward_and_its_replacement_teach_shadows(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path / "state")) as turns:
        await turns.store.set_shadows(list_refs(*NAMES))
        decision = await turns.decide("anna")
        turns.store.log_shadows(decision, [made := shadow_of("thompson-v1", weight=2.0)])
        judgement = (await turns.store.accept(turns.turn(decision))).judgement
        await turns.build_conclusion(judgement, teach=0.8)
        assert await list_counters(turns) == pytest.approx([1, 0.8] * 3)
        await turns.reopen()
        await turns.build_conclusion(judgement, teach=-0.4, cause="override")
        assert await list_counters(turns) == pytest.approx([1, -0.4] * 3)
        sums = (await turns.store.load_shadow_sums())[made.policy]
        assert sums.rewarded == 1
        assert (sums.wr, sums.wwrr) == pytest.approx((-0.8, 0.64))
        live = (await turns.store.load_profile("anna")).copy()
    assert_same(live, await rebuild_profile(tmp_path / "state", "anna"))


async def test_a_reward_that_names_the_decision_stands_before_one_that_is_linked_to_it(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path)) as subject:
        decision = await subject.decide("anna", tip_id="tip")
        subject.store.log_shadows(decision, [made := shadow_of("thompson-v1", weight=1.0)])
        linked = (await subject.reward_legacy("anna", -0.5, tip_id="tip")).reward
        assert (await subject.store.load_shadow_sums())[made.policy].r == -0.5
        named = (await subject.reward(decision, 0.25)).reward
        assert (await subject.store.load_shadow_sums())[made.policy].r == 0.25
        for seq, stands in ((named.seq, -0.5), (linked.seq, 0.0)):
            await subject.store.revoke([seq], cause="test", client="tests")
            assert (await subject.store.load_shadow_sums())[made.policy].r == pytest.approx(stands)
        assert (await subject.store.load_shadow_sums())[made.policy].rewarded == 0


async def test_a_start_without_a_change_writes_no_word(tmp_path: Path) -> None:
    async with Subject(make_embedded(tmp_path, QUICK)) as subject:
        await subject.store.set_shadows([])
        for _ in range(3):
            await subject.store.set_shadows(list_refs(*NAMES))
            await subject.reopen()
        with ledger_of(tmp_path) as ledger:
            assert ledger.execute("SELECT count(*) FROM marks WHERE kind = 'shadow'").fetchone() == (1,)


def shadow_of(policy: str, weight: float) -> Shadow:
    return Shadow(list_refs(policy)[0], 0, exploring=False, agrees=True, propensity=0.5, weight=weight, probabilities=P)


async def list_counters(turns: Subject) -> list[float]:
    states = [await turns.state("anna", name) for name in ("linucb-v2", *NAMES)]
    return [number for state in states for number in (state.reward_count, state.cumulative_reward)]


P = np.array([0.25, 0.75])
