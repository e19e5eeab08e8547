"""Connections are watched until a request is whole; deadlines and bounds, on a simulated clock."""

from collections.abc import Callable

import pytest
import structlog

from bandstand.api.asgi.connections import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    ConnectionLimits,
    ConnectionWatch,
    raise_descriptor_limit,
)


class SimulatedLoop:
    """A loop whose time passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> object:
        self.calls.append((self.now + delay, callback))
        return None

    def pass_seconds(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [call for call in self.calls if call[0] <= until]:
            call = min(due, key=lambda each: each[0])
            self.calls.remove(call)
            self.now = call[0]
            call[1]()
        self.now = until


class Caller:
    """A connection that notes what becomes of it."""

    def __init__(self, *, idle: bool = False, more: float | None = None) -> None:
        self.is_idle = idle
        self.more = more
        self.end = ""

    def expire(self) -> float | None:
        self.end = "" if self.more is not None else "expired"
        return self.more

    def drop(self) -> None:
        self.end = "dropped"


@pytest.fixture
def loop() -> SimulatedLoop:
    return SimulatedLoop()


def build_watch(loop: SimulatedLoop, *, total: int = 100, watched: int = 50) -> ConnectionWatch:
    return ConnectionWatch(ConnectionLimits(total=total, watched=watched), loop)


def test_who_sends_nothing_ends_at_the_idle_deadline_and_not_before(loop: SimulatedLoop) -> None:
    watch, caller = build_watch(loop), Caller()
    watch.admit(caller, [caller], 1)
    loop.pass_seconds(IDLE_SECONDS - 1)
    assert caller.end == ""
    loop.pass_seconds(3)
    assert caller.end == "expired"
    assert watch.count == 0
    loop.pass_seconds(100)
    assert loop.calls == [], "a server without such connections has no timer"


def test_who_is_released_never_ends(loop: SimulatedLoop) -> None:
    watch, caller = build_watch(loop), Caller()
    watch.admit(caller, [caller], 1)
    watch.watch(caller, HEAD_SECONDS)
    watch.release(caller)
    loop.pass_seconds(1000)
    assert caller.end == ""


def test_who_is_kept_waiting_by_us_has_more_time(loop: SimulatedLoop) -> None:
    watch, caller = build_watch(loop), Caller(more=5.0)
    watch.watch(caller, HEAD_SECONDS)
    loop.pass_seconds(HEAD_SECONDS + 2)
    assert watch.count == 1
    caller.more = None
    loop.pass_seconds(7)
    assert caller.end == "expired"


def test_the_longest_watched_makes_room(loop: SimulatedLoop) -> None:
    watch, callers = build_watch(loop, watched=3), [Caller() for _ in range(5)]
    for number, caller in enumerate(callers, start=1):
        watch.admit(caller, callers[:number], number)
    assert [caller.end for caller in callers] == ["dropped", "dropped", "", "", ""]


def test_beyond_the_total_an_idle_one_makes_room_else_the_new_one_goes(loop: SimulatedLoop) -> None:
    watch = build_watch(loop, total=2)
    busy, idle, late, later = Caller(), Caller(idle=True), Caller(), Caller()
    watch.admit(late, [busy, idle, late], 3)
    assert [each.end for each in (busy, idle, late)] == ["", "dropped", ""]
    watch.admit(later, [busy, late, later], 3)
    assert [each.end for each in (busy, late, later)] == ["", "", "dropped"]


def test_a_server_that_stops_waits_for_nobody(loop: SimulatedLoop) -> None:
    watch, slow, kept = build_watch(loop), Caller(), Caller(more=1000.0)
    watch.watch(slow, 30.0)
    watch.watch(kept, 30.0)
    watch.hurry()
    loop.pass_seconds(2.5)
    assert slow.end == "expired"
    kept.more = None
    loop.pass_seconds(2.5)
    assert kept.end == "expired", "nobody is given more than a second then"


def test_one_line_says_how_many_and_why(loop: SimulatedLoop) -> None:
    watch, callers = build_watch(loop, watched=1), [Caller() for _ in range(9)]
    with structlog.testing.capture_logs() as lines:
        for number, caller in enumerate(callers, start=1):
            watch.admit(caller, callers[:number], number)
        loop.pass_seconds(2)
        assert [line["reasons"] for line in lines] == [{"too many that sent nothing whole": 8}]
        watch.watch(callers[-1], 1.0)
        loop.pass_seconds(5)
        assert len(lines) == 1, "another line would be one too many within ten seconds"
        loop.pass_seconds(10)
    assert [line["reasons"] for line in lines[1:]] == [{"too slow": 1}]


@pytest.mark.parametrize("descriptors", [16, 64, 256, 1024, 16_384])
def test_a_process_keeps_descriptors_for_itself(descriptors: int) -> None:
    limits = ConnectionLimits.from_descriptors(descriptors)
    assert 0 < limits.watched < limits.total < descriptors


def test_as_many_files_as_may_be_are_allowed() -> None:
    assert raise_descriptor_limit() == raise_descriptor_limit() > 0
