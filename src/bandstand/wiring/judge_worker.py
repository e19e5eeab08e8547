"""A service's judge, as settings have it: its process, what it may spend, the queue that feeds it, and opinions."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import SecretStr

from bandstand.child_process import build_python_command
from bandstand.config.settings import Settings
from bandstand.config.state_url import read_state_url
from bandstand.judge import correction
from bandstand.judge.llm import intents
from bandstand.judge.llm.llm_judge import compute_turn_bound
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge_worker.options import JudgeOptions, TurnBound
from bandstand.judge_worker.process import JudgeProcess
from bandstand.judge_worker.stateless import MAX_CONCURRENT, StatelessJudge
from bandstand.judge_worker.worker import JudgeWorker
from bandstand.learning.population import PopulationPriorRefresher
from bandstand.llm.chat import TokenUsage
from bandstand.loopback import is_loopback
from bandstand.network_variables import check_network_variables
from bandstand.store.protocol import Store
from bandstand.store.tables.judgements import TurnTexts
from bandstand.wiring.judges import build_judges, configuration, gate, load_judge_prompt
from bandstand.wiring.llm_clients import get_daily_caps, llm_host

_GRACE_S: Final = 30.0
_PROCESS_SETTINGS: Final = (
    *("judge", "judge_model", "judge_provider", "judge_url", "judge_prompt_version", "judge_deadline_s"),
    *("judge_tries", "judge_base_delay_s", "judge_call_timeout_s", "judge_max_tokens", "judge_cache"),
    *("judge_max_concurrent", "judge_price", "bandstand_config", "prompts_dir", "state_dir", "log_level"),
    *("openai_api_key", "anthropic_api_key", "anthropic_base_url"),
)
"""The settings that the process reads; its environment says them as the service has them, flags included."""


def build_judge_worker(
    settings: Settings,
    store: Store,
    population: PopulationPriorRefresher,
    clock: Callable[[], float] = time.time,
    *,
    shares: JudgeWorker | None = None,
    name: str = "",
) -> JudgeWorker:
    """Make the judging of a loop; it is opened after the store, and closed before.

    Args:
        settings: the deployment's.
        store: where turns wait.
        population: is notified of what they teach.
        clock: seconds since the epoch.
        shares: the default loop's, in whose process, and from whose budget, any other judges.
        name: of the loop.

    Raises:
        ConfigurationError: a setting, the deployment's file or a variable of the environment's is wrong.
    """
    own = configuration(settings)
    host = llm_host(settings)
    if host is not None and not is_loopback(host):
        # Here, and not in the process that asks: nobody would see why that does not come up.
        check_network_variables(os.environ.get("SSL_CERT_FILE"))
    options = JudgeOptions(
        taxonomies=own.taxonomies,
        default_taxonomy=own.default_taxonomy,
        gate=gate(settings),
        enabled=settings.judge != "off",
        compute_bound=_build_turn_bound(settings, own.taxonomies),
        caps=get_daily_caps(settings),
        shares_caps=read_state_url(settings) is not None,
        max_concurrent=settings.judge_max_concurrent,
        max_updates=settings.judge_max_updates_per_user_hour,
        wait_s=settings.judge_deadline_s,
    )

    def make_process() -> JudgeProcess:
        command = build_python_command("judge-turns")
        return JudgeProcess(command, build_environment(settings), timeout_s=settings.judge_deadline_s + _GRACE_S)

    return JudgeWorker(store, population, make_process, options, clock, shares=shares, name=name)


def build_stateless_judge(settings: Settings, worker: JudgeWorker) -> StatelessJudge:
    """Build what gives opinions: local tiers in this process, and an LLM that is asked through the judge's process.

    Raises:
        ConfigurationError: a setting, the deployment's file or a prompt is wrong.
    """
    retrying = urgent = None
    if llm_host(settings) is not None:
        model = settings.judge_model or ""
        retrying = worker.calls.build_client(model, tries=settings.judge_tries)
        urgent = worker.calls.build_client(
            model, tries=1, urgent=True
        )  # an intent's deadline leaves no time to try again
    arbiter = intents.IntentArbiter(
        urgent,
        load_judge_prompt(settings, intents.PROMPT_VERSION),
        settings=configuration(settings).arbiter,
        concurrency=settings.judge_max_concurrent,
    )
    return StatelessJudge(build_judges(settings, retrying, concurrency=MAX_CONCURRENT), gate(settings), arbiter)


def build_environment(settings: Settings) -> dict[str, str]:
    """The environment of the judge's process: this one's, with the settings it reads as they are here."""
    variables = dict(os.environ)
    for name in _PROCESS_SETTINGS:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is None:
            variables.pop(name.upper(), None)
        else:
            variables[name.upper()] = str(value)
    for cap in ("JUDGE_DAILY_TOKENS", "JUDGE_DAILY_USD"):
        variables.pop(cap, None)  # they are kept here, in the ledger
    return variables


def _build_turn_bound(settings: Settings, taxonomies: Mapping[str, Taxonomy]) -> TurnBound | None:
    """The most that a turn can cost, each request of it as often as the client tries; None if no LLM is asked."""
    if llm_host(settings) is None:
        return None
    prompts = {name: load_judge_prompt(settings, _get_prompt_version(name, settings)) for name in taxonomies}

    def compute_bound(texts: TurnTexts, taxonomy: str) -> TokenUsage:
        return compute_turn_bound(
            prompts[taxonomy],
            taxonomies[taxonomy],
            CutTurn(*texts),
            tries=settings.judge_tries,
            max_tokens=settings.judge_max_tokens,
        )

    return compute_bound


def _get_prompt_version(taxonomy: str, settings: Settings) -> str:
    return "correction-v1" if taxonomy == correction.TAXONOMY.name else settings.judge_prompt_version
