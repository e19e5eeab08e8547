"""What a person sees of a shared ledger is what they would see of a directory."""

import json
from collections.abc import Iterator
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import pytest

from bandstand.store.postgres import picks, shown
from bandstand.store.postgres.console_queries import SharedConsoleQueries
from bandstand.store.postgres.store import SharedStore
from bandstand.store.records import LAST_SEQ, RewardWindow, first_seq_at
from bandstand.store.tables.console_queries import ConsoleQueries, ConsoleSource
from bandstand.store.tables.reviews import ReviewFilter
from bandstand.store.tables.shown import DecisionSearch
from tests.store.given import NOON, Subject, make_embedded
from tests.store.postgres.shared import empty_ledger, make_shared, run_law_server

HOUR = int(NOON // 3600)
CONTENTS = ("Send the TAX return.", 'Straße "fegen"', "给植物浇水", None)
SEARCHES = (
    DecisionSearch(),
    DecisionSearch(words=["tax", "send"]),
    DecisionSearch(words=["STRASSE"], among="offered"),
    DecisionSearch(words=['"fegen"']),
    DecisionSearch(candidate_id="tip-1"),
    DecisionSearch(candidate_id="tip-1", among="offered"),
    DecisionSearch(user_id="berta"),
    DecisionSearch(user_id="nobody"),
    DecisionSearch(since=first_seq_at(NOON + 4), until=first_seq_at(NOON + 8)),
)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with run_law_server() as url:
        yield url


async def live(subject: Subject) -> list[str]:
    """Some users' events, a second apart; returns the judgements."""
    judgements = []
    for number in range(12):
        user_id = ("anna", "annika", "berta")[number % 3]
        decision = await subject.decide(user_id, own_id=f"own-{number}" if number % 5 == 0 else None)
        subject.clock.now += 1
        if number % 2:
            await subject.reward(decision, number / 16)
        elif number % 4:
            await subject.reward_legacy(user_id, 0.25, tip_id=decision.tip_id)
        else:
            taken = (await subject.store.accept(subject.turn(decision))).judgement
            await subject.build_conclusion(taken, 0.5 if number else None, "override" if number == 8 else "judge")
            judgements.append(taken.judgement_id)
        subject.clock.now += 1
    await subject.store.reset("berta", "tests")
    return judgements


async def look(sight: ConsoleSource, judgements: list[str]) -> dict[str, Any]:
    """Everything there is to see, but for numbers and keys."""
    users = await sight.list_newest_users(None, 10)
    (anna,) = await sight.list_users_by_prefix("anna", "", 1)
    berta = await sight.find_user("berta")
    assert berta is not None
    verdicts = await sight.load_verdicts(judgements)
    turn = int(judgements[0][:16], 16)
    page = await sight.list_decisions(anna.uid, None, 3)
    further = await sight.list_decisions(anna.uid, page[-1].seq, 10)
    wanted = [ReviewFilter(), ReviewFilter(state="open"), ReviewFilter(state="taught"), ReviewFilter(user_id="anna")]
    wanted += [ReviewFilter(label="pos_praise"), ReviewFilter(state="reviewed"), ReviewFilter(max_confidence=0.5)]
    reviews = [await sight.list_reviews(each, None, 2) for each in wanted]
    return {
        "activity": [astuple(each) for each in await sight.load_activity(HOUR - 1, HOUR + 2, 3)],
        "users": [astuple(each)[1:] for each in users],
        "older": [each.user_id for each in await sight.list_newest_users(users[0].uid, 10)],
        "prefix": [each.user_id for each in await sight.list_users_by_prefix("ann", "anna", 10)],
        "nobody": await sight.find_user("nobody"),
        "reset": await sight.list_user_resets(berta.uid, 9),
        "never reset": await sight.list_user_resets(anna.uid, 9),
        "decisions": [(*astuple(each)[2:-1], each.judgement_id in judgements) for each in (*page, *further)],
        "definitions": [each.policy for each in await sight.list_definitions(366)],
        "own ids": [each.decision_id for each in (*page, *further) if each.decision_id.startswith("own-")],
        "rewards": await sight.list_rewards(anna.uid, 3),
        "verdicts": [astuple(verdicts[each]) for each in judgements],
        "turn": await sight.find_turn(turn),
        "reviews": [[astuple(turn)[2:] for turn in each.turns] for each in reviews],
        "more": [each.next is None for each in reviews],
        "pairs": await sight.load_label_pairs(),
        "labelled": await sight.list_labelled_turns("followup-v1"),
    }


async def test_both_engines_show_the_same(tmp_path: Path, database: str) -> None:
    async with Subject(make_embedded(tmp_path), seed=5) as embedded:
        judgements = await live(embedded)
        sight = ConsoleQueries(tmp_path)
        expected = await look(sight, judgements)
        await sight.close()
    assert len(expected["decisions"]) == 4
    assert expected["reviews"][0]
    async with Subject(make_shared(database), seed=5) as shared:
        judgements = await live(shared)
        assert isinstance(shared.store, SharedStore)
        found = await look(SharedConsoleQueries(shared.store.ledger), judgements)
    for name, value in expected.items():
        assert found[name] == value, name


async def show(subject: Subject) -> None:
    """Show some users something: with rewards, one of them taken back; one held, one erased, one reset."""
    for number in range(13):
        user_id = ("anna", "berta", "cleo", "dora")[number % 4]
        await subject.store.load_profile(user_id)
        decision = subject.build_decision(user_id, window=RewardWindow(held=True) if number == 5 else None)
        request = json.loads(decision.body)
        for place, candidate in enumerate(request["candidates"]):
            candidate |= {"content": CONTENTS[(number + place) % 4], "source": f"source-{number % 3}"}
        decision.body = json.dumps(request, ensure_ascii=bool(number % 2)).encode()
        made = await subject.store.decide(decision)
        subject.clock.now += 1
        if number % 3 == 0:
            await subject.reward(made, number / 16)
        elif number == 1:
            taken = await subject.reward(made, 0.5)
            await subject.store.revoke([taken.reward.seq], cause="mistake", client="tests")
    await subject.store.erase("cleo", "tests")
    await subject.store.reset("anna", "tests")
    subject.clock.now += 86_400
    await subject.store.reset("anna", "tests")


async def look_for(sight: ConsoleSource) -> dict[str, Any]:
    """What searches, picks and days of resets come to, but for numbers, keys and our own ids."""
    pages = []
    for wanted in SEARCHES:
        for limit, scanned in ((100, 100), (2, 100), (3, 4)):
            before: int | None = LAST_SEQ
            while before is not None:
                page = await sight.search_decisions(wanted, before, limit, scanned)
                told = [asdict(each) | {"seq": 0, "decision_id": ""} for each in page.decisions]
                pages.append((wanted, told, page.searched, page.next is None, page.reached is None))
                before = page.next
    picked = await sight.list_picks()
    assert await sight.list_picks() == picked, "a second look parses nothing"
    people: dict[int, int] = {}
    return {
        "pages": pages,
        "picks": [(people.setdefault(each.uid, len(people)), *each[2:]) for each in picked],
        "resets": await sight.count_resets(),
    }


async def test_both_engines_find_the_same_of_what_was_shown(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (shown, picks):
        monkeypatch.setattr(module, "_AT_ONCE", 3)
    async with Subject(make_embedded(tmp_path), seed=6) as embedded:
        await show(embedded)
        sight = ConsoleQueries(tmp_path)
        expected = await look_for(sight)
        await sight.close()
    assert len(expected["picks"]) == 9
    assert len(expected["pages"]) > 3 * len(SEARCHES)
    assert sorted(expected["resets"].values()) == [1, 1]
    await empty_ledger(database)
    async with Subject(make_shared(database), seed=6) as shared:
        await show(shared)
        assert isinstance(shared.store, SharedStore)
        assert await look_for(SharedConsoleQueries(shared.store.ledger)) == expected
