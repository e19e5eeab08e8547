"""An LLM that reads turns as rewards, for Python programs: its configuration, and its client."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields
from numbers import Integral, Real
from types import TracebackType
from typing import Final, Self

from bandstand.config.settings import Settings, read_settings
from bandstand.judge.cascade import CascadeJudge, Progress
from bandstand.judge.gate import Gate
from bandstand.judge.gated_verdict import GatedVerdict
from bandstand.judge.llm.cache import VerdictCache
from bandstand.judge.turn import Turn
from bandstand.wiring.judges import gate, open_judges

DEFAULT_MODEL: Final = "gpt-5-nano"

_SETTINGS: Final = {
    "model": ("judge_model", str),
    "api_key": ("openai_api_key", str),
    "base_url": ("judge_url", str),
    "max_concurrent": ("judge_max_concurrent", Integral),
    "max_tries": ("judge_tries", Integral),
    "base_delay_s": ("judge_base_delay_s", Real),
    "timeout_s": ("judge_call_timeout_s", Real),
    "max_completion_tokens": ("judge_max_tokens", Integral),
    "confidence_threshold": ("judge_tau", Real),
    "cache": ("judge_cache", bool),
}
"""The setting that stands behind each option, and the option's type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMRewardConfig:
    """How the LLM is asked; a field that is left out has the value of its setting in the environment.

    Attributes:
        model: its name (``JUDGE_MODEL``, else ``gpt-5-nano``).
        api_key: the provider's key (``OPENAI_API_KEY``; ``ANTHROPIC_API_KEY`` under ``JUDGE_PROVIDER=anthropic``).
        base_url: where it is (``JUDGE_URL``, else the provider itself).
        max_concurrent: calls at once (``JUDGE_MAX_CONCURRENT``, 32).
        max_tries: calls made for one turn at most, the first included (``JUDGE_TRIES``, 3).
        base_delay_s: seconds before the second (``JUDGE_BASE_DELAY_S``, 1); twice as many before each further one.
        timeout_s: seconds that one call may take (``JUDGE_CALL_TIMEOUT_S``, 60).
        max_completion_tokens: tokens of a reply, thinking included (``JUDGE_MAX_TOKENS``, 2,048).
        confidence_threshold: τ; less confident verdicts teach nothing (``JUDGE_TAU``, 0.6).
        cache: whether the LLM is asked only once about the same turn (``JUDGE_CACHE``, on).

    Raises:
        TypeError: an option is of another type.
    """

    model: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    max_concurrent: int | None = None
    max_tries: int | None = None
    base_delay_s: float | None = None
    timeout_s: float | None = None
    max_completion_tokens: int | None = None
    confidence_threshold: float | None = None
    cache: bool | None = None

    def __post_init__(self) -> None:
        for name, (_, kind) in _SETTINGS.items():
            value = getattr(self, name)
            fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            if value is not None and not fits:
                raise TypeError(f"{name} must be {_TYPE_NAMES[kind]}, not {type(value).__name__}")

    def __repr__(self) -> str:
        """Show what is set, but for the key."""
        shown = [
            f"{field.name}={'***' if field.name == 'api_key' else repr(value)}"
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        ]
        return f"LLMRewardConfig({', '.join(shown)})"

    def to_settings(self) -> Settings:
        """Return the environment's settings with these options in place of theirs.

        Raises:
            ConfigurationError: a value is not allowed, or a setting is wrong.
        """
        given = {setting: getattr(self, name) for name, (setting, _) in _SETTINGS.items()}
        settings = read_settings(**given)
        if self.api_key is not None and settings.judge_provider == "anthropic":
            settings = read_settings(**given, anthropic_api_key=self.api_key)
        if settings.judge_model is None:
            settings = settings.model_copy(update={"judge_model": DEFAULT_MODEL})
        return settings


_TYPE_NAMES: Final = {str: "a str", Integral: "an int", Real: "a number", bool: "True or False"}


class LLMRewardClient:
    """Asks the LLM how users took answers; verdicts are remembered from call to call.

    Connections and locks are of one event loop: those who ask in the same loop at the same time share them, and the
    last closes them. ``async with`` keeps them open from call to call.

    Args:
        config: how the LLM is asked; the settings, if left out.
        cache: a cache of verdicts to use instead of its own.

    Raises:
        TypeError: ``config`` is something else.
    """

    def __init__(self, config: LLMRewardConfig | None = None, *, cache: VerdictCache | None = None) -> None:
        if config is not None and not isinstance(config, LLMRewardConfig):
            raise TypeError(f"config must be an LLMRewardConfig, not {type(config).__name__}")
        self.config = config or LLMRewardConfig()
        self._verdicts = VerdictCache() if cache is None else cache
        self._shared: dict[asyncio.AbstractEventLoop, _SharedJudge] = {}

    async def judge(self, turn: Turn) -> GatedVerdict:
        """Ask the LLM how the user took an answer.

        Raises:
            TypeError: it is no turn.
            ConfigurationError: an option or a setting is wrong, or the key is missing.
        """
        (judgement,) = await self.judge_batch([turn])
        return judgement

    async def judge_batch(self, turns: Sequence[Turn], *, progress: Progress | None = None) -> list[GatedVerdict]:
        """Ask the LLM about many turns.

        Args:
            turns: in any number; one that cannot be judged is ``unscored`` and loses none of the others.
            progress: called with how many are done, and of how many, after each.

        Returns:
            One judgement a turn, in the turns' order.

        Raises:
            TypeError: one is no turn.
            ConfigurationError: an option or a setting is wrong, or the key is missing.
        """
        _require_turns(turns)
        async with self._acquire_judge() as (judge, chosen_gate):
            judged = await judge.judge_batch(turns, progress=progress)
            return [GatedVerdict(one, chosen_gate.apply(one, judge.taxonomy)) for one in judged]

    def estimate_reward(self, turn: Turn) -> tuple[float, bool]:
        """Return the reward of a turn, and whether it should teach: (0, False) where it cannot be judged.

        Raises:
            TypeError: it is no turn.
            RuntimeError: an event loop is running; there, ``await client.judge(turn)``.
            ConfigurationError: an option or a setting is wrong, or the key is missing.
        """
        require_no_loop("estimate_reward(turn)", "await client.judge(turn)")
        (estimate,) = self.estimate_rewards_batch([turn])
        return estimate

    def estimate_rewards_batch(self, turns: Sequence[Turn]) -> list[tuple[float, bool]]:
        """Return (reward, whether it should teach) of many turns, in their order.

        Raises:
            TypeError: one is no turn.
            RuntimeError: an event loop is running; there, ``await client.judge_batch(turns)``.
            ConfigurationError: an option or a setting is wrong, or the key is missing.
        """
        require_no_loop("estimate_rewards_batch(turns)", "await client.judge_batch(turns)")
        return [(each.reward, each.should_update) for each in asyncio.run(self.judge_batch(turns))]

    async def __aenter__(self) -> Self:
        """Keep the connections of this event loop open."""
        shared = self._enter_loop()
        try:
            await shared.ensure_open()
        except BaseException:
            await self._leave_loop(shared)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close them, once nobody in this event loop uses them."""
        await self._leave_loop(self._shared[asyncio.get_running_loop()])

    @asynccontextmanager
    async def _acquire_judge(self) -> AsyncIterator[tuple[CascadeJudge, Gate]]:
        shared = self._enter_loop()
        try:
            yield await shared.ensure_open()
        finally:
            await self._leave_loop(shared)

    def _enter_loop(self) -> "_SharedJudge":
        loop = asyncio.get_running_loop()
        shared = self._shared.setdefault(loop, _SharedJudge(self.config, self._verdicts))
        shared.users += 1
        return shared

    async def _leave_loop(self, shared: "_SharedJudge") -> None:
        shared.users -= 1
        if not shared.users:
            del self._shared[asyncio.get_running_loop()]
            await shared.stack.aclose()


class _SharedJudge:
    """A judge with its connections, for as long as somebody in its event loop uses it."""

    def __init__(self, config: LLMRewardConfig, verdicts: VerdictCache) -> None:
        self.users = 0
        self.stack = AsyncExitStack()
        self._config = config
        self._verdicts = verdicts
        self._opening = asyncio.Lock()
        self._opened: tuple[CascadeJudge, Gate] | None = None

    async def ensure_open(self) -> tuple[CascadeJudge, Gate]:
        async with self._opening:
            if self._opened is None:
                settings = self._config.to_settings()
                opening = open_judges(settings, mode="llm", cache=self._verdicts)
                judges = await self.stack.enter_async_context(opening)
                self._opened = judges.get_judge(), gate(settings)
            return self._opened


def require_no_loop(called: str, instead: str) -> None:
    """Make sure that a call may wait.

    Raises:
        RuntimeError: an event loop is running; names what to await there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"{called} cannot wait inside a running event loop; there, `{instead}`")


def _require_turns(turns: object) -> None:
    """Make sure that these are turns before a client is opened for them.

    Raises:
        TypeError: one is not, or they are no sequence.
    """
    if not isinstance(turns, Sequence) or isinstance(turns, str | bytes):
        raise TypeError(f"turns must be a list of Turn, not {type(turns).__name__}")
    for number, turn in enumerate(turns):
        if not isinstance(turn, Turn):
            raise TypeError(
                f"turns[{number}] must be a Turn, not {type(turn).__name__}: Turn(query_t, answer_t, query_t1)"
            )
