"""The schemas of what the arms of a split earned: of an experiment, a holdout, a launch."""

from typing import Literal

from pydantic import Field

from bandstand.api.schemas.learning import AnswerBody
from bandstand.api.schemas.values import Valued


class ArmResult(AnswerBody):
    """The result of one arm's users."""

    users: int = Field(description="With a decision")
    decisions: int
    rewarded: int = Field(description="Decisions with a reward that stands")
    mean_reward: Valued | None = Field(description="A rewarded decision; its interval takes a user's together")
    reward_per_user: Valued | None = Field(description="The sum of a user's rewards")
    difference: Valued | None = Field(
        description="Of mean_reward to the control's; its interval may be looked at every day. Null for the control"
    )
    verdict: Literal["control", "better", "worse", "early"] = Field(
        description="better or worse where that interval is on one side of 0 and each arm has 20 users with a reward"
    )
    known_in_days: float | None = Field(description="At this rate, if it is as it looks; null beyond two years")
    metrics: dict[str, Valued] = Field(description="What rewards bring by name, a decision that brought it")
    metric_differences: dict[str, Valued] = Field(
        description="Of these to the control's, as difference, from 20 users in each arm on"
    )


class ReadoutDay(AnswerBody):
    """How each arm's difference to the control stood at the end of a day."""

    day: str
    differences: dict[str, Valued]


class ArmsReadout(AnswerBody):
    """Who wins, how sure, how much longer."""

    sentence: str
    control: str
    arms: dict[str, ArmResult]
    days: list[ReadoutDay]
    metrics_left_out: int = Field(description="Values of metrics beyond the first 20 names, counted and not added up")


class HoldoutStanding(AnswerBody):
    """Users who are served without the bandit, compared with the others."""

    share: float = Field(description="Of the users, as configured")
    control: Literal["random", "first"] = Field(description="What they get")
    since: str
    users: int
    p_value: float | None = Field(description="Of the sample ratio; null while fewer than 5 are expected in an arm")
    mismatch: bool = Field(description="p < 0.001: the arms cannot be compared")
    readout: ArmsReadout
