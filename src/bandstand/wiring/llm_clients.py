"""The judge's LLM as settings name it: which host, which client, at what price."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError
from bandstand.judge.cascade import Mode
from bandstand.judge.llm.llm_judge import CostFunction, get_unknown_cost

if TYPE_CHECKING:
    from bandstand.llm.middleware.budget import DailyBudget
    from bandstand.llm.middleware.retry import RetryingClient
    from bandstand.llm.providers.anthropic import AnthropicClient
    from bandstand.llm.providers.openai_compatible import OpenAICompatibleClient

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
MAX_TRIES = 3
"""Of one call, while anybody waits for no longer than the judge's deadline."""

_CALL_SECONDS = 60.0


def llm_host(settings: Settings, *, mode: Mode | None = None) -> str | None:
    """Return the host that turns may be sent to; None where they stay on this machine.

    Raises:
        ConfigurationError: ``JUDGE`` is llm, and ``JUDGE_MODEL`` is unset; or a key is missing.
    """
    wanted = mode or settings.judge
    if wanted == "llm" and settings.judge_model is None:
        raise ConfigurationError("JUDGE=llm needs JUDGE_MODEL, the model to ask")
    if wanted not in {"auto", "llm"} or settings.judge_model is None:
        return None
    if _get_key(settings) is None and (settings.judge_url is None or settings.judge_provider == "anthropic"):
        name = f"{settings.judge_provider}_api_key".upper()
        raise ConfigurationError(f"JUDGE_MODEL is set, but {name} is not, and {settings.judge_provider} wants a key")
    return urlsplit(_get_url(settings)).hostname


class LlmConnection:
    """A client of the model, with the breaker and the budget that all its calls share. Of one event loop.

    Args:
        settings: name the model.
    """

    def __init__(self, settings: Settings) -> None:
        # The providers' packages take a second to import, and most judges need none.
        from bandstand.llm.middleware.breaker import CircuitBreaker  # noqa: PLC0415

        self._adapter = _build_adapter(settings)
        self._breaker = CircuitBreaker()
        self._budget = _build_budget(settings)

    def build_client(self, tries: int = MAX_TRIES) -> "RetryingClient":
        """Return a client that tries again what may pass, within the day's caps as this process knows them.

        Args:
            tries: at most, of one call; :func:`bandstand.llm.middleware.usage.track_usage` counts them all.
        """
        from bandstand.llm.middleware.breaker import BreakerClient  # noqa: PLC0415 - as above
        from bandstand.llm.middleware.budget import BudgetedClient  # noqa: PLC0415 - as above
        from bandstand.llm.middleware.retry import Backoff, RetryingClient  # noqa: PLC0415 - as above
        from bandstand.llm.middleware.usage import CountingClient  # noqa: PLC0415 - as above

        once = BudgetedClient(CountingClient(self._adapter), self._budget)
        return RetryingClient(BreakerClient(once, self._breaker), backoff=Backoff(tries=tries))

    async def aclose(self) -> None:
        """Hang up; calls under way fail."""
        await self._adapter.aclose()


@asynccontextmanager
async def open_connection(settings: Settings, *, mode: Mode | None = None) -> AsyncIterator[LlmConnection | None]:
    """Connect to the model that settings name, None where no LLM is asked, and hang up after.

    Args:
        settings: the deployment's.
        mode: in place of ``JUDGE``.

    Raises:
        ConfigurationError: see :func:`llm_host`.
    """
    connection = None if llm_host(settings, mode=mode) is None else LlmConnection(settings)
    try:
        yield connection
    finally:
        if connection is not None:
            await connection.aclose()


def get_cost_function(settings: Settings) -> CostFunction:
    """Return what tokens cost, as ``JUDGE_PRICE`` says."""
    price = settings.judge_price
    if price is None:
        return get_unknown_cost
    prompt, completion = (float(part) / 1e6 for part in price)
    return lambda read, written: prompt * read + completion * written


def _build_adapter(settings: Settings) -> "OpenAICompatibleClient | AnthropicClient":
    key = _get_key(settings)
    secret = key.get_secret_value() if key else None
    model = settings.judge_model or ""
    if settings.judge_provider == "anthropic":
        from bandstand.llm.providers.anthropic import AnthropicClient  # noqa: PLC0415 - as above

        return AnthropicClient(
            base_url=_get_url(settings),
            api_key=secret or "",
            model=model,
            call_timeout_s=_CALL_SECONDS,
            max_connections=settings.judge_max_concurrent,
        )
    from bandstand.llm.providers.openai_compatible import OpenAICompatibleClient  # noqa: PLC0415 - as above

    return OpenAICompatibleClient(
        base_url=_get_url(settings),
        api_key=secret,
        model=model,
        call_timeout_s=_CALL_SECONDS,
        max_connections=settings.judge_max_concurrent,
    )


def _build_budget(settings: Settings) -> "DailyBudget":
    """Make the caps of this process: whoever judges turns for a service keeps the day's sum in its ledger besides."""
    from bandstand.llm.middleware.budget import DailyBudget, Price  # noqa: PLC0415 - as above

    price, model = settings.judge_price, settings.judge_model or ""
    return DailyBudget(
        today=lambda: datetime.now(UTC).date(),
        tokens=settings.judge_daily_tokens,
        usd=settings.judge_daily_usd,
        prices={} if price is None else {model: Price(*price)},
    )


def _get_key(settings: Settings) -> SecretStr | None:
    return settings.anthropic_api_key if settings.judge_provider == "anthropic" else settings.openai_api_key


def _get_url(settings: Settings) -> str:
    return settings.judge_url or (ANTHROPIC_URL if settings.judge_provider == "anthropic" else OPENAI_URL)
