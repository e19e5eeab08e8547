"""The outbox: what it accepts is delivered once, refused, or said to be lost."""

import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from bandstand_client import (
    AlreadyRewardedError,
    Bandstand,
    BrokenOffError,
    Event,
    ForbiddenError,
    InternalError,
    InvalidRequestError,
    OutboxClosedError,
    OutboxError,
    OutboxFullError,
    OverloadedError,
    ProblemError,
    RewardPendingError,
    StorageFullError,
    UnexpectedAnswerError,
    UnknownDecisionError,
)
from bandstand_client.delivery import find_fate
from bandstand_client.outbox_queue import FileQueue, MemoryQueue, ParcelQueue
from bandstand_client.testing import FakeBandstand
from client_support.programs import run_program

TWO = ["tea", "coffee"]
_PATIENT_S = 60.0


class Gate(httpx.BaseTransport):
    """Holds requests back until it is opened; what was sent is kept."""

    def __init__(self, behind: FakeBandstand) -> None:
        self.opened = threading.Event()
        self.arrived = threading.Event()
        self.sent: list[tuple[str, bytes]] = []
        self._behind = behind

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/reward":
            self.sent.append((request.headers["idempotency-key"], request.read()))
            self.arrived.set()
            self.opened.wait(_PATIENT_S)
        return self._behind.handle_request(request)


@pytest.fixture(params=["memory", "file"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    built: ParcelQueue
    built = MemoryQueue(3) if request.param == "memory" else FileQueue(tmp_path / "outbox", 3, power_safe=False)
    yield built
    built.close()


def test_a_queue_gives_back_what_it_took_in_order_until_it_is_removed(queue: ParcelQueue) -> None:
    for number in range(3):
        assert queue.put(f"key-{number}", f"decision-{number}", b"body")
    assert not queue.put("key-3", "decision-3", b"body")
    assert [parcel.key for parcel in queue.take(2)] == ["key-0", "key-1"]
    assert [parcel.key for parcel in queue.take(9)] == ["key-0", "key-1", "key-2"]
    queue.remove(queue.take(1))
    assert queue.count() == 2
    assert queue.put("key-4", "decision-4", b"body")
    assert [parcel.key for parcel in queue.take(9)] == ["key-1", "key-2", "key-4"]
    assert queue.become_sender()


def test_what_is_deferred_lets_others_go_before(queue: ParcelQueue) -> None:
    queue.put("key-0", "decision-0", b"body")
    queue.put("key-1", "decision-1", b"body")
    first = queue.take(1)[0]
    queue.defer(first, 1000.0)
    assert [parcel.key for parcel in queue.take(9)] == ["key-1"]
    assert queue.count() == 2
    queue.defer(first, -1000.0)
    assert [(parcel.key, parcel.tries) for parcel in queue.take(1)] in ([("key-0", 2)], [("key-0", 1)])


def test_a_full_outbox_refuses(tmp_path: Path) -> None:
    fake = FakeBandstand()
    gate = Gate(fake)
    client = Bandstand("http://fake", transport=gate)
    decisions = [client.score("ada", TWO) for _ in range(3)]
    outbox = client.outbox(capacity=2)
    outbox.reward(decisions[0], 0.5)
    outbox.reward(decisions[1], 0.5)
    with pytest.raises(OutboxFullError, match="2 rewards"):
        outbox.reward(decisions[2], 0.5)
    gate.opened.set()
    outbox.close(_PATIENT_S)
    assert (outbox.counts.accepted, outbox.counts.delivered, outbox.counts.dropped) == (2, 2, 0)
    assert set(fake.rewards) == {decisions[0].id, decisions[1].id}


def test_a_full_outbox_drops_and_counts_if_it_is_told_to() -> None:
    gate = Gate(FakeBandstand())
    events: list[Event] = []
    client = Bandstand("http://fake", transport=gate, on_event=events.append)
    decisions = [client.score("ada", TWO) for _ in range(3)]
    outbox = client.outbox(capacity=1, when_full="drop")
    for decision in decisions:
        outbox.reward(decision, 0.5)
    gate.opened.set()
    outbox.close(_PATIENT_S)
    assert (outbox.counts.accepted, outbox.counts.delivered, outbox.counts.dropped) == (1, 1, 2)
    dropped = [event.decision_id for event in events if event.kind == "dropped"]
    assert dropped == [decisions[1].id, decisions[2].id]


def test_what_memory_cannot_deliver_in_time_is_said_to_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeBandstand()
    client = fake.build_client()
    decision = client.score("ada", TWO)
    with fake.failing("unreachable"):
        with client.outbox(flush_deadline=0.05) as outbox:
            outbox.reward(decision, 0.5)
        assert (outbox.counts.delivered, outbox.counts.dropped, outbox.counts.waiting) == (0, 1, 0)
    assert "are lost" in caplog.text
    with pytest.raises(OutboxClosedError):
        outbox.reward(decision, 0.5)


def test_what_a_file_cannot_deliver_in_time_is_delivered_by_the_next_under_the_same_key(tmp_path: Path) -> None:
    fake = FakeBandstand()
    gate = Gate(fake)
    gate.opened.set()
    client = Bandstand("http://fake", transport=gate)
    decisions = [client.score("ada", TWO) for _ in range(3)]
    with fake.failing("broken-off"):
        with client.outbox(tmp_path / "outbox", flush_deadline=0.05) as outbox:
            for decision in decisions:
                outbox.reward(decision, 0.5)
        assert (outbox.counts.delivered, outbox.counts.dropped, outbox.counts.waiting) == (0, 0, 3)
    with client.outbox(tmp_path / "outbox", flush_deadline=_PATIENT_S) as again:
        assert again.flush(_PATIENT_S)
    assert again.counts.delivered == 3
    assert set(fake.rewards) == {decision.id for decision in decisions}
    assert len(set(gate.sent)) == 3


def test_a_reward_that_is_refused_for_good_lets_others_through(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeBandstand()
    events: list[Event] = []
    client = fake.build_client(on_event=events.append)
    decision = client.score("ada", TWO)
    with client.outbox(flush_deadline=_PATIENT_S) as outbox:
        outbox.reward("no-such", 1.0)
        outbox.reward(decision, 2.0)
        outbox.reward(decision, 1.0)
    assert (outbox.counts.refused, outbox.counts.delivered) == (2, 1)
    refused = [(event.decision_id, event.outcome) for event in events if event.kind == "refused"]
    assert refused == [("no-such", "unknown-decision"), (decision.id, "invalid-request")]
    assert "no-such was refused" in caplog.text


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (UnknownDecisionError("d", status=404), "refused"),
        (AlreadyRewardedError("d", status=409), "refused"),
        (InvalidRequestError("d", status=422), "refused"),
        (ProblemError("d", status=413, code="too-large"), "refused"),
        (RewardPendingError("d", status=409), "later"),
        (InternalError("d", status=500), "later"),
        (OverloadedError("d", status=503), "down"),
        (StorageFullError("d", status=507), "down"),
        (ForbiddenError("d", status=403), "down"),
        (ProblemError("a proxy's page", status=404), "down"),
        (BrokenOffError("d"), "down"),
        (UnexpectedAnswerError("d"), "down"),
    ],
)
def test_only_what_is_wrong_with_a_reward_itself_ends_it(error: Any, fate: str) -> None:
    assert find_fate(error) == fate


def test_a_reward_that_must_wait_lets_others_go_before() -> None:
    fake = FakeBandstand()
    pending = httpx.Response(409, json={"type": "urn:bandstand:problem:reward-pending", "detail": "d"})
    held: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/reward" and held and held[0].encode() in request.read():
            return pending
        return fake.handle_request(request)

    client = Bandstand("http://fake", transport=httpx.MockTransport(answer))
    first, second = client.score("ada", TWO), client.score("ada", TWO)
    held.append(first.id)
    with client.outbox(flush_deadline=0.05) as outbox:
        outbox.reward(first, 0.5)
        outbox.reward(second, 0.5)
        while second.id not in fake.rewards:
            outbox.flush(0.01)
        assert first.id not in fake.rewards
        held.clear()
        assert outbox.flush(_PATIENT_S)
    assert set(fake.rewards) == {first.id, second.id}


def test_an_outbox_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with FakeBandstand().build_client().outbox(tmp_path / "outbox"):
        assert stat.S_IMODE((tmp_path / "outbox").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"no database at all, and long enough to be read as a header of one", None])
def test_a_file_that_is_something_else_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "outbox"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE holiday (photo)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(OutboxError):
        FakeBandstand().build_client().outbox(path)
    assert path.read_bytes()[: len(before)][40:] == before[40:] or content is None


def test_a_file_that_cannot_be_written_accepts_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutboxError):
        FakeBandstand().build_client().outbox(tmp_path / "no" / "such" / "folder")


def test_of_two_that_share_a_file_one_sends_and_both_are_delivered(tmp_path: Path) -> None:
    fake = FakeBandstand()
    client = fake.build_client()
    decisions = [client.score("ada", TWO) for _ in range(20)]
    first = FileQueue(tmp_path / "outbox", 100, power_safe=False)
    second = FileQueue(tmp_path / "outbox", 100, power_safe=False)
    assert first.become_sender()
    assert first.become_sender()
    assert not second.become_sender()
    second.put("key", decisions[0].id, b'{"decision_id":"%s","reward":0.5}' % decisions[0].id.encode())
    assert first.count() == 1
    first.close()
    assert second.become_sender()
    second.close()
    with (
        client.outbox(tmp_path / "outbox", flush_deadline=_PATIENT_S) as a,
        client.outbox(tmp_path / "outbox", flush_deadline=_PATIENT_S) as b,
    ):
        for number, decision in enumerate(decisions[1:]):
            (a if number % 2 else b).reward(decision, 0.5)
    assert len(fake.rewards) == 20


def test_a_program_that_forgets_to_close_its_outbox_has_its_rewards_sent(tmp_path: Path) -> None:
    program = """
from bandstand_client.testing import FakeBandstand
import atexit
fake = FakeBandstand()
client = fake.build_client()
atexit.register(lambda: print(sorted(fake.rewards.values())))
outbox = client.outbox()
for value in (0.1, 0.2, 0.3):
    outbox.reward(client.score("ada", ["tea"]), value)
"""
    assert run_program(program) == "[0.1, 0.2, 0.3]"


def test_power_safe_syncs_each_commit(tmp_path: Path) -> None:
    for power_safe, level in ((False, 1), (True, 2)):
        queue = FileQueue(tmp_path / str(power_safe), 10, power_safe=power_safe)
        with queue._connected() as connection:  # noqa: SLF001 (what SQLite was told)
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        queue.close()
