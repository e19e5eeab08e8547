"""Generate: choose a prompt, write tips from the user's tasks, log which, answer them as candidates to score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandstand.bandit.distribution import hash_to_uniform
from bandstand.errors import StorageFullError
from bandstand.generate.generator import TipGenerator
from bandstand.generate.selection import GENERATE
from bandstand.generate.template import TemplateTipGenerator
from bandstand.generate.tips import GeneratedTip, TipRequest, TipSource
from bandstand.service.context import ServiceContext
from bandstand.service.prompts import PromptService
from bandstand.service.task_features import build_task_features
from bandstand.store.tables.generations import Chooser, LoggedGeneration, PromptRef

_TEMPLATE = TemplateTipGenerator()


@dataclass(frozen=True, slots=True)
class TipWriting:
    """How a deployment writes tips.

    Attributes:
        prompts: those in service.
        generator: asks a model; None if no gateway is configured, and tips are made from the tasks alone.
    """

    prompts: PromptService
    generator: TipGenerator | None = None


@dataclass(frozen=True, kw_only=True)
class TipCandidate:
    """One tip, ready for ``/score``.

    Attributes:
        source_id: the id of the task it is about, where that is known.
        features: what that task says under the names that the schemas read.
    """

    id: str
    content: str
    source: TipSource
    source_id: str | None
    rationale: str | None
    features: Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class WrittenTips:
    """The tips of one request, and how they were made.

    Attributes:
        candidates: the tips, in the order in which they were written.
        model: as the gateway names it; ``template`` where no model was asked.
        prompt_tokens: tokens read, over all tries.
        completion_tokens: tokens written, over all tries.
        generation_id: ``None`` if the generation could not be logged (``SCORE_WHEN_FULL``, or the user was erased
            meanwhile); rewards of its tips then teach no prompt.
        missing: how many tips fewer than requested.
        tasks_left_out: tasks that the model did not see.
        tries: calls made to the model.
    """

    candidates: Sequence[TipCandidate]
    model: str
    prompt_version: str
    prompt_tokens: int
    completion_tokens: int
    generation_id: str | None
    requested: int
    missing: int
    tasks_left_out: int
    tries: int


async def generate(
    deployment: ServiceContext, writing: TipWriting, request: Mapping[str, Any], *, client: str
) -> WrittenTips:
    """Write up to ``request["n"]`` tips for ``request["user_id"]``; fewer is no error.

    Args:
        deployment: where.
        writing: how.
        request: a validated generate or recommend request.
        client: name of the API key.

    Raises:
        InvalidRequestError: there is no such ``prompt_version``.
        GatewayError, NotJsonError, GatewayUnreachableError, PromptError: no tips came.
        OverloadedError: too many are being written, or too many events wait for the ledger.
        StorageFullError, StorageUnavailableError: the generation could not be logged.
    """
    ts = deployment.clock()
    seq = deployment.store.next_seq(ts)
    generation_id = deployment.decision_ids.next(seq)
    requested_version = request.get("prompt_version")
    prompt, propensity = writing.prompts.select(
        requested_version, hash_to_uniform(deployment.store.secret, generation_id)
    )
    tip_request = to_tip_request(request)
    generation = (
        _TEMPLATE.generate(tip_request)
        if writing.generator is None
        else await writing.generator.generate(tip_request, prompt)
    )
    logged = LoggedGeneration(
        generation_id=generation_id,
        seq=seq,
        user_id=request["user_id"],
        client=client,
        ts=ts,
        prompt=PromptRef(GENERATE, generation.prompt_version, generation.prompt_digest),
        chosen=_get_chooser(writing, requested_version),
        propensity=None if writing.generator is None else propensity,
        source="llm" if writing.generator else "template",
        model=generation.model,
        requested=generation.requested,
        tips=tuple(tip.id for tip in generation.tips),
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        tries=generation.tries,
        tasks_left_out=generation.tasks_left_out,
    )
    is_logged = await _log(deployment, logged)
    return WrittenTips(
        candidates=_build_candidates(deployment, tip_request, generation.tips),
        model=generation.model,
        prompt_version=generation.prompt_version,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        generation_id=generation_id if is_logged else None,
        requested=generation.requested,
        missing=generation.missing,
        tasks_left_out=generation.tasks_left_out,
        tries=generation.tries,
    )


def to_tip_request(request: Mapping[str, Any]) -> TipRequest:
    """A request of the wire in the words of the tip generators."""
    context = request.get("context", {})
    given = {key: context[key] for key in ("hour_of_day", "day_of_week", "extra") if key in context}
    if "n" in request:
        given["n"] = request["n"]
    return TipRequest(tasks=context.get("tasks", ()), **given)


def _get_chooser(writing: TipWriting, requested_version: str | None) -> Chooser:
    if writing.generator is None:
        return "default"
    return "request" if requested_version else "auto" if writing.prompts.is_automatic else "default"


def _build_candidates(
    deployment: ServiceContext, tip_request: TipRequest, tips: Sequence[GeneratedTip]
) -> list[TipCandidate]:
    fields = deployment.catalogue.candidate_fields
    return [
        TipCandidate(
            id=tip.id,
            content=tip.content,
            source=tip.source,
            source_id=tip.source_id,
            rationale=tip.rationale,
            features={} if tip.task is None else build_task_features(fields, tip_request.tasks[tip.task]),
        )
        for tip in tips
    ]


async def _log(deployment: ServiceContext, generation: LoggedGeneration) -> bool:
    try:
        return await deployment.store.log_generation(generation)
    except StorageFullError:
        if not deployment.score_when_full:
            raise
        return False
