"""What ``bandstand simulate`` does: plans a run or finds one, and plays it."""

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bandstand.bandit.catalogue import Catalogue
from bandstand.cli.report import show_progress
from bandstand.cli.simulate.chat_judge import open_chat_players, with_judge
from bandstand.cli.simulate.judges import open_planned_judge
from bandstand.config.settings import Settings
from bandstand.errors import BandstandError, InvalidRequestError
from bandstand.simulate.errors import RunBusyError, RunTakenError, UnknownRunError
from bandstand.simulate.http_client import ServicePlayers
from bandstand.simulate.judges.judge_prompt import with_prompt
from bandstand.simulate.plan import Plan
from bandstand.simulate.run.play import PackedPlay, PlayKey
from bandstand.simulate.run.result import build_result
from bandstand.simulate.run.runner import (
    AT_ONCE,
    LocalPlayers,
    Players,
    Runner,
    build_tally,
    configure_gc,
    require_policies,
)
from bandstand.simulate.world.persona import PERSONA_SETS, parse_personas
from bandstand.store.tables.run_table import RunClaim, RunProgress, RunState
from bandstand.store.tables.simulations import Simulations

_CLIENT = "-"


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where and with what a run is played."""

    settings: Settings
    catalogue: Catalogue
    api_key: str | None = None
    concurrency: int | None = None

    @property
    def simulations(self) -> Simulations:
        """The runs of the state directory."""
        return Simulations(self.settings.state_dir)


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run to play; without a claim, one that is done and only has to be shown."""

    id: int
    plan: Plan
    claim: RunClaim | None


def create_run(context: RunContext, document: Mapping[str, Any]) -> RunHandle:
    """Plan a run from the flags that were given, write it down, and take it.

    Raises:
        InvalidRequestError: a flag's value is not allowed; the flag is named.
        UnknownPolicyError: a policy is not configured.
    """
    values = dict(document)
    world = values.get("world", "shipped")
    if world not in PERSONA_SETS:
        own = parse_personas(_read_file(Path(world)))
        values |= {"world": [asdict(persona) for persona in own], "personas": values.get("personas", len(own))}
    values["policies"] = [_resolve_policy(context, name, values) for name in values["policies"]]
    if "url" in values:
        values["users"] = f"simulated/{secrets.token_hex(4)}"
    plan = with_judge(context.settings, with_prompt(Plan.from_document(values)))
    if plan.url is None:
        plan = require_policies(plan, context.catalogue.policies)
    run = context.simulations.create(plan.to_json(), plan.total, origin="command", client=_CLIENT, now=time.time())
    return RunHandle(run, plan, context.simulations.claim(run, now=time.time()))


def resume_run(context: RunContext, name: str, *, supervised: bool) -> RunHandle:
    """Find a run by its number, or the ``last`` one, and take it.

    Raises:
        UnknownRunError: there is no such run.
        RunBusyError: another process plays it.
        ConfigurationError: its policies are defined otherwise now.
    """
    simulations, now = context.simulations, time.time()
    newest = simulations.list_page(before=None, limit=1, now=now) if name == "last" else []
    number = newest[0].id if newest else int(name) if name.isascii() and name.isdecimal() else 0
    row = simulations.get(number, now)
    if row is None:
        raise UnknownRunError(f"There is no run {name} in {context.settings.state_dir}.")
    plan = Plan.from_json(row.plan)
    if plan.url is None:
        for policy in plan.policies:
            context.catalogue.get_policy(policy)
        plan = require_policies(plan, context.catalogue.policies)
    if row.state == "done":
        return RunHandle(row.id, plan, None)
    claim = simulations.claim(row.id, now=now, only_queued=supervised)
    if claim is None:
        raise RunBusyError(f"Run {row.id} is being played by another process, or has been ended.")
    return RunHandle(row.id, plan, claim)


async def play_run(context: RunContext, run: RunHandle, *, supervised: bool) -> dict[str, Any]:
    """Play a run to its end, or to a signal, and return the result."""
    simulations, plan = context.simulations, run.plan
    if run.claim is None:
        return build_result(plan, build_tally(plan, _load_plays(simulations, run.id)), run=run.id, state="done")
    configure_gc()
    journal = _Journal(simulations, run.claim)
    try:
        with simulations.keep_open(), show_progress("decisions", plan.total) as bar:
            async with _open_players(context, plan) as players, open_planned_judge(context.settings, plan) as judge:
                runner = Runner(
                    plan,
                    players,
                    judge,
                    journal=journal,
                    kept=_load_plays(simulations, run.id),
                    at_once=_resolve_concurrency(context, plan),
                    on_progress=lambda done: bar.update(done, plan.total),
                )
                state: RunState = (
                    "done" if await runner.run(_install_stop_event(supervised=supervised)) else "interrupted"
                )
    except RunTakenError:
        raise  # it is nobody's to end any more, or somebody else's
    except BaseException as error:
        journal.end("failed", error.detail if isinstance(error, BandstandError) else type(error).__name__)
        raise
    journal.end(state)
    return build_result(plan, runner.tally, run=run.id, state=state, seconds=runner.seconds)


class _Journal:
    """Writes a run under its claim."""

    def __init__(self, simulations: Simulations, claim: RunClaim) -> None:
        self._simulations = simulations
        self._claim = claim
        self._done = 0
        self._summary = "{}"

    def save(self, plays: list[tuple[object, ...]], events: list[tuple[object, ...]], done: int, summary: str) -> bool:
        """Write what was played since the last time."""
        self._done, self._summary = done, summary
        progress = RunProgress(done=done, summary=summary)
        return self._simulations.save(self._claim, progress, plays=plays, events=events, now=time.time())

    def end(self, state: RunState, error: str | None = None) -> None:
        """Give the run back."""
        progress = RunProgress(done=self._done, summary=self._summary, state=state, error=error)
        self._simulations.save(self._claim, progress, plays=[], events=[], now=time.time())


def _load_plays(simulations: Simulations, run: int) -> list[tuple[PlayKey, PackedPlay]]:
    rows: list[Any] = list(simulations.iter_plays(run))
    return [((seed, user, policy), PackedPlay(*packed)) for seed, user, policy, *packed in rows]


def _resolve_concurrency(context: RunContext, plan: Plan) -> int | None:
    asks = plan.judge.kind != "rule" or (plan.chat is not None and plan.chat.tier in {"llm", "auto"})
    if plan.url is None and not asks:
        return None
    return max(1, context.concurrency or AT_ONCE)


def _install_stop_event(*, supervised: bool) -> asyncio.Event:
    """An event that the first signal sets (the second one kills), or, supervised, the end of standard input."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    if supervised:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    return stop


@asynccontextmanager
async def _open_players(context: RunContext, plan: Plan) -> AsyncIterator[Players]:
    if plan.url is None:
        async with open_chat_players(context.settings, plan, LocalPlayers(context.catalogue.policies)) as players:
            yield players
        return
    async with ServicePlayers(plan.url, context.api_key, plan.users) as service:
        yield service


def _resolve_policy(context: RunContext, name: str, values: Mapping[str, Any]) -> str:
    """The policy's own name, where it plays here; a service resolves names itself."""
    return name if "url" in values else context.catalogue.get_policy(name).name


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        sets = ", ".join(PERSONA_SETS)
        raise InvalidRequestError(
            f"--world {str(path)!r} is neither {sets} nor a file that can be read: {reason}"
        ) from error
