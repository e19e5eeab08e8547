"""Settings of which policies there are, which one serves, and how they learn."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator
from pydantic_settings import NoDecode

from bandstand.bandit.experiment import Experiment
from bandstand.bandit.reward_settings import MAX_WINDOW
from bandstand.config.fields import SWITCH, expand_home, make_setting, not_blank, parse_names


def _parse_experiment(value: object) -> object:
    return Experiment.parse(value) if isinstance(value, str) else value


class PolicySettings(BaseModel):
    """Which policies there are, and which one serves."""

    bandstand_config: Annotated[Path | None, BeforeValidator(expand_home)] = make_setting(
        "The deployment's own feature schemas, policies, taxonomies and rules of the judge, beside those that ship.",
        "the path of a TOML file",
        default=None,
    )
    active_policy: Annotated[str | None, BeforeValidator(not_blank)] = make_setting(
        "Pins the policy that the un-named routes mean; unset, the last promoted one, else `linucb-v2`.",
        "the name of a configured policy",
        default=None,
    )
    experiment: Annotated[Experiment | None, NoDecode, BeforeValidator(_parse_experiment)] = make_setting(
        "Splits the users of the un-named routes between policies, by weight; not beside `ACTIVE_POLICY`.",
        "a comma list of policy:weight, with name= before it to tell it from an earlier one of the same policies",
        default=None,
    )
    holdout: float | None = make_setting(
        "Share of the users, always the same ones, that a control serves instead of the bandit, for a fair comparison.",
        "a number above 0 and below 1",
        default=None,
        gt=0.0,
        lt=1.0,
    )
    holdout_control: Literal["random", "first"] = make_setting(
        "What users in the `HOLDOUT` get: a random candidate, or the caller's first.",
        "random or first",
        default="random",
    )
    shadow: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)] = make_setting(
        "Policies that look at every decision of another, learn from its reward, and are compared with it.",
        "a comma list of configured policies",
        default=(),
    )
    strict_features: bool = make_setting(
        "Refuse a `context` or `features` that holds a field which no schema reads, instead of counting it.",
        SWITCH,
        default=False,
    )


class RewardCountSettings(BaseModel):
    """How rewards count, beside the table ``rewards`` of ``BANDSTAND_CONFIG``, whose values these replace."""

    reward_window: float | None = make_setting(
        "Seconds after a decision in which its rewards count; unset, they always do.",
        "a number from 1 to 2592000",
        default=None,
        ge=1,
        le=MAX_WINDOW,
    )
    default_reward: float | None = make_setting(
        "What a decision without a reward is taught when its window ends; unset, nothing.",
        "a number in the range of rewards; it needs REWARD_WINDOW",
        default=None,
    )
    reward_aggregation: Literal["once", "first", "last", "sum", "mean", "median", "min", "max"] | None = make_setting(
        "How several rewards of one decision are combined; unset or `once`, any but the first is refused.",
        "once, first, last, sum, mean, median, min or max",
        default=None,
    )


class LearningSettings(BaseModel):
    """How policies learn from all users together."""

    prior_refresh_rewards: int | None = make_setting(
        "New rewards after which a policy's population prior is learned again, if they are at least 5 % of those it "
        'knows; unset, 200, and under `prior = "auto"` the first, then 15 % more. It takes at most 2 % of a core.',
        "a whole number from 1",
        default=None,
        ge=1,
    )
