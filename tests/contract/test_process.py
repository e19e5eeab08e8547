"""The promises that only a process can keep or break: nothing acknowledged is lost, whatever ends it."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.api.given import FEATURES, TWO
from tests.contract.server import Connection, connect_to, start_server
from tests.store.postgres.shared import run_law_server

USERS = 5


class Load:
    """A stream of scores and their rewards over some connections, and what of it was acknowledged.

    Rewards are multiples of an eighth, so that their sums are exact.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.decided: dict[str, str] = {}  # acknowledged decisions, and whose they are
        self.sent: dict[str, float] = {}  # rewards of decisions, whether or not there was an answer
        self.kept: dict[str, float] = {}  # those that were acknowledged
        self.keyed_sent: dict[str, float] = {}  # the same for rewards that have an Idempotency-Key only
        self.keyed_kept: dict[str, float] = {}
        self.statuses: set[int] = set()
        self._seed = seed
        self._numbers = itertools.count()

    async def run(self, port: int, connections: int) -> None:
        """Go on until the service is gone, or says that it is about to be."""
        await asyncio.gather(*(self._send_load(port) for _ in range(connections)))

    async def wait_for(self, count: int) -> None:
        """Wait until so many rewards were acknowledged, however fast the machine is."""
        async with asyncio.timeout(60):
            while len(self.kept) < count:  # noqa: ASYNC110 (the load is what goes on)
                await asyncio.sleep(0.001)

    async def _send_load(self, port: int) -> None:
        try:
            async with connect_to(port) as connection:
                while await self._step(connection):
                    pass
        except (OSError, EOFError):
            pass  # what had no answer by now may have happened or not

    async def _step(self, connection: Connection) -> bool:
        number = next(self._numbers)
        decision_id, user = f"order-{self._seed}-{number}", f"user-{number % USERS}"
        value = self.random.randrange(-8, 9) / 8
        status, _ = await connection.send_request("POST", "/score", score(user, decision_id))
        self.statuses.add(status)
        if status != 200:
            return False
        self.decided[decision_id] = user
        self.sent[decision_id] = value
        status, _ = await connection.send_request("POST", "/reward", reward(decision_id, value))
        self.statuses.add(status)
        if status != 200:
            return False
        self.kept[decision_id] = value
        if number % 4 == 0:
            self.keyed_sent[decision_id] = value
            status, _ = await connection.send_request("POST", "/reward", legacy(value), build_key_header(decision_id))
            if status == 200:
                self.keyed_kept[decision_id] = value
        return status == 200

    async def check(self, port: int) -> None:
        """Every acknowledged reward is there, none is there twice, and what had no answer can be sent again."""
        async with connect_to(port) as connection:
            found: dict[str, float] = {}
            for decision_id in self.decided:
                status, receipt = await connection.send_request("GET", f"/decisions/{decision_id}")
                assert status == 200, "an acknowledged decision is kept too"
                if receipt["reward"] is not None:
                    found[decision_id] = receipt["reward"]["reward"]
            assert {**found, **self.kept} == found
            assert {**self.sent, **found} == self.sent
            await self._check_rewards(connection, found)
            _, stats = await connection.send_request("GET", "/stats/keyed")
            assert len(self.keyed_kept) <= stats["reward_count"] <= len(self.keyed_sent)
            for decision_id, value in self.sent.items():
                status, answer = await connection.send_request("POST", "/reward", reward(decision_id, value))
                assert (status, answer["reward"], answer["applied"]) == (200, value, True)
            for key, value in self.keyed_sent.items():
                status, answer = await connection.send_request("POST", "/reward", legacy(value), build_key_header(key))
                assert (status, answer["reward"]) == (200, value)
            await self._check_rewards(connection, self.sent)
            _, stats = await connection.send_request("GET", "/stats/keyed")
            assert (stats["reward_count"], stats["cumulative_reward"]) == (
                len(self.keyed_sent),
                sum(self.keyed_sent.values()),
            )

    async def _check_rewards(self, connection: Connection, rewards: dict[str, float]) -> None:
        """The users' states hold just these rewards."""
        for user in {f"user-{number}" for number in range(USERS)}:
            mine = [value for decision_id, value in rewards.items() if self.decided[decision_id] == user]
            _, stats = await connection.send_request("GET", f"/stats/{user}")
            assert (stats["reward_count"], stats["cumulative_reward"]) == (len(mine), sum(mine))


def score(user: str, decision_id: str | None = None) -> dict[str, Any]:
    return {"user_id": user, "candidates": TWO} | ({} if decision_id is None else {"decision_id": decision_id})


def reward(decision_id: str, value: float) -> dict[str, Any]:
    return {"decision_id": decision_id, "reward": value}


def legacy(value: float) -> dict[str, Any]:
    return {"user_id": "keyed", "tip_id": "tip-1", "reward": value, "features": FEATURES}


def build_key_header(key: str) -> tuple[str, ...]:
    return (f"idempotency-key: {key}",)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "bandstand", *words]
    return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=120)


# ── together ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_2000_rewards_for_one_user_over_32_connections_all_count(tmp_path: Path) -> None:
    random = Random(7)
    values = [random.randrange(-8, 9) / 8 for _ in range(2000)]
    waiting = iter(values)

    async def send_rewards(port: int) -> None:
        async with connect_to(port) as connection:
            for value in waiting:
                body = {"user_id": "ada", "tip_id": "tip-1", "reward": value, "features": FEATURES}
                status, answer = await connection.send_request("POST", "/reward", body)
                assert (status, answer["applied"]) == (200, True)

    for again in (False, True):
        with start_server(tmp_path / "state") as server:
            if not again:
                await asyncio.gather(*(send_rewards(server.port) for _ in range(32)))
            async with connect_to(server.port) as connection:
                _, stats = await connection.send_request("GET", "/stats/ada")
            assert (stats["reward_count"], stats["cumulative_reward"]) == (2000, sum(values))
            assert server.terminate() == 0


# ── ends ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sigterm_under_load_ends_with_0_and_keeps_everything(tmp_path: Path) -> None:
    load = Load(seed=1)
    with start_server(tmp_path / "state") as server:
        running = asyncio.create_task(load.run(server.port, connections=16))
        await load.wait_for(50)
        assert await asyncio.to_thread(server.terminate) == 0
        await running
        assert "Traceback" not in server.logged()
    assert load.statuses <= {200, 503}
    assert command("state", "verify", "--state-dir", str(tmp_path / "state")).returncode == 0
    with start_server(tmp_path / "state") as server:
        await load.check(server.port)


async def kill_under_load(state_dir: Path, trials: int, connections: int) -> None:
    """Load, kill -9 at some moment, restart, look; again and again over the same state."""
    random = Random(connections)
    for trial in range(trials):
        load = Load(seed=connections * 1000 + trial)
        users = state_dir / str(trial)
        with start_server(users) as server:
            running = asyncio.create_task(load.run(server.port, connections))
            await load.wait_for(random.randrange(1, 200))
            server.kill()
            await running
        with start_server(users) as server:
            await load.check(server.port)
            server.kill()  # once more, after the retries
        with start_server(users) as server:
            await load.check(server.port)
            assert server.terminate() == 0
        assert command("state", "verify", "--state-dir", str(users)).returncode == 0


async def test_kill_9_in_the_middle_of_a_stream_loses_nothing_acknowledged(tmp_path: Path) -> None:
    await kill_under_load(tmp_path, trials=1, connections=16)


@pytest.mark.slow
@pytest.mark.parametrize("connections", [1, 8, 32])
async def test_kill_9_loses_nothing_acknowledged_at_any_load(tmp_path: Path, connections: int) -> None:
    await kill_under_load(tmp_path, trials=5, connections=connections)


@pytest.mark.slow
async def test_a_killed_worker_and_the_end_of_all_lose_nothing_acknowledged(tmp_path: Path) -> None:
    load = Load(seed=3)
    with run_law_server() as url:
        with start_server(tmp_path / "state", flags=["--workers", "2"], STATE_URL=url) as server:
            workers = server.list_children()
            assert len(workers) == 2
            running = asyncio.create_task(load.run(server.port, connections=16))
            await load.wait_for(50)
            os.kill(workers[0], signal.SIGKILL)
            await load.wait_for(100)
            async with asyncio.timeout(60):
                while "a worker ended and is started again" not in server.logged():  # noqa: ASYNC110 (a process writes it)
                    await asyncio.sleep(0.01)
            assert await asyncio.to_thread(server.terminate) == 0
            await running
            assert "Traceback" not in server.logged()
        assert load.statuses <= {200, 503}
        with start_server(tmp_path / "state", flags=["--workers", "2"], STATE_URL=url) as server:
            await load.check(server.port)
            assert server.terminate() == 0


async def test_a_second_service_on_the_same_state_is_refused_in_one_line(tmp_path: Path) -> None:
    with start_server(tmp_path / "state") as server:
        second = command("serve", "--port", "0", "--state-dir", str(tmp_path / "state"))
        assert (second.returncode, second.stdout) == (2, "")
        (line,) = second.stderr.splitlines()
        assert line.startswith("bandstand: STATE_DIR ")
        assert "in use by another process" in line
        async with connect_to(server.port) as connection:
            assert (await connection.send_request("GET", "/ready"))[0] == 200


# ── a full disk ───────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of that size in memory, where the machine lets one be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error.strerror}")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607 (wherever this machine keeps it)


def build_large_request(number: int) -> dict[str, Any]:
    candidate = {"id": "tip", "content": "x" * 50_000, "source": "task"}
    return {"user_id": f"user-{number % USERS}", "candidates": [candidate], "decision_id": f"large-{number}"}


@pytest.mark.parametrize("score_when_full", ["0", "1"])
async def test_a_full_disk_refuses_with_507_keeps_what_it_has_and_recovers(
    tmp_path: Path, score_when_full: str
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "6m"):
        filler = disk / "filler"
        filler.write_bytes(b"x" * 3_000_000)
        kept: list[int] = []
        with start_server(disk / "state", SCORE_WHEN_FULL=score_when_full) as server:
            async with connect_to(server.port) as connection:
                refusal = await fill_ledger(connection, kept)
                assert 5 < len(kept) < 150
                if score_when_full == "1":
                    status, answer = refusal
                    assert (status, answer["decision_id"], answer["tip_id"]) == (200, None, "tip")
                else:
                    assert is_full(refusal)
                rewards = 0  # some may still fit where a large decision does not
                while (refusal := await connection.send_request("POST", "/reward", legacy(1.0)))[0] == 200:
                    rewards += 1
                assert is_full(refusal)
                for target in ("/health", "/stats/user-0", f"/decisions/large-{kept[0]}"):
                    assert (await connection.send_request("GET", target))[0] == 200
                status, answer = await connection.send_request("GET", "/ready")
                assert status == (200 if score_when_full == "1" else 503)
                assert score_when_full == "1" or answer["detail"] == "the disk is full"
                _, health = await connection.send_request("GET", "/health")
                assert "full" in health["last_error"]
                filler.unlink()
                assert (await connection.send_request("GET", "/ready"))[0] == 200, "and nobody need score for it"
                assert await is_recovered(connection)
                status, _ = await connection.send_request("POST", "/reward", reward(f"large-{kept[0]}", 1.0))
                assert status == 200
            server.kill()
        with start_server(disk / "state") as server:
            async with connect_to(server.port) as connection:
                for number in kept:
                    assert (await connection.send_request("GET", f"/decisions/large-{number}"))[0] == 200
                _, receipt = await connection.send_request("GET", f"/decisions/large-{kept[0]}")
                assert receipt["reward"]["reward"] == 1.0
                _, stats = await connection.send_request("GET", "/stats/keyed")
                assert stats["reward_count"] == rewards, "what was refused is not there"
            assert server.terminate() == 0


async def fill_ledger(connection: Connection, kept: list[int]) -> tuple[int, Any]:
    """Decide until nothing more is logged; the answer that says so."""
    while True:
        status, answer = await connection.send_request("POST", "/score", build_large_request(len(kept)))
        if status != 200 or answer["decision_id"] is None:
            return status, answer
        kept.append(len(kept))


def is_full(refusal: tuple[int, Any]) -> bool:
    status, answer = refusal
    return (status, answer["type"]) == (507, "urn:bandstand:problem:storage-full")


async def is_recovered(connection: Connection) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        status, answer = await connection.send_request("POST", "/score", build_large_request(1_000))
        if status == 200 and answer["decision_id"] is not None:
            return True
        await asyncio.sleep(0.1)
    return False
