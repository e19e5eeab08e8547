"""Conversion between a loop's definition and a Personalizer resource's configuration.

What means the same in both is said once, by the loop's own table: the learning mode, the rewards, the policy's share of
uniform picks. Everything else is kept in the loop's table ``personalizer``. So everything an admin changes over this
wire is a change of the loop, with who, when, before and after in the ledger.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bandstand.bandit.loop_definition import LoopDefinition
from bandstand.bandit.policies import Policy
from bandstand.personalizer.configuration import AGGREGATIONS, FOR_EVER, MODES, ServiceConfiguration
from bandstand.personalizer.policy_arguments import DEFAULT_EXPLORATION, PolicyArguments

TABLE = "personalizer"
_POLICY = "policy"
_EVALUATION = "evaluation"
_KEPT = frozenset({_POLICY, "user"})
_SAID_BY_LOOP = frozenset(
    {
        "reward_wait_s",
        "default_reward",
        "aggregation",
        "exploration",
        "learning_mode",
        "log_retention_days",
        "edited",
    }
)
_EXPLORATION = ("epsilon", "floor")
"""The parameter of each kind of policy that is its share of uniform picks."""


def read_configuration(
    definition: LoopDefinition, policy: Policy, edited: float | None, retention_days: int
) -> ServiceConfiguration:
    """The configuration that a loop has.

    Args:
        definition: of the loop.
        policy: the active one.
        edited: when the loop was last changed, seconds since the epoch.
        retention_days: how long its log is kept; 0 for ever.
    """
    document = definition.to_document()
    own: Mapping[str, Any] = document.get(TABLE, {})  # type: ignore[assignment]  # a table, as it was read
    rewards: Mapping[str, Any] = document.get("rewards", {})  # type: ignore[assignment]  # the same
    configuration = ServiceConfiguration.from_document(own)
    aggregations = {here: wire for wire, here in AGGREGATIONS.items()}
    modes = {here: wire for wire, here in MODES.items()}
    return replace(
        configuration,
        reward_wait_s=rewards.get("window") or configuration.reward_wait_s,
        default_reward=rewards.get("default_reward") or 0.0,
        aggregation=aggregations.get(rewards.get("aggregation", "first"), "earliest"),
        exploration=get_exploration(policy),
        learning_mode=modes[definition.mode],
        log_retention_days=retention_days or FOR_EVER,
        edited=edited,
    )


def write_configuration(
    definition: LoopDefinition,
    policy: Policy,
    before: ServiceConfiguration,
    after: ServiceConfiguration,
    *,
    names_wait: bool,
) -> LoopDefinition:
    """The definition of a loop after a configuration has changed it; what the configuration leaves out stays.

    Args:
        definition: of the loop.
        policy: the active one.
        before: its configuration.
        after: what it is to be.
        names_wait: whether that was asked to wait for rewards: a loop that has not done so begins to.

    Raises:
        ConfigurationError: the loop cannot be so.
    """
    document = definition.to_document()
    own = {name: value for name, value in after.to_document().items() if name not in _SAID_BY_LOOP}
    unsaid = ServiceConfiguration().to_document()
    table: Mapping[str, Any] = document.get(TABLE, {})  # type: ignore[assignment]  # a table, as it was read
    kept = {name: value for name, value in table.items() if name in _KEPT}
    document[TABLE] = {**kept, **{name: value for name, value in own.items() if value != unsaid[name]}}
    document["mode"] = MODES[after.learning_mode]
    rewards: dict[str, Any] = dict(document.get("rewards", {}))  # type: ignore[call-overload]  # the same
    for key, attribute in (("window", "reward_wait_s"), ("default_reward", "default_reward")):
        if getattr(after, attribute) != getattr(before, attribute):
            rewards[key] = getattr(after, attribute)
    if after.aggregation != before.aggregation:
        rewards["aggregation"] = AGGREGATIONS[after.aggregation]
    if (names_wait or "default_reward" in rewards) and "window" not in rewards:
        rewards["window"] = after.reward_wait_s  # at whose end the default is taught
    if rewards:
        document["rewards"] = rewards
    if after.log_retention_days != before.log_retention_days:
        document["retention_days"] = max(after.log_retention_days, 0)
    if after.exploration != before.exploration:
        document["policies"] = _replace_policy(document, policy, {_get_parameter(policy): after.exploration})
    return LoopDefinition.parse(definition.name, document)


def read_policy(definition: LoopDefinition) -> tuple[str, str] | None:
    """Name and command line of the policy that was last requested over this wire, if any."""
    table: Mapping[str, Any] = definition.to_document().get(TABLE, {})  # type: ignore[assignment]  # a table
    asked = table.get(_POLICY)
    return None if asked is None else (asked["name"], asked["arguments"])


def read_applied(definition: LoopDefinition) -> str | None:
    """Id of the evaluation that the policy was last taken from, if it was from one."""
    table: Mapping[str, Any] = definition.to_document().get(TABLE, {})  # type: ignore[assignment]  # a table
    applied: str | None = table.get(_POLICY, {}).get(_EVALUATION)
    return applied


def write_policy(
    definition: LoopDefinition, policy: Policy, asked: PolicyArguments | None, evaluation: str | None = None
) -> LoopDefinition:
    """The definition of a loop with the requested active policy.

    Args:
        definition: of the loop.
        policy: the active one.
        asked: the requested policy; the default of this wire for ``None``.
        evaluation: id of the evaluation that it is taken from, if it is from one.

    Raises:
        ConfigurationError: the loop cannot be so.
    """
    document = definition.to_document()
    table: dict[str, Any] = dict(document.get(TABLE, {}))  # type: ignore[call-overload]  # a table, as it was read
    table.pop(_POLICY, None)
    exploration = get_exploration(policy)
    if asked is None:
        changed: dict[str, Any] = {"kind": "egreedy", "epsilon": DEFAULT_EXPLORATION}
    else:
        source = {} if evaluation is None else {_EVALUATION: evaluation}
        table[_POLICY] = {"name": asked.name, "arguments": asked.text, **source}
        changed = {"kind": asked.kind}
        if asked.kind == "squarecb":
            changed |= {"floor": exploration} | ({} if asked.gamma is None else {"gamma": asked.gamma})
        else:
            changed["epsilon"] = exploration if asked.epsilon is None else asked.epsilon
    document[TABLE] = table
    document["policies"] = _replace_policy(document, policy, changed)
    return LoopDefinition.parse(definition.name, document)


def get_exploration(policy: Policy) -> float:
    """The share of uniform picks of a policy."""
    found = [policy.parameters[name] for name in _EXPLORATION if name in policy.parameters]
    return found[0] if found else 1.0 if policy.kind == "uniform" else 0.0


def _get_parameter(policy: Policy) -> str:
    return next((name for name in _EXPLORATION if name in policy.parameter_limits), _EXPLORATION[0])


def _replace_policy(document: Mapping[str, Any], policy: Policy, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The loop's own policies, with the changes applied to the active one.

    It keeps its name, and with it what it has learned.
    """
    own: Mapping[str, Any] = document.get("policies", {})
    table = dict(own.get(policy.name) or describe_policy(policy))
    if changes.get("kind", table["kind"]) != table["kind"]:
        shared = ("schema", "prior", "variance", "noise", "half_life")
        table = {name: value for name, value in table.items() if name in shared}
    return {**own, policy.name: {**table, **changes}}


def describe_policy(policy: Policy) -> dict[str, Any]:
    """A policy as a table of a configuration file has it."""
    table: dict[str, Any] = {"kind": policy.kind, "schema": policy.schema.name, **policy.parameters}
    if policy.prior_kind is not None:
        table["prior"] = policy.prior_kind
    if policy.adapts_memory:
        table["half_life"] = "auto"
    return table
