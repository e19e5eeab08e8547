"""Laws of reactions: kept as they were sent, and taught anew under another table; see ``tests/store/checks.py``."""

from collections import Counter

from bandstand.bandit.reaction_table import DwellStep, ReactionTable, SentReaction
from bandstand.bandit.reward_settings import CONTRACT, RewardSettings
from bandstand.store.records import AcceptedReward, Decision, RewardWindow
from bandstand.store.tables.reactions import LoggedReaction
from bandstand.store.tables.undo import Selection
from tests.store.given import Subject

OTHER = ReactionTable("shop", 2, {"dismiss": (DwellStep(-0.5),), "snooze": (DwellStep(0.1),)})
NOW = RewardSettings(reactions=OTHER)
SUM = RewardSettings(aggregation="sum")
SUM_NOW = RewardSettings(aggregation="sum", reactions=OTHER)


async def react(
    subject: Subject,
    decision: Decision | None = None,
    action: str = "dismiss",
    settings: RewardSettings = CONTRACT,
    key: tuple[str, str] | None = None,
) -> AcceptedReward:
    sent = SentReaction.from_request({"action": action}, subject.clock(), settings.reactions)
    value = settings.compute_reaction_reward(action, None)
    if decision is None:
        return await subject.store.reward(subject.legacy("anna", value, key=key, reaction=sent))
    given = settings if settings.takes_parts else None
    return await subject.reward(decision, value, settings=given, reaction=sent, body=action, key=key)


async def _list_all(subject: Subject) -> list[LoggedReaction]:
    return await subject.store.list_reactions(0, 0.0, 100)


async def _reapply_all(subject: Subject, settings: RewardSettings) -> list[bool]:
    return [
        await subject.store.reapply_reactions([each], settings, "the office")
        for each in await _list_all(subject)
        if each.fate == "held"
    ]


async def a_reaction_is_kept_as_it_was_sent(subject: Subject) -> None:
    decision = await subject.decide("anna", own_id="mine")
    sent = SentReaction("done", 45_000, subject.clock(), "contract-v1", 1, CONTRACT.reactions.hash)
    await subject.reward(decision, 1.0, reaction=sent)
    await subject.reward(await subject.decide("anna"), 1.0)  # a number was sent
    subject.clock.now += 1.0  # events of one moment have no order where several processes number them
    await react(subject)
    async for _ in subject.iter_restarts():
        [first, second] = await _list_all(subject)
        assert (first.sent, first.value, first.fate) == (sent, 1.0, "held")
        assert (first.user_id, first.decision_id, first.is_part) == ("anna", "mine", False)
        assert (second.sent.action, second.sent.dwell_ms, second.decision_id) == ("dismiss", None, None)
        assert await subject.store.list_reactions(first.seq, 0.0, 100) == [second]
        assert await subject.store.list_reactions(0, subject.clock() + 1, 100) == []
        assert await subject.store.list_reactions(0, 0.0, 1) == [first]


async def another_table_takes_back_and_teaches_anew_once(subject: Subject) -> None:
    decision, key = await subject.decide("anna"), ("scope", "1")
    await react(subject, decision, key=key)
    await react(subject, await subject.decide("anna"), "snooze")
    await react(subject)
    assert await subject.load_sums() == (3, -1.9)
    subject.clock.now += 60.0
    assert sorted(await _reapply_all(subject, NOW)) == [False, True, True]
    async for _ in subject.iter_restarts():
        assert await subject.load_sums() == (3, -0.9)
        assert await subject.load_standing(decision) == (-0.5, True, None)
        found = await _list_all(subject)
        assert Counter((each.value, each.fate, each.sent.table) for each in found) == {
            (-0.5, "held", "shop"): 2,
            (0.1, "held", "contract-v1"): 1,
        }
        assert {each.sent.ts for each in found} == {subject.clock() - 60.0}  # when they were sent
        again = await react(subject, decision, key=key)
        assert (again.match, again.reward.value, again.reward.applied) == ("key", -0.5, True)
        assert await _reapply_all(subject, NOW) == [False, False, False]
    totals = (await subject.store.load_policy_totals())["linucb-v2"]
    assert (totals.rewards, round(totals.reward_sum, 9)) == (3, -0.9)
    assert sorted(await _reapply_all(subject, CONTRACT)) == [False, True, True]  # and back
    assert await subject.load_sums() == (3, -1.9)


async def parts_that_came_as_reactions_are_revised_together(subject: Subject) -> None:
    decision = await subject.decide("anna")
    for action in ("dismiss", "snooze"):
        await react(subject, decision, action, SUM)
    await subject.reward(decision, 0.25, settings=SUM)
    assert await subject.load_sums() == (1, -0.65)
    assert await _reapply_all(subject, SUM_NOW) == [True, False]
    async for _ in subject.iter_restarts():
        assert await subject.load_sums() == (1, -0.15)
        assert await subject.load_standing(decision) == (-0.15, True, None)
        assert [(each.value, each.sent.table) for each in await _list_all(subject)] == [
            (-0.5, "shop"),
            (0.1, "contract-v1"),
        ]
    await subject.reward(decision, 0.25, settings=SUM_NOW, body="later")
    assert await subject.load_sums() == (1, 0.1)


async def what_is_held_back_is_revised_before_it_is_taught(subject: Subject) -> None:
    decision = await subject.decide("anna", window=RewardWindow(held=True))
    await react(subject, decision, settings=SUM)
    assert await _reapply_all(subject, SUM_NOW) == [True]
    assert await subject.load_sums() == (0, 0.0)
    await subject.store.activate(decision.decision_id, SUM_NOW, "tests")
    async for _ in subject.iter_restarts():
        assert await subject.load_sums() == (1, -0.5)


async def what_does_not_stand_is_left(subject: Subject) -> None:
    taken_back = await subject.decide("anna")
    await react(subject, taken_back)
    found = await subject.store.select_rewards(Selection(decision_id=taken_back.decision_id))
    await subject.store.revoke(found.revocable, cause="undo", client="tests")
    subject.clock.now += 1.0
    await react(subject, await subject.decide("anna"), settings=SUM)
    before = await _list_all(subject)
    await subject.store.reset("anna", "tests")
    assert [each.fate for each in await _list_all(subject)] == ["already", "forgotten"]
    assert not any([await subject.store.reapply_reactions([each], SUM_NOW, "tests") for each in before])
    assert await subject.load_sums() == (0, 0.0)
    await react(subject, await subject.decide("bob"))
    before = await _list_all(subject)
    await subject.store.erase("anna", "tests")
    assert [each.user_id for each in await _list_all(subject)] == ["bob"]
    assert not await subject.store.reapply_reactions(before[:1], NOW, "tests")
