"""The clients of chat models as settings name them: which host, at what price, with which retries, breaker and budget.

Every client of the package is put together here, from the inside out: the provider's, one that counts what its calls
cost, the day's budget, the circuit breaker, the retries.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError
from bandstand.judge.cascade import Mode
from bandstand.judge.llm.llm_judge import CostFunction, get_unknown_cost
from bandstand.llm.chat import ChatClient
from bandstand.llm.middleware.breaker import BreakerClient, CircuitBreaker
from bandstand.llm.middleware.budget import BudgetedClient, DailyBudget, DailyCaps, Price
from bandstand.llm.middleware.retry import Backoff, RetryingClient
from bandstand.llm.middleware.usage import CountingClient

if TYPE_CHECKING:
    from bandstand.llm.providers.base import ProviderClient

OPENAI_URL = "https://api.openai.com/v1"
GATEWAY_URL = "http://localhost:4000"
"""Where tips are asked for under ``GENERATOR=llm`` if no setting says."""
MAX_TRIES = 3
"""Of one call, while anybody waits for no longer than the judge's deadline."""

_GATEWAY_CALL_SECONDS = 30.0
_CALL_SECONDS = 60.0
_MAX_CONNECTIONS = 100
_LONGEST_WAIT_S = 30.0


class LlmConnection:
    """One model of one provider, with the breaker and the budget that all its calls share. Of one event loop.

    Args:
        provider: carries the calls.
        caps: of a day, as this process knows it; none if left out.
        backoff: how often a call is made, and how long is waited in between.

    Attributes:
        host: where text goes to.
    """

    def __init__(
        self, provider: "ProviderClient", caps: DailyCaps | None = None, backoff: Backoff | None = None
    ) -> None:
        self.host = provider.host
        self._provider = provider
        self._breaker = CircuitBreaker()
        self._budget = DailyBudget(caps or DailyCaps())
        self._backoff = backoff or Backoff(tries=MAX_TRIES)

    def build_client(self, tries: int | None = None) -> ChatClient:
        """Return a client that retries transient failures, within the day's caps.

        Args:
            tries: at most, of one call, in place of the connection's own;
                :func:`bandstand.llm.middleware.usage.track_usage` counts them all.
        """
        backoff = self._backoff if tries is None else replace(self._backoff, tries=tries)
        budgeted = BudgetedClient(CountingClient(self._provider), self._budget)
        return RetryingClient(BreakerClient(budgeted, self._breaker), backoff=backoff)

    async def aclose(self) -> None:
        """Hang up; calls under way fail."""
        await self._provider.aclose()


def llm_host(settings: Settings, *, mode: Mode | None = None) -> str | None:
    """Return the host that turns may be sent to; None if they stay on this machine.

    Raises:
        ConfigurationError: ``JUDGE`` is llm, and ``JUDGE_MODEL`` is unset; or a key is missing.
    """
    wanted = mode or settings.judge
    if wanted == "llm" and settings.judge_model is None:
        raise ConfigurationError("JUDGE=llm needs JUDGE_MODEL, the model to ask")
    if wanted not in {"auto", "llm"} or settings.judge_model is None:
        return None
    if _get_judge_key(settings) is None and (settings.judge_url is None or settings.judge_provider == "anthropic"):
        name = f"{settings.judge_provider}_api_key".upper()
        raise ConfigurationError(f"JUDGE_MODEL is set, but {name} is not, and {settings.judge_provider} wants a key")
    return urlsplit(_get_judge_url(settings)).hostname


@asynccontextmanager
async def open_connection(settings: Settings, *, mode: Mode | None = None) -> AsyncIterator[LlmConnection | None]:
    """Connect to the judge's model (None if no LLM is asked), and close the connection at the end.

    Args:
        settings: the deployment's.
        mode: in place of ``JUDGE``.

    Raises:
        ConfigurationError: see :func:`llm_host`.
    """
    connection = None if llm_host(settings, mode=mode) is None else _connect_judge(settings)
    try:
        yield connection
    finally:
        if connection is not None:
            await connection.aclose()


def connect_gateway(settings: Settings) -> LlmConnection | None:
    """Connect to the model that writes tips; None if they are made without one."""
    if settings.generator == "template" or (settings.generator == "auto" and settings.litellm_url is None):
        return None
    provider = _build_provider(
        "openai",
        url=settings.litellm_url or GATEWAY_URL,
        key=settings.litellm_master_key,
        model=settings.generate_model,
        call_timeout_s=_GATEWAY_CALL_SECONDS,
        max_connections=settings.generate_max_concurrent,
    )
    return LlmConnection(provider)


@asynccontextmanager
async def open_persona_model(settings: Settings, model: str, url: str | None) -> AsyncIterator[LlmConnection | None]:
    """Connect to the model that plays a simulation's personas, and hang up after.

    Args:
        settings: hold the keys.
        model: its name.
        url: of an OpenAI-compatible gateway; None asks Anthropic, if there is a key.

    Raises:
        ConfigurationError: ``url`` is none.
    """
    connection = None
    if url is not None:
        connection = LlmConnection(_build_provider("openai", url=url, key=settings.openai_api_key, model=model))
    elif settings.anthropic_api_key is not None:
        key = settings.anthropic_api_key
        connection = LlmConnection(_build_provider("anthropic", url=settings.anthropic_base_url, key=key, model=model))
    try:
        yield connection
    finally:
        if connection is not None:
            await connection.aclose()


def get_price(settings: Settings) -> Price | None:
    """Return the price of the judge's model, as ``JUDGE_PRICE`` says."""
    price = settings.judge_price
    return None if price is None else Price(price.prompt_usd, price.completion_usd)


def get_daily_caps(settings: Settings) -> DailyCaps:
    """Return what the judge's model may cost in a day."""
    return DailyCaps(tokens=settings.judge_daily_tokens, usd=settings.judge_daily_usd, price=get_price(settings))


def get_cost_function(settings: Settings) -> CostFunction:
    """Return what tokens cost, as ``JUDGE_PRICE`` says."""
    price = settings.judge_price
    if price is None:
        return get_unknown_cost
    prompt, completion = (float(part) / 1e6 for part in price)
    return lambda read, written: prompt * read + completion * written


def _connect_judge(settings: Settings) -> LlmConnection:
    """The caps are this process's: who judges turns for a service keeps the day's sum in its ledger besides."""
    provider = _build_provider(
        settings.judge_provider,
        url=_get_judge_url(settings),
        key=_get_judge_key(settings),
        model=settings.judge_model or "",
        call_timeout_s=settings.judge_call_timeout_s,
        max_connections=settings.judge_max_concurrent,
        token_probabilities=True,
    )
    backoff = Backoff(
        tries=settings.judge_tries,
        first_s=settings.judge_base_delay_s,
        longest_s=max(_LONGEST_WAIT_S, settings.judge_base_delay_s),
    )
    return LlmConnection(provider, get_daily_caps(settings), backoff)


def _build_provider(
    wire: Literal["openai", "anthropic"],
    *,
    url: str,
    key: SecretStr | None,
    model: str,
    call_timeout_s: float = _CALL_SECONDS,
    max_connections: int = _MAX_CONNECTIONS,
    token_probabilities: bool = False,
) -> "ProviderClient":
    # Imported here: the providers' packages take half a second or more, and most processes ask no model.
    secret = None if key is None else key.get_secret_value()
    if wire == "anthropic":
        from bandstand.llm.providers.anthropic import AnthropicClient  # noqa: PLC0415 - see above

        return AnthropicClient(
            base_url=url,
            api_key=secret or "",
            model=model,
            call_timeout_s=call_timeout_s,
            max_connections=max_connections,
        )
    from bandstand.llm.providers.openai_compatible import OpenAICompatibleClient  # noqa: PLC0415 - see above

    return OpenAICompatibleClient(
        base_url=url,
        api_key=secret,
        model=model,
        token_probabilities=token_probabilities,
        call_timeout_s=call_timeout_s,
        max_connections=max_connections,
    )


def _get_judge_key(settings: Settings) -> SecretStr | None:
    return settings.anthropic_api_key if settings.judge_provider == "anthropic" else settings.openai_api_key


def _get_judge_url(settings: Settings) -> str:
    return settings.judge_url or (settings.anthropic_base_url if settings.judge_provider == "anthropic" else OPENAI_URL)
