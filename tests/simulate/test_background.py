"""Runs beside a service: one child after the other, each of which stops when it is told."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bandstand import background_runs
from bandstand.errors import InvalidRequestError, OverloadedError, UnknownPolicyError
from bandstand.simulate.background import SimulationQueue
from bandstand.simulate.errors import UnknownRunError
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.play import PackedPlay, decode_steps
from bandstand.simulate.run.runner import build_tally
from bandstand.store.tables.run_table import RunRecord
from bandstand.store.tables.simulations import Simulations
from tests.simulate.given import CATALOGUE, play_plan

SHORT: dict[str, Any] = {"policies": ["linucb"], "personas": 3, "days": 2, "seeds": 2, "events": "all"}
ENDLESS: dict[str, Any] = {"policies": ["linucb-v1"], "personas": 100, "days": 100, "seeds": 100, "events": "none"}


@asynccontextmanager
async def running(state_dir: Path) -> AsyncIterator[SimulationQueue]:
    runs = SimulationQueue(Simulations(state_dir), state_dir, CATALOGUE)
    await runs.open()
    try:
        yield runs
    finally:
        await runs.close()


async def wait_until(runs: SimulationQueue, run: int, *states: str, done: int = 0) -> RunRecord:
    """Wait for a run to be in one of some states, and so far."""
    found = await runs.get(run)
    for _ in range(2400):
        found = await runs.get(run)
        if found.state in states and found.done >= done:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"run {run} did not become {states}")


def child_of(runs: SimulationQueue) -> int:
    assert runs._child is not None  # noqa: SLF001 (there is no other way to ask for it)
    return runs._child[1].pid  # noqa: SLF001


def made_anything(state_dir: Path) -> bool:
    return any(state_dir.iterdir())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_run_is_played_by_a_child_and_comes_out_as_on_the_command_line(tmp_path: Path) -> None:
    async with running(tmp_path) as runs:
        queued = await runs.start(SHORT, "ops")
        assert (queued.state, queued.client, queued.origin, queued.done) == ("queued", "ops", "service", 0)
        ended = await wait_until(runs, queued.id, "done")
    plan = Plan.from_json(ended.plan)
    assert plan.policies == ("linucb-v1",)
    assert (ended.done, ended.total) == (plan.total, 48)
    rows: list[Any] = list(Simulations(tmp_path).iter_plays(ended.id))
    kept = [((seed, user, policy), PackedPlay(*packed)) for seed, user, policy, *packed in rows]
    assert build_tally(plan, kept).build_summary() == (await play_plan(plan)).tally.build_summary()
    assert len(list(Simulations(tmp_path).iter_events(ended.id))) == 48


async def test_runs_wait_for_each_other_and_the_child_is_of_the_lowest_priority(tmp_path: Path) -> None:
    async with running(tmp_path) as runs:
        first, second, third = [(await runs.start(plan, "ops")).id for plan in (ENDLESS, SHORT, SHORT)]
        await wait_until(runs, first, "running", done=1)
        assert os.getpriority(os.PRIO_PROCESS, child_of(runs)) == 19
        assert (await runs.get(second)).state == "queued"
        assert (await runs.cancel(second)).state == "cancelled"
        cancelled = await runs.cancel(first)
        assert cancelled.state == "cancelled"
        assert (await wait_until(runs, third, "done")).done == 48
        assert (await runs.get(first)).state == "cancelled"
        assert 0 < (await runs.get(first)).done < cancelled.total
        assert (await runs.get(second)).done == 0, "what was cancelled while it waited is never played"


async def test_closed_it_stops_its_child_which_keeps_what_is_done(tmp_path: Path) -> None:
    async with running(tmp_path) as runs:
        run = (await runs.start(ENDLESS, "ops")).id
        waiting = (await runs.start(SHORT, "ops")).id
        await wait_until(runs, run, "running", done=1)
        child = child_of(runs)
    assert not is_alive(child)
    row = Simulations(tmp_path).get(run, time.time())
    assert row is not None
    assert row.state == "interrupted"
    steps = [len(decode_steps(PackedPlay(*packed))) for _, _, _, *packed in plays_of(tmp_path, run)]
    assert sum(steps) == row.done > 0
    async with running(tmp_path) as again:
        assert (await again.get(run)).state == (await again.get(waiting)).state == "interrupted"


def plays_of(state_dir: Path, run: int) -> list[Any]:
    return list(Simulations(state_dir).iter_plays(run))


async def test_deleted_while_it_is_played_it_is_gone_and_its_child_ends(tmp_path: Path) -> None:
    async with running(tmp_path) as runs:
        run = (await runs.start(ENDLESS, "ops")).id
        await wait_until(runs, run, "running", done=1)
        child = child_of(runs)
        await runs.delete(run)
        for ask in (runs.get, runs.delete, runs.cancel):
            with pytest.raises(UnknownRunError):
                await ask(run)
        for _ in range(200):
            if not is_alive(child):
                break
            await asyncio.sleep(0.05)
        assert not is_alive(child)
        assert plays_of(tmp_path, run) == []
        after = await runs.start(SHORT, "ops")
        assert after.id > run


async def test_a_child_that_is_killed_leaves_a_failed_run_and_the_next_one_is_played(tmp_path: Path) -> None:
    async with running(tmp_path) as runs:
        first, second = await runs.start(ENDLESS, "ops"), await runs.start(SHORT, "ops")
        await wait_until(runs, first.id, "running", done=1)
        os.kill(child_of(runs), 9)
        failed = await wait_until(runs, first.id, "failed")
        assert failed.error == "its process ended with exit code -9"
        await wait_until(runs, second.id, "done")


async def test_a_child_that_cannot_begin_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDSTAND_CONFIG", str(tmp_path / "gone.toml"))
    async with running(tmp_path) as runs:
        run = await runs.start(SHORT, "ops")
        failed = await wait_until(runs, run.id, "failed")
    assert failed.error is not None
    assert failed.error.startswith("bandstand: BANDSTAND_CONFIG=")


async def test_what_cannot_be_played_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as runs:
        with pytest.raises(UnknownPolicyError):
            await runs.start({**SHORT, "policies": ["nobody"]}, "ops")
        with pytest.raises(InvalidRequestError, match="up to 20,000,000 decisions"):
            await runs.start({**SHORT, "personas": 1000, "days": 1000, "seeds": 10}, "ops")
        with pytest.raises(InvalidRequestError, match="up to 20,000 decisions with the judge llm"):
            await runs.start({**SHORT, "judge": "llm", "personas": 100, "days": 30}, "ops")
        with pytest.raises(InvalidRequestError, match="whose events are kept"):
            await runs.start({**ENDLESS, "events": "all"}, "ops")
        with pytest.raises(InvalidRequestError, match="judge"):
            await runs.start({**SHORT, "judge": "command"}, "ops")
        assert await runs.list_page(before=None, limit=9) == []
        monkeypatch.setattr(background_runs, "MAX_WAITING", 1)

        async def start_three() -> None:  # the first may be under way before the second comes
            for _ in range(3):
                await runs.start(ENDLESS, "ops")

        with pytest.raises(OverloadedError, match="1 simulations wait already"):
            await start_three()


async def test_a_broken_file_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    (tmp_path / "simulations.db").write_bytes(b"not a database" * 100)
    async with running(tmp_path):
        pass


async def test_a_service_that_has_simulated_nothing_makes_no_file(tmp_path: Path) -> None:
    async with running(tmp_path):
        await asyncio.sleep(0.05)
    assert not made_anything(tmp_path)
