"""What ``bandstand simulate`` does: plans a run or finds one, plays it, and shows what came out."""

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

import typer
from rich.console import Console
from rich.table import Table

from bandstand.bandit.catalogue import Catalogue
from bandstand.bandit.errors import BandstandError, InvalidRequestError
from bandstand.cli.report import progress
from bandstand.settings import Settings
from bandstand.simulate.asking import shipped_prompt
from bandstand.simulate.command_judge import COMMAND_DEADLINE_S, CommandJudge
from bandstand.simulate.errors import RunBusyError, RunTakenError, UnknownRunError
from bandstand.simulate.judge import Judge, RuleJudge
from bandstand.simulate.llm_judge import LLM_DEADLINE_S, LLM_MODEL, LlmJudge
from bandstand.simulate.persona import PERSONA_SETS, parse_personas
from bandstand.simulate.plan import JudgePlan, Plan
from bandstand.simulate.play import Key, PackedPlay
from bandstand.simulate.report import plus_minus
from bandstand.simulate.result import result
from bandstand.simulate.runner import AT_ONCE, LocalPlayers, Players, Runner, calm_collector, require_policies, retold
from bandstand.simulate.service import ServicePlayers
from bandstand.store.simulations import Claim, RunState, Simulations

_CLIENT = "-"
_WIDTH = 120
_WINDOWS = ((1, 10), (11, 40), (41, 60), (61, None))


@dataclass(frozen=True, slots=True)
class Setting:
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
class FoundRun:
    """A run that is ours to play; without a claim, one that is done and only has to be told."""

    id: int
    plan: Plan
    claim: Claim | None


def new_run(setting: Setting, document: Mapping[str, Any]) -> FoundRun:
    """Plan a run from the flags that were given, write it down, and take it.

    Raises:
        InvalidRequestError: a flag's value is not allowed; the flag is named.
        UnknownPolicyError: a policy is not configured.
    """
    values = dict(document)
    world = values.get("world", "shipped")
    if world not in PERSONA_SETS:
        own = parse_personas(_read(Path(world)))
        values |= {"world": [asdict(persona) for persona in own], "personas": values.get("personas", len(own))}
    values["policies"] = [_configured(setting, name, values) for name in values["policies"]]
    if "url" in values:
        values["users"] = f"simulated/{secrets.token_hex(4)}"
    plan = Plan.from_document(values)
    if plan.url is None:
        plan = require_policies(plan, setting.catalogue.policies)
    run = setting.simulations.create(plan.to_json(), plan.total, origin="command", client=_CLIENT, now=time.time())
    return FoundRun(run, plan, setting.simulations.claim(run, now=time.time()))


def resumed_run(setting: Setting, name: str, *, supervised: bool) -> FoundRun:
    """Find a run by its number, or the ``last`` one, and take it.

    Raises:
        UnknownRunError: there is none.
        RunBusyError: somebody plays it.
        ConfigurationError: its policies are defined otherwise now.
    """
    simulations, now = setting.simulations, time.time()
    newest = simulations.page(before=None, limit=1, now=now) if name == "last" else []
    number = newest[0].id if newest else int(name) if name.isascii() and name.isdecimal() else 0
    row = simulations.get(number, now)
    if row is None:
        raise UnknownRunError(f"There is no run {name} in {setting.settings.state_dir}.")
    plan = Plan.from_json(row.plan)
    if plan.url is None:
        for policy in plan.policies:
            setting.catalogue.policy(policy)
        plan = require_policies(plan, setting.catalogue.policies)
    if row.state == "done":
        return FoundRun(row.id, plan, None)
    claim = simulations.claim(row.id, now=now, anew=supervised)
    if claim is None:
        raise RunBusyError(f"Run {row.id} is being played by another process, or has been ended.")
    return FoundRun(row.id, plan, claim)


async def play_run(setting: Setting, run: FoundRun, *, supervised: bool) -> dict[str, Any]:
    """Play a run to its end, or to a signal, and tell what came out."""
    simulations, plan = setting.simulations, run.plan
    if run.claim is None:
        return result(plan, retold(plan, _kept(simulations, run.id)), run=run.id, state="done")
    calm_collector()
    journal = _Journal(simulations, run.claim)
    with progress("decisions", plan.total) as bar:
        async with _players(setting, plan) as players, _judge(setting, plan) as judge:
            runner = Runner(
                plan,
                players,
                judge,
                journal=journal,
                kept=_kept(simulations, run.id),
                at_once=_at_once(setting, plan),
                on_progress=lambda done: bar.so_far(done, plan.total),
            )
            try:
                state: RunState = "done" if await runner.run(_stop(supervised=supervised)) else "interrupted"
            except RunTakenError:
                raise
            except BaseException as error:
                journal.end("failed", error.detail if isinstance(error, BandstandError) else type(error).__name__)
                raise
    journal.end(state)
    return result(plan, runner.tally, run=run.id, state=state, seconds=runner.seconds)


def show(result: Mapping[str, Any]) -> None:
    """Print a result as tables."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    plan = result["plan"]
    world = plan["world"] if isinstance(plan["world"], str) else "own"
    title = (
        f"Run {result['run']}: {result['decisions']:,} of {result['total']:,} decisions, {world} personas, "
        f"{plan['seeds']} seeds, judge {plan['judge']['kind']}"
    )
    if result["seconds"]:
        title += f", {result['seconds']:.1f} s"
    console.print(_overall(result), title, sep="\n")
    console.print(_by_decision(result))
    fallbacks = [
        f"{name}: {each['decisions']:,} decided by {each['judge']}"
        + (f" ({each['fallback']})" if each["fallback"] else "")
        for name, policy in result["policies"].items()
        for each in policy["judges"]
        if plan["judge"]["kind"] != "rule"
    ]
    for line in fallbacks:
        console.print(line)


def _overall(result: Mapping[str, Any]) -> Table:
    table = Table("policy")
    for head in ("mean reward", "expected", "gap closed", "regret", "done", "snooze", "dismiss"):
        table.add_column(head, justify="right")
    for name, each in result["policies"].items():
        table.add_row(
            name,
            plus_minus(each["mean_reward"], each["stderr"], ".4f"),
            plus_minus(each["expected_reward"], each["expected_stderr"], ".4f"),
            plus_minus(each["gap_closed"], each["gap_stderr"], ".1%"),
            plus_minus(each["regret"], None, ".4f"),
            *(f"{share:.1%}" for share in each["actions"].values()),
        )
    for name, each in result["baselines"].items():
        table.add_row(name, "", plus_minus(each["mean_reward"], each["stderr"], ".4f"), style="dim")
    return table


def _by_decision(result: Mapping[str, Any]) -> Table:
    """Mean reward and gap closed in windows of a user's decisions."""
    table = Table("gap closed in decisions")
    curves = {name: each["by_decision"] for name, each in result["policies"].items()}
    decisions = next(iter(curves.values()))["decision"]
    windows = [(low, high) for low, high in _WINDOWS if low <= decisions[-1]]
    for low, high in windows:
        table.add_column(f"{low}–{high or 'end'}", justify="right")
    bounds = {name: each["by_decision"]["mean_reward"] for name, each in result["baselines"].items()}
    for name, curve in curves.items():
        cells = [_gap(curve, bounds, decisions, low, high) for low, high in windows]
        table.add_row(name, *cells)
    return table


def _gap(curve: Mapping[str, Any], bounds: Mapping[str, Any], decisions: list[int], low: int, high: int | None) -> str:
    picked = [
        (count, expected, bounds["random"][at], bounds["oracle"][at])
        for at, (decision, count, expected) in enumerate(
            zip(decisions, curve["decisions"], curve["expected_reward"], strict=True)
        )
        if decision >= low and (high is None or decision <= high) and expected is not None
    ]
    earned = sum(count * (expected - random) for count, expected, random, _ in picked)
    possible = sum(count * (oracle - random) for count, _, random, oracle in picked)
    return f"{earned / possible:.1%}" if possible else "–"


class _Journal:
    """Writes a run under its claim."""

    def __init__(self, simulations: Simulations, claim: Claim) -> None:
        self._simulations = simulations
        self._claim = claim
        self._done = 0
        self._summary = "{}"

    def save(self, plays: list[tuple[object, ...]], events: list[tuple[object, ...]], done: int, summary: str) -> bool:
        """Write what was played since the last time."""
        self._done, self._summary = done, summary
        return self._simulations.save(
            self._claim, plays=plays, events=events, done=done, summary=summary, now=time.time()
        )

    def end(self, state: RunState, error: str | None = None) -> None:
        """Give the run back."""
        self._simulations.save(
            self._claim,
            plays=[],
            events=[],
            done=self._done,
            summary=self._summary,
            now=time.time(),
            state=state,
            error=error,
        )


def _kept(simulations: Simulations, run: int) -> list[tuple[Key, PackedPlay]]:
    rows: list[Any] = list(simulations.plays(run))
    return [((seed, user, policy), PackedPlay(*packed)) for seed, user, policy, *packed in rows]


def _at_once(setting: Setting, plan: Plan) -> int | None:
    if plan.url is None and plan.judge.kind == "rule":
        return None
    return max(1, setting.concurrency or AT_ONCE)


def _stop(*, supervised: bool) -> asyncio.Event:
    """An event that the first signal sets (the second one kills), or, supervised, the end of standard input."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def stopped(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped, number)
    if supervised:
        loop.add_reader(sys.stdin.fileno(), stop.set)
    return stop


@asynccontextmanager
async def _players(setting: Setting, plan: Plan) -> AsyncIterator[Players]:
    if plan.url is None:
        yield LocalPlayers(setting.catalogue.policies)
        return
    async with ServicePlayers(plan.url, setting.api_key, plan.users) as players:
        yield players


@asynccontextmanager
async def _judge(setting: Setting, plan: Plan) -> AsyncIterator[Judge]:
    judge = plan.judge
    if judge.kind == "rule":
        yield RuleJudge()
    elif judge.kind == "command":
        yield CommandJudge(judge.command, shipped_prompt(), deadline_s=judge.deadline_s or COMMAND_DEADLINE_S)
    else:
        async with _client(setting.settings, plan.judge, plan.total) as client:
            yield LlmJudge(client, shipped_prompt(), deadline_s=judge.deadline_s or LLM_DEADLINE_S)


@asynccontextmanager
async def _client(settings: Settings, plan: JudgePlan, questions: int) -> AsyncIterator[Any]:
    """The model that judges, named on stderr with the host its questions go to; None where there is no key."""
    # The providers' packages take a second to import.
    from bandstand.llm.breaker import BreakerClient, CircuitBreaker  # noqa: PLC0415
    from bandstand.llm.retry import RetryingClient  # noqa: PLC0415

    model = plan.model or LLM_MODEL
    adapter: Any
    if plan.url is not None:
        from bandstand.llm.openai_compatible import OpenAICompatibleClient  # noqa: PLC0415

        key = settings.openai_api_key
        secret = None if key is None else key.get_secret_value()
        adapter = OpenAICompatibleClient(base_url=plan.url, api_key=secret, model=model)
    elif settings.anthropic_api_key is not None:
        from bandstand.llm.anthropic import AnthropicClient  # noqa: PLC0415

        adapter = AnthropicClient(api_key=settings.anthropic_api_key.get_secret_value(), model=model)
    else:
        typer.echo("ANTHROPIC_API_KEY is unset: the rule judges", err=True)
        yield None
        return
    typer.echo(f"{model} at {adapter.host} is asked up to {questions:,} questions", err=True)
    async with adapter:
        yield RetryingClient(BreakerClient(adapter, CircuitBreaker()))


def _configured(setting: Setting, name: str, values: Mapping[str, Any]) -> str:
    """The policy's own name, where it plays here; a service resolves names itself."""
    return name if "url" in values else setting.catalogue.policy(name).name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        sets = ", ".join(PERSONA_SETS)
        raise InvalidRequestError(
            f"--world {str(path)!r} is neither {sets} nor a file that can be read: {reason}"
        ) from error
