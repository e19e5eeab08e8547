"""The schemas of whether Bandstand pays: what is earned compared with random and the caller's first candidate."""

from typing import Literal

from pydantic import Field

from bandstand.api.schemas.learning import AnswerBody
from bandstand.api.schemas.values import Valued


class GainOverTarget(AnswerBody):
    """What is earned compared with what a target would have earned, for each decision."""

    value: float = Field(description="The target's mean reward, doubly robust with the logged means")
    gain: float = Field(description="Mean reward less that, over the same decisions")
    stderr: float | None
    low: float | None = Field(description="Of an interval that may be looked at every day: 95 % for all looks together")
    high: float | None
    ess: float = Field(description="(Σ w)²/Σ w² of the weights that came")
    expected_ess: float = Field(description="The same of those to be expected: on so many effective decisions it rests")
    mean_weight: float = Field(description="Should be 1")
    supported: bool = Field(description="All that the target does had a chance; else the log cannot tell")
    verdict: Literal["more", "less", "early"] = Field(
        description="more or less where the interval is on one side of 0, expected_ess is 30 or more, and supported"
    )
    known_in_days: float | None = Field(
        description="Until it is one of these, at the newest days' rate and if it is as it looks; null beyond two years"
    )
    warnings: list[str] = Field(description="In words")


class Gain(AnswerBody):
    """What some rewarded decisions earned, and what random and the caller's first would have."""

    since: str = Field(description="The day of the first of them, in UTC")
    until: str
    rewarded: int
    mean_reward: Valued
    targets: dict[str, GainOverTarget] = Field(description="`random` and `first`")


class GainOfDay(Gain):
    """One day, and how the sum of all that was gained stood at its end."""

    cumulative: dict[str, Valued] = Field(description="By target, since the first day, with the lasting interval")


class Gains(AnswerBody):
    """Whether it pays."""

    sentence: str
    as_of: str | None = Field(description="Until when events are in it, a second or two behind")
    all: Gain | None = Field(description="Null where no decision has a reward")
    policies: dict[str, Gain] = Field(description="By the policy that decided")
    spans: dict[str, Gain] = Field(description="Of the newest `7d`, `30d` and `90d`, those with a rewarded decision")
    days: list[GainOfDay] = Field(description="The newest 31 with rewarded decisions, the oldest first")
