"""Settings of the judge: what reads turns, what it may cost, what its verdicts teach."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator
from pydantic_settings import NoDecode

from bandstand.config.fields import SWITCH, make_setting, not_blank, to_lower, validate_url


class JudgePrice(NamedTuple):
    """What the judge's model costs, in US dollars a million tokens read and written."""

    prompt_usd: Decimal
    completion_usd: Decimal

    def __str__(self) -> str:
        return f"{self.prompt_usd}/{self.completion_usd}"


def _parse_price(value: object) -> object:
    if not isinstance(value, str):
        return value
    prompt, slash, completion = value.partition("/")
    try:
        price = JudgePrice(Decimal(prompt.strip()), Decimal(completion.strip()))
    except InvalidOperation:
        price = None
    if not slash or price is None or not all(part.is_finite() and part >= 0 for part in price):
        raise ValueError("it is not two amounts with a slash between them")
    return price


class JudgeSettings(BaseModel):
    """What reads turns, what it may cost, what its verdicts teach."""

    judge: Annotated[Literal["auto", "local", "rules", "llm", "off"], BeforeValidator(to_lower)] = make_setting(
        "What reads a user's next message: rules and a text model (`local`), `rules` alone, an LLM (`llm`), nothing "
        "(`off`), or local with an LLM where that is not sure, if `JUDGE_MODEL` is set (`auto`).",
        "auto, local, rules, llm or off",
        default="auto",
    )
    judge_model: Annotated[str | None, BeforeValidator(not_blank)] = make_setting(
        "The judge's LLM; unset, no turn leaves this machine.", "a name that the provider knows", default=None
    )
    judge_provider: Annotated[Literal["openai", "anthropic"], BeforeValidator(to_lower)] = make_setting(
        "Which wire the judge's LLM speaks: OpenAI's, as most gateways do, or Anthropic's.",
        "openai or anthropic",
        default="openai",
    )
    judge_url: Annotated[str | None, BeforeValidator(validate_url)] = make_setting(
        "Where the judge's LLM is; unset, at the provider itself.",
        "an http or https URL without credentials",
        default=None,
    )
    judge_prompt_version: Annotated[str, BeforeValidator(not_blank)] = make_setting(
        "The prompt of the judge's LLM.", "a version in the folder `judge` of the prompts", default="v2"
    )
    judge_deadline_s: float = make_setting(
        "Seconds that the LLM may take over one turn, over all tries.",
        "a number above 0, up to 3600",
        default=180,
        gt=0,
        le=3600,
    )
    judge_tries: int = make_setting(
        "Most calls of the LLM for one question, the first included.",
        "a whole number from 1 to 10",
        default=3,
        ge=1,
        le=10,
    )
    judge_base_delay_s: float = make_setting(
        "Seconds before the second of these calls; each further wait is twice as long, plus up to half at random.",
        "a number from 0 to 60",
        default=1.0,
        ge=0,
        le=60,
    )
    judge_call_timeout_s: float = make_setting(
        "Seconds that one call of the LLM may take.",
        "a number above 0, up to 3600",
        default=60.0,
        gt=0,
        le=3600,
    )
    judge_max_tokens: int = make_setting(
        "Tokens that the LLM may write for a verdict, its thinking included; four times as many if that is too few.",
        "a whole number from 16 to 100000",
        default=2048,
        ge=16,
        le=100_000,
    )
    judge_cache: bool = make_setting(
        "Whether the LLM is asked only once about the same turn under the same prompt and labels.",
        SWITCH,
        default=True,
    )
    judge_max_concurrent: int = make_setting(
        "Questions that the LLM is asked at once, of turns and of opinions.",
        "a whole number from 1 to 1000",
        default=32,
        ge=1,
        le=1000,
    )
    judge_tau: float = make_setting(
        "τ: under the hard gate, verdicts that are less confident teach nothing.",
        "a number from 0 to 1",
        default=0.6,
        ge=0,
        le=1,
    )
    judge_gate: Annotated[Literal["hard", "soft"], BeforeValidator(to_lower)] = make_setting(
        "`hard`: the label's reward from τ on, else nothing; `soft`: the mean reward over all labels, always.",
        "hard or soft",
        default="hard",
    )
    judge_daily_tokens: int | None = make_setting(
        "Tokens that the judge's LLM may cost in a UTC day; beyond, the local tiers go on alone.",
        "a whole number from 0",
        default=None,
        ge=0,
    )
    judge_daily_usd: Decimal | None = make_setting(
        "US dollars that it may cost in a UTC day; a model without `JUDGE_PRICE` is then never asked.",
        "an amount from 0",
        default=None,
        ge=0,
        allow_inf_nan=False,
    )
    judge_price: Annotated[JudgePrice | None, NoDecode, BeforeValidator(_parse_price)] = make_setting(
        "US dollars that a million tokens cost, read and written, such as `0.05/0.40`.",
        "two amounts from 0 with a slash between them",
        default=None,
    )
    judge_max_updates_per_user_hour: int = make_setting(
        "Turns of one user that may teach within an hour; further verdicts are kept and teach nothing.",
        "a whole number from 0",
        default=60,
        ge=0,
    )
    turn_retention_days: int = make_setting(
        "Days that the words of turns, and whatever quotes them, stay; 0 keeps them for ever. Verdicts stay.",
        "a whole number from 0 to 36500",
        default=30,
        ge=0,
        le=36_500,
    )
