"""Tips out of tasks, and the prompts that write them.

Written by ``tools/write_client.py`` from ``areas``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bandstand_client.aio_areas.sender import AsyncSender
from bandstand_client.call import LONG_S, build_get, build_parser, build_post
from bandstand_client.lazy import LazyModule

if TYPE_CHECKING:
    from bandstand_client import answers
else:
    answers = LazyModule("bandstand_client.answers")


class AsyncGenerationCalls(AsyncSender):
    """Calls that write candidates."""

    async def generate(
        self,
        user_id: str,
        tasks: Sequence[Mapping[str, Any]] = (),
        *,
        context: Mapping[str, Any] | None = None,
        n: int | None = None,
        prompt_version: str | None = None,
        deadline: float = LONG_S,
    ) -> answers.Generation:
        """Write tips from a user's tasks; its ``candidates`` go to ``score`` as they are.

        An LLM writes them, where the deployment has one; a call of which nobody knows whether it happened is not made
        again.

        Args:
            user_id: whose tasks.
            tasks: any objects; the service reads ``title``, ``priority`` and the like.
            context: ``hour_of_day``, ``day_of_week``, ``extra``.
            n: how many tips, 1 to 50; 3 if left out.
            prompt_version: which prompt writes; the deployment chooses if it is left out.
            deadline: in seconds.

        Example:
            >>> tips = await client.generate("ada", [{"id": "rent", "title": "Pay the rent", "priority": 4}], n=1)
            >>> tips.candidates[0].source_id
            'rent'
            >>> (await client.score("ada", tips.candidates)).pick.source
            'template'
        """
        body = _build_body(user_id, tasks, context, n, prompt_version)
        parse = build_parser(answers.Generation)
        return await self.send(build_post("/generate", parse, body, repeatable=False, seconds=deadline))

    async def recommend(
        self,
        user_id: str,
        tasks: Sequence[Mapping[str, Any]] = (),
        *,
        context: Mapping[str, Any] | None = None,
        n: int | None = None,
        prompt_version: str | None = None,
        deadline: float = LONG_S,
    ) -> answers.Recommendation:
        """Write tips and pick one of them, in one call; :meth:`decision` takes its ``decision_id``.

        Args:
            user_id: whose tasks.
            tasks: as :meth:`generate` takes them.
            context: the same, and what the active policy reads of the moment.
            n: how many tips.
            prompt_version: which prompt writes.
            deadline: in seconds.

        Example:
            >>> best = await client.recommend("ada", [{"id": "rent", "title": "Pay the rent", "priority": 4}], n=1)
            >>> best.tip_id == best.candidates[0].id
            True
            >>> (await client.decision(best.decision_id or "").reward(1.0)).applied
            True
        """
        body = _build_body(user_id, tasks, context, n, prompt_version)
        parse = build_parser(answers.Recommendation)
        return await self.send(build_post("/recommend", parse, body, repeatable=False, seconds=deadline))

    async def prompts(self) -> answers.PromptList:
        """Every prompt in service, and the files that were left out.

        Example:
            >>> sorted(prompt.version for prompt in (await client.prompts()).prompts if prompt.name == "generate")
            ['v1', 'v2-mentor', 'v3-few-shot']
        """
        return await self.send(build_get("/prompts", build_parser(answers.PromptList)))

    async def prompt(self, name: str, version: str) -> answers.PromptText:
        """One version of a prompt with its text.

        Raises:
            UnknownPromptError: there is none of that name and version.

        Example:
            >>> (await client.prompt("generate", "v1")).version
            'v1'
        """
        ids = {"name": name, "version": version}
        return await self.send(build_get("/prompts/{name}/{version}", build_parser(answers.PromptText), ids=ids))

    async def prompt_stats(self) -> answers.PromptStats:
        """What the tips of each wording came to.

        Example:
            >>> made = await client.generate("ada", [{"id": "rent", "title": "Pay the rent"}], n=1)
            >>> next(each for each in (await client.prompt_stats()).versions if each.version == "template").tips >= 1
            True
        """
        return await self.send(build_get("/prompts/stats", build_parser(answers.PromptStats)))

    async def reload_prompts(self) -> answers.PromptList:
        """Have the prompts read from disk again; an ``admin`` key is needed.

        Raises:
            PromptsKeptError: those on disk cannot take over.

        Example:
            >>> len((await client.reload_prompts()).broken)
            0
        """
        return await self.send(build_post("/prompts/reload", build_parser(answers.PromptList)))


def _build_body(
    user_id: str,
    tasks: Sequence[Mapping[str, Any]],
    context: Mapping[str, Any] | None,
    n: int | None,
    prompt_version: str | None,
) -> dict[str, Any]:
    moment = {**(context or {}), "tasks": [dict(task) for task in tasks]}
    return {"user_id": user_id, "context": moment, "n": n, "prompt_version": prompt_version}
