"""What was shown: found by words, candidate and user; every decision looked at once; nothing of who is gone."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bandstand.store.learners import erasure
from bandstand.store.records import LAST_SEQ, first_seq_at
from bandstand.store.tables.console_queries import ConsoleQueries
from bandstand.store.tables.shown import DecisionSearch, split_words
from tests.store.given import DAY, Subject, ledger_of, make_embedded

CONTENTS = (
    "Send the TAX return.",
    "Ｓｅｎｄ flowers",
    "给植物浇水，今天就去",
    'She said "water\\air" / ok',
    "Straße fegen",
    None,
)


@pytest.fixture
async def subject(tmp_path: Path) -> AsyncIterator[Subject]:
    async with Subject(make_embedded(tmp_path)) as living:
        yield living


@pytest.fixture
async def sight(tmp_path: Path) -> AsyncIterator[ConsoleQueries]:
    looking = ConsoleQueries(tmp_path)
    yield looking
    await looking.close()


async def show(subject: Subject, user_id: str, *contents: str | None, pick: int = 0, ascii_only: bool = True) -> str:
    """Show a user something; returns the decision's id."""
    decision = subject.build_decision(user_id)
    candidates: list[dict[str, Any]] = [
        {"id": f"tip-{CONTENTS.index(each) if each in CONTENTS else each}", "source": "task"}
        | ({} if each is None else {"content": each})
        for each in contents
    ]
    decision.body = json.dumps({"user_id": user_id, "candidates": candidates}, ensure_ascii=ascii_only).encode()
    decision.pick, decision.tip_id = pick, candidates[pick]["id"]
    await subject.store.load_profile(user_id)
    return (await subject.store.decide(decision)).decision_id


async def find(sight: ConsoleQueries, **wanted: Any) -> list[str]:
    wanted["words"] = split_words(wanted.get("words", ""))
    found = await sight.search_decisions(DecisionSearch(**wanted), LAST_SEQ, 100)
    return [each.decision_id for each in found.decisions]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    ("words", "places"),
    [
        ("send", [1, 0]),
        ("RETURN tax", [0]),
        ("tax flowers", []),
        ("浇水 植物", [2]),
        ('"water\\air"', [3]),
        ("said /", [3]),
        ("strasse", [4]),
        ("", [5, 4, 3, 2, 1, 0]),
    ],
)
async def test_every_word_stands_in_the_content_in_whatever_case_and_form(
    subject: Subject, sight: ConsoleQueries, words: str, places: list[int], ascii_only: bool
) -> None:
    made = [await show(subject, "ada", content, ascii_only=ascii_only) for content in CONTENTS]
    assert await find(sight, words=words) == [made[place] for place in places]


async def test_what_was_offered_is_found_only_where_that_is_asked(subject: Subject, sight: ConsoleQueries) -> None:
    made = await show(subject, "ada", "Water the plants", CONTENTS[0], pick=1)
    assert await find(sight, words="plants") == []
    assert await find(sight, words="plants", among="offered") == [made]
    assert await find(sight, words="plants tax", among="offered") == [], "the words of one candidate"
    assert await find(sight, candidate_id="tip-0") == [made]
    assert await find(sight, candidate_id="tip-Water the plants") == []
    assert await find(sight, candidate_id="tip-Water the plants", among="offered") == [made]
    assert await find(sight, candidate_id="tip-0", words="water", among="offered") == []
    page = await sight.search_decisions(DecisionSearch(words=["plants"], among="offered"), LAST_SEQ, 1)
    assert page.decisions[0].shown.content == CONTENTS[0]
    assert [each.content for each in page.decisions[0].matches] == ["Water the plants"]


async def test_pages_look_at_every_decision_once(subject: Subject, sight: ConsoleQueries) -> None:
    made = []
    for number in range(25):
        subject.clock.now += 60
        made.append(await show(subject, f"user-{number % 3}", CONTENTS[number % 2]))
    wanted = DecisionSearch(words=["tax"])
    for limit, scanned in ((100, 4), (2, 100), (3, 5), (1, 1)):
        found, searched, before = list[str](), 0, LAST_SEQ
        while True:
            page = await sight.search_decisions(wanted, before, limit, scanned)
            assert page.searched <= scanned
            assert len(page.decisions) <= limit
            found += [each.decision_id for each in page.decisions]
            searched += page.searched
            if page.next is None:
                break
            before = page.next
        assert found == made[::-2]
        assert searched == 25
    assert await find(sight, user_id="user-1") == made[::-1][2::3][: len(made[1::3])]
    since, until = first_seq_at(subject.clock.now - 600), first_seq_at(subject.clock.now - 300)
    assert await find(sight, since=since, until=until) == made[::-1][6:11]


async def test_a_reward_stands_beside_what_was_shown(subject: Subject, sight: ConsoleQueries) -> None:
    decision = await subject.decide("ada")
    await subject.decide("bea")
    await subject.reward(decision, 0.25)
    told = await sight.search_decisions(DecisionSearch(), LAST_SEQ, 10)
    assert [(each.user_id, each.reward, each.applied) for each in told.decisions] == [
        ("bea", None, None),
        ("ada", 0.25, True),
    ]


async def test_nothing_of_who_is_erased_is_found_from_the_first_moment_on(
    subject: Subject, sight: ConsoleQueries, tmp_path: Path
) -> None:
    made = [await show(subject, user, CONTENTS[0]) for user in ("ada", "bea", "ada", "cleo")]
    await subject.reward(await subject.decide("ada"))
    with ledger_of(tmp_path) as ledger:  # as far as the first transaction goes: everything else is still there
        uid = ledger.execute("SELECT uid FROM users WHERE user_id = 'ada'").fetchone()[0]
        seq = subject.store.next_seq(subject.clock())
        erasure.begin_erasure(ledger, uid=uid, tombstone=b"t" * 16, seq=seq, ts=subject.clock(), client="tests")
        assert ledger.execute("SELECT count(*) FROM decisions WHERE uid = ?", (uid,)).fetchone()[0] == 3
    assert await find(sight, words="tax") == [made[3], made[1]]
    assert await find(sight, user_id="ada") == []
    assert await find(sight) == [made[3], made[1]]
    assert len(await sight.list_picks()) == 2


async def test_nothing_past_its_days_is_found(subject: Subject, sight: ConsoleQueries) -> None:
    await show(subject, "ada", CONTENTS[0])
    assert len(await sight.list_picks()) == 1
    subject.clock.now += 200 * DAY
    kept = await show(subject, "ada", CONTENTS[0])
    await subject.store.delete_log()  # type: ignore[attr-defined]  # of the engine under test
    after = await show(subject, "ada", CONTENTS[0])
    assert kept not in await find(sight, words="tax")
    assert await find(sight, words="tax") == [after]
    assert [each.candidate.tip_id for each in await sight.list_picks()] == ["tip-0"]
