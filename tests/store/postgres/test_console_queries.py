"""What a person sees of a shared ledger is what they would see of a directory."""

from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from bandstand.store.postgres.console_queries import SharedConsoleQueries
from bandstand.store.postgres.store import SharedStore
from bandstand.store.tables.console_queries import ConsoleQueries, ConsoleSource
from bandstand.store.tables.reviews import ReviewFilter
from tests.store.given import NOON, Subject, make_embedded
from tests.store.postgres.shared import make_shared, run_law_server

HOUR = int(NOON // 3600)


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
        "reset": await sight.find_last_reset(berta.uid),
        "never reset": await sight.find_last_reset(anna.uid),
        "decisions": [astuple(each)[2:] for each in (*page, *further)],
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
