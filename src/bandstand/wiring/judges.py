"""From settings to judges: the one place where taxonomies, local tiers, prompts and a model's client are joined."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bandstand.config.catalogue import read_deployment_tables
from bandstand.config.settings import Settings
from bandstand.errors import ConfigurationError
from bandstand.judge import correction
from bandstand.judge.artifacts import read_calibrations, read_weights
from bandstand.judge.cascade import CascadeJudge, Mode
from bandstand.judge.configuration import JudgeConfiguration
from bandstand.judge.deployed import JudgeRegistry
from bandstand.judge.gate import Gate
from bandstand.judge.llm import intents, llm_judge
from bandstand.judge.llm.cache import VerdictCache
from bandstand.judge.llm.llm_judge import LlmTier
from bandstand.judge.turn import CORRECTION_LIMITS, FOLLOWUP_LIMITS
from bandstand.llm.chat import ChatClient
from bandstand.prompts.library import Prompt, PromptLibrary, prompts_directory
from bandstand.wiring.llm_clients import get_cost_function, open_connection

_OFFERED_PARAMETERS = {llm_judge.PROMPT_NAME: {**llm_judge.PARAMETERS, **intents.PARAMETERS}}


def configuration(settings: Settings) -> JudgeConfiguration:
    """Read what ``BANDSTAND_CONFIG`` says of the judge.

    Raises:
        ConfigurationError: it says something wrong, or cannot be read.
    """
    try:
        return JudgeConfiguration.parse(read_deployment_tables(settings))
    except ConfigurationError as error:
        raise ConfigurationError(f"BANDSTAND_CONFIG: {error.detail}", error.errors) from None


def gate(settings: Settings) -> Gate:
    """Make the gate that settings ask for, with the deployment's own calibrations.

    Raises:
        ConfigurationError: a calibration is broken.
    """
    return Gate(settings.judge_tau, settings.judge_gate, read_calibrations(settings.state_dir))


def local_judges(settings: Settings, *, mode: Mode | None = None) -> JudgeRegistry:
    """Make judges that ask no LLM: ``auto`` and ``llm`` are ``local`` here.

    Args:
        settings: the deployment's.
        mode: in place of ``JUDGE``.

    Raises:
        ConfigurationError: see :func:`configuration`.
    """
    wanted = mode or settings.judge
    chosen = "local" if wanted in {"auto", "llm"} else wanted
    return build_judges(settings, None, mode=chosen)


@asynccontextmanager
async def open_judges(
    settings: Settings, *, mode: Mode | None = None, cache: VerdictCache | None = None
) -> AsyncIterator[JudgeRegistry]:
    """Make the judges that settings ask for, with their LLM if there is one, and close its connections after.

    They belong to the running event loop.

    Args:
        settings: the deployment's.
        mode: in place of ``JUDGE``.
        cache: in place of one of their own; only its verdicts are shared.

    Raises:
        ConfigurationError: see :func:`configuration`; or the LLM has no key, or the prompt is missing or broken.
    """
    async with open_connection(settings, mode=mode) as connection:
        client = None if connection is None else connection.build_client()
        yield build_judges(settings, client, mode=mode, cache=cache)


def build_judges(
    settings: Settings,
    client: ChatClient | None,
    *,
    mode: Mode | None = None,
    cache: VerdictCache | None = None,
    concurrency: int | None = None,
) -> JudgeRegistry:
    """Make the judges that settings ask for, over a client of their LLM; None if they have none.

    Args:
        settings: the deployment's.
        client: asks the LLM.
        mode: in place of ``JUDGE``.
        cache: in place of one of their own; only its verdicts are shared.
        concurrency: used instead of ``JUDGE_MAX_CONCURRENT``, if the caller limits concurrency itself.

    Raises:
        ConfigurationError: see :func:`configuration`; or the prompt is missing or broken.
    """
    own = configuration(settings)
    verdict_cache = (VerdictCache() if cache is None else cache) if settings.judge_cache else VerdictCache(0)
    judges = {}
    for name, taxonomy in own.taxonomies.items():
        corrects = name == correction.TAXONOMY.name
        version = "correction-v1" if corrects else settings.judge_prompt_version
        tier = None
        if client is not None:
            prompt = load_judge_prompt(settings, version)
            tier = LlmTier(
                client,
                taxonomy,
                prompt,
                deadline_s=settings.judge_deadline_s,
                cost=get_cost_function(settings),
                max_tokens=settings.judge_max_tokens,
                clamp=corrects,  # contract A6 wants it there, and A5 a failure
            )
        judges[name] = CascadeJudge(
            mode or settings.judge,
            own.build_local(name, read_weights(settings.state_dir, taxonomy)),
            llm=tier,
            arbiter=own.arbiter,
            limits=CORRECTION_LIMITS if corrects else FOLLOWUP_LIMITS,
            concurrency=concurrency or settings.judge_max_concurrent,
            cache=verdict_cache,
        )
    return JudgeRegistry(judges, own.default_taxonomy)


def load_judge_prompt(settings: Settings, version: str) -> Prompt:
    """Read a prompt of the judge, from ``PROMPTS_DIR`` if it has one, else as it ships.

    Raises:
        ConfigurationError: it is in neither place, or broken.
    """
    for directory in filter(None, (settings.prompts_dir, prompts_directory())):
        library = PromptLibrary.load(directory, offered=_OFFERED_PARAMETERS)
        prompt = library.get(llm_judge.PROMPT_NAME, version)
        if prompt is not None:
            return prompt
        broken = [str(fault) for fault in library.broken if fault.file == f"{llm_judge.PROMPT_NAME}/{version}.md"]
        if broken:
            raise ConfigurationError(f"The judge's prompt is broken: {broken[0]}")
    raise ConfigurationError(f"JUDGE_PROMPT_VERSION: there is no prompt {llm_judge.PROMPT_NAME}/{version}")
