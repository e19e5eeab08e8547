"""A service's judge, as settings have it: its process, what it may spend, the queue that feeds it, and opinions."""

import os
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import SecretStr

from bandstand.config.settings import Settings
from bandstand.judge import correction
from bandstand.judge.llm import intents
from bandstand.judge.llm.llm_judge import MAX_TOKENS, MORE_TOKENS, prompt_values
from bandstand.judge.llm.parse_reply import verdict_schema
from bandstand.judge.taxonomy import Taxonomy
from bandstand.judge.turn import CutTurn
from bandstand.judge_worker.budget import Bound, Caps
from bandstand.judge_worker.options import JudgingOptions
from bandstand.judge_worker.process import JudgeChild, python_command
from bandstand.judge_worker.stateless import MOST_AT_ONCE, Opinions
from bandstand.judge_worker.worker import Judging
from bandstand.learning.population import Population
from bandstand.llm.chat import Message
from bandstand.llm.middleware.budget import most_prompt_tokens
from bandstand.store.tables.judgements import Texts
from bandstand.store.turn_store import TurnStore
from bandstand.wiring.judges import configuration, gate, judge_prompt, judges_over
from bandstand.wiring.llm_clients import TRIES, llm_host

_GRACE_S: Final = 30.0
_ITS_OWN: Final = (
    *("judge", "judge_model", "judge_provider", "judge_url", "judge_prompt_version", "judge_deadline_s"),
    *("judge_max_concurrent", "judge_price", "bandstand_config", "prompts_dir", "state_dir", "log_level"),
    *("openai_api_key", "anthropic_api_key"),
)
"""The settings that the process reads; its environment says them as the service has them, flags included."""


def serving(settings: Settings, store: TurnStore, population: Population, clock: Callable[[], float]) -> Judging:
    """Make the judging of a service; it is opened after the store, and closed before.

    Raises:
        ConfigurationError: a setting, or the deployment's file, is wrong.
    """
    own = configuration(settings)
    options = JudgingOptions(
        taxonomies=own.taxonomies,
        default=own.default,
        gate=gate(settings),
        on=settings.judge != "off",
        caps=_caps(settings, own.taxonomies),
        most_at_once=settings.judge_max_concurrent,
        most_updates=settings.judge_max_updates_per_user_hour,
        wait_s=settings.judge_deadline_s,
    )

    def child() -> JudgeChild:
        command = python_command("judge", "work")
        return JudgeChild(command, environment(settings), patience_s=settings.judge_deadline_s + _GRACE_S)

    return Judging(store, population, child, options, clock)


def opinions(settings: Settings, judging: Judging) -> Opinions:
    """Make what gives opinions: local tiers here, and an LLM that is asked through the judge's process.

    Raises:
        ConfigurationError: a setting, the deployment's file or a prompt is wrong.
    """
    patient = hasty = None
    if llm_host(settings) is not None:
        model = settings.judge_model or ""
        patient = judging.calls.client(model, tries=TRIES)
        hasty = judging.calls.client(model, tries=1, urgent=True)  # an intent's deadline leaves no time to try again
    arbiter = intents.IntentArbiter(
        hasty,
        judge_prompt(settings, intents.PROMPT_VERSION),
        settings=configuration(settings).arbiter,
        concurrency=settings.judge_max_concurrent,
    )
    return Opinions(judges_over(settings, patient, concurrency=MOST_AT_ONCE), gate(settings), arbiter)


def environment(settings: Settings) -> dict[str, str]:
    """The environment of the judge's process: this one's, with the settings it reads as they are here."""
    variables = dict(os.environ)
    for name in _ITS_OWN:
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


def _caps(settings: Settings, taxonomies: Mapping[str, Taxonomy]) -> Caps:
    if llm_host(settings) is None:
        return Caps()
    prompts = {name: judge_prompt(settings, _version(name, settings)) for name in taxonomies}

    def bound(texts: Texts, taxonomy: str) -> Bound:
        """The most that the tier asks, in both of its rooms, and each of them as often as the client tries."""
        rendered = prompts[taxonomy].render(prompt_values(taxonomies[taxonomy], CutTurn(*texts)))
        messages: list[Message] = [
            {"role": "system", "content": rendered.system},
            {"role": "user", "content": rendered.user},
        ]
        read = most_prompt_tokens(messages, verdict_schema(taxonomies[taxonomy]))
        return Bound(TRIES * 2 * read, TRIES * (MAX_TOKENS + MORE_TOKENS))

    price = settings.judge_price
    return Caps(
        bound=bound,
        tokens=settings.judge_daily_tokens,
        usd=None if settings.judge_daily_usd is None else float(settings.judge_daily_usd),
        price=None if price is None else (float(price.prompt_usd), float(price.completion_usd)),
    )


def _version(taxonomy: str, settings: Settings) -> str:
    return "correction-v1" if taxonomy == correction.TAXONOMY.name else settings.judge_prompt_version
