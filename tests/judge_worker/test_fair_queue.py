"""Users take turns, and each one's turns stay in order."""

from itertools import groupby
from random import Random

import pytest

from bandstand.judge_worker.fair_queue import FairQueue


def test_whoever_sends_many_waits_for_them() -> None:
    queue = FairQueue()
    for seq in range(1000):
        queue.push("mallory", seq)
    queue.push("anna", 1000)
    queue.push("berta", 1001)
    assert [queue.pop() for _ in range(4)] == [0, 1000, 1001, 1]
    assert len(queue) == 998


def test_nothing_is_lost_and_nobody_is_served_twice_before_all_are_served_once() -> None:
    random = Random(0)
    queue, owner = FairQueue(), {}
    for seq in range(500):
        owner[seq] = random.choice("abcdefg")
        queue.push(owner[seq], seq)
    popped = [queue.pop() for _ in range(500)]
    assert sorted(popped) == list(range(500))
    for user in "abcdefg":
        own = [seq for seq in popped if owner[seq] == user]
        assert own == sorted(own)
    fewest = min(list(owner.values()).count(user) for user in "abcdefg")
    rounds = [{owner[seq] for seq in popped[start : start + 7]} for start in range(0, 7 * fewest, 7)]
    assert [key for key, _ in groupby(rounds)] == [set("abcdefg")]


def test_an_empty_queue_has_nothing_to_give() -> None:
    with pytest.raises(IndexError):
        FairQueue().pop()
