"""From settings to judges: the one place where taxonomies, local tiers, prompts and a model's client are joined."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from bandstand.bandit.errors import ConfigurationError
from bandstand.conversation.gateway import ChatClient
from bandstand.conversation.prompts import Prompt, PromptLibrary, prompts_directory
from bandstand.judge import correction, intents, llm
from bandstand.judge.cache import VerdictCache
from bandstand.judge.configuration import JudgeConfiguration
from bandstand.judge.gate import Gate
from bandstand.judge.judges import Judges
from bandstand.judge.judging import Judge, Mode
from bandstand.judge.llm import Cost, LlmTier
from bandstand.judge.own import own_calibrations, own_weights
from bandstand.judge.turn import CORRECTION_LIMITS, FOLLOWUP_LIMITS
from bandstand.service.opinions import Opinions
from bandstand.settings import Settings, deployment_tables

if TYPE_CHECKING:
    from bandstand.llm.anthropic import AnthropicClient
    from bandstand.llm.budget import DailyBudget
    from bandstand.llm.openai_compatible import OpenAICompatibleClient

OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"

_CALL_SECONDS = 60.0
_OFFERED = {llm.PROMPT_NAME: {**llm.PARAMETERS, **intents.PARAMETERS}}


def configuration(settings: Settings) -> JudgeConfiguration:
    """Read what ``BANDSTAND_CONFIG`` says of the judge.

    Raises:
        ConfigurationError: it says something wrong, or cannot be read.
    """
    try:
        return JudgeConfiguration.parse(deployment_tables(settings))
    except ConfigurationError as error:
        raise ConfigurationError(f"BANDSTAND_CONFIG: {error.detail}", error.errors) from None


def gate(settings: Settings) -> Gate:
    """Make the gate that settings ask for, with the deployment's own calibrations.

    Raises:
        ConfigurationError: a calibration is broken.
    """
    return Gate(settings.judge_tau, settings.judge_gate, own_calibrations(settings.state_dir))


def local_judges(settings: Settings, *, mode: Mode | None = None) -> Judges:
    """Make judges that ask no LLM: ``auto`` and ``llm`` are ``local`` here.

    Args:
        settings: the deployment's.
        mode: in place of ``JUDGE``.

    Raises:
        ConfigurationError: see :func:`configuration`.
    """
    wanted = mode or settings.judge
    chosen = "local" if wanted in {"auto", "llm"} else wanted
    return _judges(settings, configuration(settings), chosen, None, VerdictCache())


@asynccontextmanager
async def open_judges(
    settings: Settings, *, mode: Mode | None = None, cache: VerdictCache | None = None
) -> AsyncIterator[Judges]:
    """Make the judges that settings ask for, with their LLM where there is one, and close its connections after.

    They belong to the running event loop.

    Args:
        settings: the deployment's.
        mode: in place of ``JUDGE``.
        cache: in place of one of their own; only its verdicts are shared.

    Raises:
        ConfigurationError: see :func:`configuration`; or the LLM has no key, or the prompt is missing or broken.
    """
    made = opinions(settings, mode=mode, cache=cache)
    try:
        yield made.judges
    finally:
        await made.aclose()


def opinions(settings: Settings, *, mode: Mode | None = None, cache: VerdictCache | None = None) -> Opinions:
    """Make everything that gives opinions; whoever has it closes it.

    It belongs to the event loop that it is first used in.

    Args:
        settings: the deployment's.
        mode: in place of ``JUDGE``.
        cache: in place of one of their own; only its verdicts are shared.

    Raises:
        ConfigurationError: as :func:`open_judges`.
    """
    wanted = mode or settings.judge
    own = configuration(settings)
    adapter = client = single = None
    if llm_host(settings, mode=wanted) is not None:
        # The providers' packages take a second to import, and most judges need none.
        from bandstand.llm.breaker import BreakerClient, CircuitBreaker  # noqa: PLC0415
        from bandstand.llm.budget import BudgetedClient  # noqa: PLC0415
        from bandstand.llm.retry import RetryingClient  # noqa: PLC0415

        adapter = _adapter(settings)
        single = BreakerClient(BudgetedClient(adapter, _budget(settings)), CircuitBreaker())
        client = RetryingClient(single)
    arbiter = intents.IntentArbiter(
        single,  # an intent's deadline leaves no time to try again
        judge_prompt(settings, intents.PROMPT_VERSION),
        settings=own.arbiter,
        concurrency=settings.judge_max_concurrent,
    )
    kept = VerdictCache() if cache is None else cache
    return Opinions(_judges(settings, own, wanted, client, kept), gate(settings), arbiter, adapter)


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
    if _key(settings) is None and (settings.judge_url is None or settings.judge_provider == "anthropic"):
        name = f"{settings.judge_provider}_api_key".upper()
        raise ConfigurationError(f"JUDGE_MODEL is set, but {name} is not, and {settings.judge_provider} wants a key")
    return urlsplit(_url(settings)).hostname


def _judges(
    settings: Settings, own: JudgeConfiguration, mode: Mode, client: ChatClient | None, cache: VerdictCache
) -> Judges:
    judges = {}
    for name, taxonomy in own.taxonomies.items():
        corrects = name == correction.TAXONOMY.name
        version = "correction-v1" if corrects else settings.judge_prompt_version
        tier = None
        if client is not None:
            prompt = judge_prompt(settings, version)
            tier = LlmTier(client, taxonomy, prompt, deadline_s=settings.judge_deadline_s, cost=_cost(settings))
        judges[name] = Judge(
            mode,
            own.local(name, own_weights(settings.state_dir, taxonomy)),
            llm=tier,
            arbiter=own.arbiter,
            limits=CORRECTION_LIMITS if corrects else FOLLOWUP_LIMITS,
            concurrency=settings.judge_max_concurrent,
            cache=cache,
        )
    return Judges(judges, own.default)


def judge_prompt(settings: Settings, version: str) -> Prompt:
    """Read a prompt of the judge, from ``PROMPTS_DIR`` if it has one, else as it ships.

    Raises:
        ConfigurationError: it is in neither place, or broken.
    """
    for directory in filter(None, (settings.prompts_dir, prompts_directory())):
        library = PromptLibrary.load(directory, offered=_OFFERED)
        prompt = library.get(llm.PROMPT_NAME, version)
        if prompt is not None:
            return prompt
        broken = [str(fault) for fault in library.broken if fault.file == f"{llm.PROMPT_NAME}/{version}.md"]
        if broken:
            raise ConfigurationError(f"The judge's prompt is broken: {broken[0]}")
    raise ConfigurationError(f"JUDGE_PROMPT_VERSION: there is no prompt {llm.PROMPT_NAME}/{version}")


def _adapter(settings: Settings) -> "OpenAICompatibleClient | AnthropicClient":
    key = _key(settings)
    secret = key.get_secret_value() if key else None
    model = settings.judge_model or ""
    if settings.judge_provider == "anthropic":
        from bandstand.llm.anthropic import AnthropicClient  # noqa: PLC0415 - as above

        return AnthropicClient(
            base_url=_url(settings),
            api_key=secret or "",
            model=model,
            call_timeout_s=_CALL_SECONDS,
            max_connections=settings.judge_max_concurrent,
        )
    from bandstand.llm.openai_compatible import OpenAICompatibleClient  # noqa: PLC0415 - as above

    return OpenAICompatibleClient(
        base_url=_url(settings),
        api_key=secret,
        model=model,
        call_timeout_s=_CALL_SECONDS,
        max_connections=settings.judge_max_concurrent,
    )


def _budget(settings: Settings) -> "DailyBudget":
    """Make the caps of this process: whoever judges turns for a service keeps the day's sum in its ledger besides."""
    from bandstand.llm.budget import DailyBudget, Price  # noqa: PLC0415 - as above

    price, model = settings.judge_price, settings.judge_model or ""
    return DailyBudget(
        today=lambda: datetime.now(UTC).date(),
        tokens=settings.judge_daily_tokens,
        usd=settings.judge_daily_usd,
        prices={} if price is None else {model: Price(*price)},
    )


def _key(settings: Settings) -> SecretStr | None:
    return settings.anthropic_api_key if settings.judge_provider == "anthropic" else settings.openai_api_key


def _url(settings: Settings) -> str:
    return settings.judge_url or (ANTHROPIC_URL if settings.judge_provider == "anthropic" else OPENAI_URL)


def _cost(settings: Settings) -> Cost:
    price = settings.judge_price
    if price is None:
        return llm.no_price
    prompt, completion = (float(part) / 1e6 for part in price)
    return lambda read, written: prompt * read + completion * written
