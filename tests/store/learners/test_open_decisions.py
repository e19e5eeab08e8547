"""Decisions without a reward: the newest of a policy and tip is linked, each once, wherever it was known from."""

from random import Random

import pytest

from bandstand.store.learners.open_decisions import MAX_OPEN, OpenDecision, OpenDecisions


def build(*seqs: int, tip: str = "a") -> list[OpenDecision]:
    return [OpenDecision(seq, "linucb-v2", tip, float(seq)) for seq in seqs]


def take(known: OpenDecisions, tip: str = "a", after: int = 0) -> int | None:
    found = known.take("linucb-v2", tip, after)
    return None if found is None else found.seq


def test_the_newest_goes_first_and_each_once() -> None:
    known = OpenDecisions(is_loaded=True)
    for each in [*build(1, 2), *build(3, tip="b")]:
        known.add(*each)
    assert [take(known), take(known), take(known)] == [2, 1, None]
    assert take(known, "b") == 3


def test_another_policy_and_what_is_too_old_are_passed_over() -> None:
    known = OpenDecisions(is_loaded=True)
    for each in build(1, 5):
        known.add(*each)
    assert known.take("egreedy-v1", "a", 0) is None
    assert take(known, after=4) == 5
    assert take(known, after=4) is None


def test_what_the_ledger_had_comes_before_what_was_made_since() -> None:
    known = OpenDecisions(is_loaded=False)
    known.add(10, "linucb-v2", "a", 10.0)
    known.load(build(1, 2, 10))  # the ledger has the new one by now, too
    assert [take(known) for _ in range(4)] == [10, 2, 1, None]


def test_what_was_rewarded_before_the_ledger_was_read_stays_out() -> None:
    known = OpenDecisions(is_loaded=False)
    known.answer(2)
    known.load(build(1, 2))
    assert [take(known), take(known)] == [1, None]


def test_a_refused_reward_gives_its_decision_back_in_its_place() -> None:
    known = OpenDecisions(is_loaded=True)
    for each in build(1, 2, 3):
        known.add(*each)
    taken = known.take("linucb-v2", "a", 0)
    assert taken is not None
    known.add(4, "linucb-v2", "a", 4.0)
    known.give_back(taken)
    assert [take(known) for _ in range(4)] == [4, 3, 2, 1]


def test_memory_holds_the_newest_hundred() -> None:
    known = OpenDecisions(is_loaded=True)
    for each in build(*range(1, 3 * MAX_OPEN)):
        known.add(*each)
    taken = [take(known) for _ in range(MAX_OPEN + 1)]
    assert taken == [*range(3 * MAX_OPEN - 1, 2 * MAX_OPEN - 1, -1), None]


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_calls_finds_what_a_walk_over_all_of_them_finds(seed: int) -> None:
    random = Random(seed)
    known, walked = OpenDecisions(is_loaded=True), list[OpenDecision]()
    taken: list[OpenDecision] = []
    for seq in range(1, 1000):
        match random.choice(("add", "add", "answer", "take", "give back")):
            case "add":
                decision = OpenDecision(seq, "linucb-v2", random.choice("abc"), float(seq))
                known.add(*decision)
                walked = [*walked, decision][-MAX_OPEN:]
            case "answer":
                answered = random.randint(max(1, seq - 2 * MAX_OPEN), seq)
                known.answer(answered)
                walked = [each for each in walked if each.seq != answered]
            case "take":
                tip, after = random.choice("abcd"), seq - random.randint(1, MAX_OPEN)
                found = known.take("linucb-v2", tip, after)
                matching = [each for each in walked if each.tip_id == tip and each.seq > after]
                assert found == (matching[-1] if matching else None)
                if found is not None:
                    walked.remove(found)
                    taken.append(found)
            case _ if taken:
                known.give_back(taken[-1])
                walked = sorted([*walked, taken.pop()])[-MAX_OPEN:]
