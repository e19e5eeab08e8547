"""Generate: choose a prompt, write tips from the user's tasks, log which, answer them as candidates to score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bandstand.bandit.distribution import uniform01
from bandstand.errors import StorageFullError
from bandstand.generate.generator import TipGenerator
from bandstand.generate.selection import GENERATE
from bandstand.generate.template import TemplateTipGenerator
from bandstand.generate.tips import Generation, Tip, TipRequest
from bandstand.service.context import Deployment
from bandstand.service.prompts import Prompts
from bandstand.service.task_features import task_features
from bandstand.store.tables.generations import Chooser, LoggedGeneration, PromptRef

_TEMPLATE = TemplateTipGenerator()


@dataclass(frozen=True, slots=True)
class TipWriting:
    """How a deployment writes tips.

    Attributes:
        prompts: those in service.
        generator: asks a model; None where no gateway is configured, and tips are made from the tasks alone.
    """

    prompts: Prompts
    generator: TipGenerator | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Tips, as the caller hears of them.

    Attributes:
        generation_id: None where the generation could not be logged (``SCORE_WHEN_FULL``, or the user was erased
            meanwhile); rewards of its tips then teach no prompt.
        candidates: the tips, ready for ``/score``.
    """

    generation_id: str | None
    generation: Generation
    candidates: list[dict[str, Any]]

    def answer(self) -> dict[str, Any]:
        """What the wire says of it."""
        made = self.generation
        return {
            "candidates": self.candidates,
            "model": made.model,
            "prompt_version": made.prompt_version,
            "prompt_tokens": made.prompt_tokens,
            "completion_tokens": made.completion_tokens,
            "generation_id": self.generation_id,
            "requested": made.requested,
            "missing": made.missing,
            "tasks_left_out": made.tasks_left_out,
            "tries": made.tries,
        }


async def generate(deployment: Deployment, writing: TipWriting, request: Mapping[str, Any], *, client: str) -> Written:
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
    asked = request.get("prompt_version")
    prompt, propensity = writing.prompts.select(asked, uniform01(deployment.store.secret, generation_id))
    wanted = tip_request(request)
    made = _TEMPLATE.generate(wanted) if writing.generator is None else await writing.generator.generate(wanted, prompt)
    logged = LoggedGeneration(
        generation_id=generation_id,
        seq=seq,
        user_id=request["user_id"],
        client=client,
        ts=ts,
        prompt=PromptRef(GENERATE, made.prompt_version, made.prompt_digest),
        chosen=_chooser(writing, asked),
        propensity=None if writing.generator is None else propensity,
        source="llm" if writing.generator else "template",
        model=made.model,
        requested=made.requested,
        tips=tuple(tip.id for tip in made.tips),
        prompt_tokens=made.prompt_tokens,
        completion_tokens=made.completion_tokens,
        tries=made.tries,
        tasks_left_out=made.tasks_left_out,
    )
    is_logged = await _log(deployment, logged)
    return Written(generation_id if is_logged else None, made, _candidates(deployment, wanted, made.tips))


def tip_request(request: Mapping[str, Any]) -> TipRequest:
    """A request of the wire in the words of the tip generators."""
    context = request.get("context", {})
    given = {key: context[key] for key in ("hour_of_day", "day_of_week", "extra") if key in context}
    if "n" in request:
        given["n"] = request["n"]
    return TipRequest(tasks=context.get("tasks", ()), **given)


def _chooser(writing: TipWriting, asked: str | None) -> Chooser:
    if writing.generator is None:
        return "default"
    return "request" if asked else "auto" if writing.prompts.automatic else "default"


def _candidates(deployment: Deployment, wanted: TipRequest, tips: Sequence[Tip]) -> list[dict[str, Any]]:
    about = {tip.source_id for tip in tips} - {None}
    features = task_features(deployment.catalogue.candidate_fields, wanted.tasks, about)
    return [
        {
            "id": tip.id,
            "content": tip.content,
            "source": tip.source,
            "source_id": tip.source_id,
            "rationale": tip.rationale,
            "features": features.get(tip.source_id, {}),
        }
        for tip in tips
    ]


async def _log(deployment: Deployment, generation: LoggedGeneration) -> bool:
    try:
        return await deployment.store.generated(generation)
    except StorageFullError:
        if not deployment.score_when_full:
            raise
        return False
