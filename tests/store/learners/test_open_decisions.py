"""Decisions without a reward: the newest of a policy and tip is linked, each once, wherever it was known from."""

from bandstand.store.learners.open_decisions import MAX_OPEN, OpenDecision, OpenDecisions


def build(*seqs: int, tip: str = "a") -> list[OpenDecision]:
    return [OpenDecision(seq, "linucb-v2", tip, float(seq)) for seq in seqs]


def take(known: OpenDecisions, tip: str = "a", after: int = 0) -> int | None:
    found = known.take("linucb-v2", tip, after)
    return None if found is None else found.seq


def test_the_newest_goes_first_and_each_once() -> None:
    known = OpenDecisions(is_loaded=True)
    for each in [*build(1, 2), *build(3, tip="b")]:
        known.add(each)
    assert [take(known), take(known), take(known)] == [2, 1, None]
    assert take(known, "b") == 3


def test_another_policy_and_what_is_too_old_are_passed_over() -> None:
    known = OpenDecisions(is_loaded=True)
    for each in build(1, 5):
        known.add(each)
    assert known.take("egreedy-v1", "a", 0) is None
    assert take(known, after=4) == 5
    assert take(known, after=4) is None


def test_what_the_ledger_had_comes_before_what_was_made_since() -> None:
    known = OpenDecisions(is_loaded=False)
    known.add(OpenDecision(10, "linucb-v2", "a", 10.0))
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
        known.add(each)
    taken = known.take("linucb-v2", "a", 0)
    assert taken is not None
    known.add(OpenDecision(4, "linucb-v2", "a", 4.0))
    known.give_back(taken)
    assert [take(known) for _ in range(4)] == [4, 3, 2, 1]


def test_memory_holds_the_newest_hundred() -> None:
    known = OpenDecisions(is_loaded=True)
    for each in build(*range(1, 3 * MAX_OPEN)):
        known.add(each)
    taken = [take(known) for _ in range(MAX_OPEN + 1)]
    assert taken == [*range(3 * MAX_OPEN - 1, 2 * MAX_OPEN - 1, -1), None]
