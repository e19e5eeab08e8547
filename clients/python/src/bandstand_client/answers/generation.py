"""Tips and the prompts that write them.

Written by ``tools/write_client.py`` from the service's ``openapi.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bandstand_client.learning_answers import RankedCandidate
from bandstand_client.reading import Answer


@dataclass(frozen=True, kw_only=True)
class Tip(Answer):
    """One tip, ready for `/score`.

    Attributes:
        source_id: the id of the task it is about, where that is known.
        features: what that task says under the names that the schemas read.

    Example:
        >>> tasks = [{"id": "rent", "title": "Pay the rent", "priority": 4}]
        >>> client.generate("ada", tasks, n=1).candidates[0].source
        'template'
    """

    id: str
    content: str
    source: Literal["llm", "template"]
    source_id: str | None = None
    rationale: str | None = None
    features: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Generation(Answer):
    """The tips.

    Attributes:
        candidates: at most `n`, in the order in which they were written.
        model: as the gateway names it; `template` where no model was asked.
        prompt_version: the one used; `template` where none was.
        prompt_tokens: over all tries.
        completion_tokens: over all tries.
        generation_id: null if it could not be logged: its tips then teach no prompt.
        missing: how many tips fewer than requested.
        tasks_left_out: tasks that were not looked at: too many, or too long together.
        tries: calls made to the model.

    Example:
        >>> tasks = [{"id": "rent", "title": "Pay the rent", "priority": 4}]
        >>> client.generate("ada", tasks, n=1).model
        'template'
    """

    candidates: tuple[Tip, ...]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    generation_id: str | None = None
    requested: int
    missing: int
    tasks_left_out: int
    tries: int


@dataclass(frozen=True, kw_only=True)
class Recommendation(Answer):
    """The tips and the pick among them.

    Attributes:
        candidates: at most `n`, in the order in which they were written.
        model: as the gateway names it; `template` where no model was asked.
        prompt_version: the one used; `template` where none was.
        prompt_tokens: over all tries.
        completion_tokens: over all tries.
        generation_id: null if it could not be logged: its tips then teach no prompt.
        missing: how many tips fewer than requested.
        tasks_left_out: tasks that were not looked at: too many, or too long together.
        tries: calls made to the model.
        tip_id: the pick; null, like all that says how it was made, if there are no tips.
        decision_id: reward it by this id; null if it could not be logged.
        ranking: all candidates, best score first.

    Example:
        >>> tasks = [{"id": "rent", "title": "Pay the rent", "priority": 4}]
        >>> client.recommend("ada", tasks, n=1).propensity
        1.0
    """

    candidates: tuple[Tip, ...]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    generation_id: str | None = None
    requested: int
    missing: int
    tasks_left_out: int
    tries: int
    tip_id: str | None = None
    score: float | None = None
    policy: str | None = None
    decision_id: str | None = None
    propensity: float | None = None
    exploring: bool | None = None
    ranking: tuple[RankedCandidate, ...]


@dataclass(frozen=True, kw_only=True)
class PromptEntry(Answer):
    """One version of a prompt.

    Attributes:
        digest: SHA-256 of the file.
        share: probability that a request gets it that names none; null elsewhere.

    Example:
        >>> client.prompts().prompts[0].name
        'generate'
    """

    name: str
    version: str
    description: str
    digest: str
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class BrokenPrompt(Answer):
    """A file that was left out.

    Example:
        >>> client.prompts().broken
        ()
    """

    file: str
    line: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class PromptList(Answer):
    """Every prompt in service.

    Attributes:
        default: `auto`, or the versions of requests that name none.

    Example:
        >>> len(client.prompts().prompts) >= 1
        True
    """

    default: str
    prompts: tuple[PromptEntry, ...]
    broken: tuple[BrokenPrompt, ...]


@dataclass(frozen=True, kw_only=True)
class PromptText(Answer):
    """One version of a prompt with its text.

    Attributes:
        parameters: the values it needs, each with its meaning.
        text: the file.

    Example:
        >>> len(client.prompt("generate", "v1").text) > 0
        True
    """

    name: str
    version: str
    description: str
    digest: str
    parameters: Mapping[str, str]
    text: str


@dataclass(frozen=True, kw_only=True)
class PromptVersionStats(Answer):
    """What one wording of a version earned.

    Attributes:
        version: `template` for tips made without a prompt.
        share: probability that a request gets it that names none.
        tips: tips written.
        decisions: decisions that picked one of them.
        rewards: rewards of those decisions that taught.
        reaction_rate: rewards / decisions.
        interval: 95 % confidence interval of the mean; null below four rewards.

    Example:
        >>> tasks = [{"id": "rent", "title": "Pay the rent", "priority": 4}]
        >>> made = client.generate("ada", tasks, n=1)
        >>> "template" in {each.version for each in client.prompt_stats().versions}
        True
    """

    version: str
    digest: str
    in_service: bool
    share: float | None = None
    generations: int
    tips: int
    decisions: int
    rewards: int
    reaction_rate: float | None = None
    mean_reward: float | None = None
    interval: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PromptStats(Answer):
    """What each version earned, those in service first.

    Example:
        >>> client.prompt_stats().default == client.prompts().default
        True
    """

    default: str
    versions: tuple[PromptVersionStats, ...]
