"""Generate: tips come back as candidates to score, and the ledger knows which prompt they came from."""

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from bandstand.bandit.arms import RewardSums
from bandstand.errors import InvalidRequestError, OverloadedError, StorageFullError
from bandstand.generate.errors import GatewayUnreachableError, NotJsonError
from bandstand.generate.generator import TipGenerator
from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.llm.errors import ChatUnreachableError
from bandstand.service import prompts as prompts_service
from bandstand.service import users
from bandstand.service.generate import TipWriting, WrittenTips, generate, to_tip_request
from bandstand.store.tables.generations import LoggedGeneration, PromptRef
from bandstand.testing.memory_store import MemoryStore
from bandstand.testing.scripted_llm import ScriptedClient
from tests.service.given import Service
from tests.service.writing import TASKS, TIPS, by_model, by_template, request

TEMPLATE = PromptRef("generate", "template", "")


class _Listening(MemoryStore):
    """A memory store that shows what is logged, or refuses it."""

    def __init__(self, service: Service, refusal: Exception | None = None) -> None:
        super().__init__(service.deployment.catalogue)
        self.logged: list[LoggedGeneration] = []
        self._refusal = refusal
        service.deployment.store = self

    async def log_generation(self, generation: LoggedGeneration) -> bool:
        if self._refusal is not None:
            raise self._refusal
        self.logged.append(generation)
        return await super().log_generation(generation)


class _ErasesWhileItThinks(ScriptedClient):
    """A model during whose thinking the user is erased."""

    def __init__(self, service: Service) -> None:
        super().__init__([json.dumps(TIPS)])
        self._service = service

    async def complete(self, request: ChatRequest) -> ChatReply:
        await users.erase(self._service.deployment, "anna", "tests")
        return await super().complete(request)


async def reward(service: Service, written: WrittenTips, tip: int, value: float) -> None:
    """Show one of the tips, alone, and tell how the user took it."""
    to_score = {"user_id": "anna", "candidates": [asdict(written.candidates[tip])]}
    scored = await service.score(to_score)
    await service.reward({"decision_id": scored.decision_id, "reward": value})


async def test_tips_of_a_model_are_candidates_with_the_features_of_their_tasks(service: Service) -> None:
    writing, client = by_model()
    written = await generate(service.deployment, writing, request(), client="shop")
    assert [asdict(tip) for tip in written.candidates] == [
        {
            "id": "a",
            "content": "Pay the rent now.",
            "source": "llm",
            "source_id": "rent",
            "rationale": "It is late.",
            "features": {"is_overdue": True, "task_age_days": 3, "priority": 4},
        },
        {
            "id": "tip-2",
            "content": "Ring her at noon.",
            "source": "llm",
            "source_id": "7",
            "rationale": None,
            "features": {"task_age_days": 1.5, "priority": 2},
        },
        {
            "id": "a-2",
            "content": "Go to bed at ten.",
            "source": "llm",
            "source_id": None,
            "rationale": None,
            "features": {},
        },
    ]
    assert "Pay the rent" in client.calls[0].messages[1]["content"]
    assert (written.model, written.prompt_version, written.missing, written.tries) == ("m-1", "v1", 0, 1)
    assert (written.requested, written.tasks_left_out) == (3, 0)
    assert written.prompt_tokens > written.completion_tokens > 0


async def test_without_a_gateway_tips_are_honest_and_say_so(service: Service) -> None:
    written = await generate(service.deployment, by_template(), request(n=2), client="shop")
    assert [tip.source for tip in written.candidates] == ["template", "template"]
    assert [tip.source_id for tip in written.candidates] == ["rent", "7"]
    assert (written.model, written.prompt_version, written.prompt_tokens) == ("template", "template", 0)


async def test_tips_can_be_scored_as_they_come_and_their_rewards_find_the_prompt(service: Service) -> None:
    writing, _ = by_model()
    first = await generate(service.deployment, writing, request(), client="shop")
    second = await generate(service.deployment, writing, request(prompt_version="v2-mentor"), client="shop")
    for written, tip, value in ((second, 0, 1.0), (second, 1, -0.5), (first, 2, 0.5)):
        await reward(service, written, tip, value)
    await reward(service, await generate(service.deployment, by_template(), request(), client="shop"), 0, 0.25)
    totals = {total.prompt.version: total for total in await service.deployment.store.load_prompt_totals()}
    assert totals["v1"].tips == 3
    assert totals["v1"].reward_sums == RewardSums()
    assert totals["v2-mentor"].reward_sums == RewardSums(3, 1.0, 1.5)
    assert totals["template"].prompt == TEMPLATE
    assert totals["template"].reward_sums == RewardSums(1, 0.25, 0.0625)


async def test_the_ledger_keeps_who_chose_and_how_likely_it_was(service: Service) -> None:
    store = _Listening(service)
    for default, asked, chosen, propensity in (
        ("", None, "default", 1.0),
        ("v1,v2-mentor", None, "default", 0.5),
        ("v1", "v3-few-shot", "request", None),
        ("auto", None, "auto", pytest.approx(1 / 3)),
        ("auto", "v1", "request", None),
    ):
        writing, _ = by_model(default=default)
        await generate(service.deployment, writing, request(prompt_version=asked), client="shop")
        logged = store.logged[-1]
        assert (logged.chosen, logged.propensity) == (chosen, propensity)
        prompt = writing.prompts.get("generate", logged.prompt.version)
        assert logged.prompt.digest == prompt.digest
        assert (logged.source, logged.model, logged.client) == ("llm", "m-1", "shop")
        assert logged.tips == ("a", "tip-2", "a-2")
    await generate(service.deployment, by_template(), request(prompt_version="v1"), client="shop")
    logged = store.logged[-1]
    assert (logged.prompt, logged.chosen, logged.propensity) == (TEMPLATE, "default", None)


async def test_versions_are_drawn_afresh_for_every_request(service: Service) -> None:
    store = _Listening(service)
    writing, _ = by_model(default="v1,v2-mentor,v3-few-shot")
    for _ in range(150):
        await generate(service.deployment, writing, request(n=1), client="shop")
    drawn = Counter(logged.prompt.version for logged in store.logged)
    assert set(drawn) == {"v1", "v2-mentor", "v3-few-shot"}
    assert min(drawn.values()) > 25


async def test_auto_prefers_what_is_rewarded_and_still_knows_after_a_restart(service: Service) -> None:
    writing, _ = by_model(default="auto")
    likes = {"v1": -0.5, "v2-mentor": 1.0, "v3-few-shot": -0.5}
    for _ in range(60):
        service.clock.now += 1
        written = await generate(service.deployment, writing, request(), client="shop")
        await reward(service, written, 0, likes[written.prompt_version])
        writing.prompts.update_shares(await service.deployment.store.load_prompt_totals())
    assert writing.prompts.version_shares["v2-mentor"] > 0.85
    await service.reopen()
    again, _ = by_model(default="auto")
    again.prompts.update_shares(await service.deployment.store.load_prompt_totals())
    assert again.prompts.version_shares == writing.prompts.version_shares


async def test_an_unknown_version_is_refused_before_anything_is_asked(service: Service) -> None:
    writing, client = by_model()
    for way in (writing, by_template()):
        with pytest.raises(InvalidRequestError):
            await generate(service.deployment, way, request(prompt_version="v9"), client="shop")
    assert client.calls == []
    assert await service.deployment.store.count_users() == 0


async def test_a_failure_leaves_no_generation(service: Service) -> None:
    for script, expected in (
        (["no", "no", "no"], NotJsonError),
        ([ChatUnreachableError("gone")], GatewayUnreachableError),
    ):
        with pytest.raises(expected):
            await generate(service.deployment, by_model(script)[0], request(), client="shop")
    assert await service.deployment.store.load_prompt_totals() == []


async def test_where_the_ledger_is_full_tips_come_unlogged_if_so_configured(service: Service) -> None:
    writing, _ = by_model()
    _Listening(service, StorageFullError("full"))
    with pytest.raises(StorageFullError):
        await generate(service.deployment, writing, request(), client="shop")
    service.deployment.score_when_full = True
    written = await generate(service.deployment, writing, request(), client="shop")
    assert (written.generation_id, len(written.candidates)) == (None, 3)
    _Listening(service, OverloadedError("busy"))
    with pytest.raises(OverloadedError):
        await generate(service.deployment, writing, request(), client="shop")


async def test_who_is_erased_meanwhile_stays_erased(service: Service) -> None:
    await service.score(user_id="anna")

    writing = TipWriting(by_template().prompts, TipGenerator(_ErasesWhileItThinks(service)))
    written = await generate(service.deployment, writing, request(), client="shop")
    assert (written.generation_id, len(written.candidates)) == (None, 3)
    assert await service.deployment.store.count_users() == 0


async def test_no_tasks_no_tips(service: Service) -> None:
    nothing: list[dict[str, Any]] = [{}, {"tasks": []}]
    for context in nothing:
        written = await generate(service.deployment, by_template(), request(context=context), client="shop")
        assert (written.candidates, written.missing) == ([], 3)


def test_what_a_request_leaves_out_has_the_contracts_defaults() -> None:
    wanted = to_tip_request({"user_id": "anna"})
    assert (list(wanted.tasks), wanted.n, wanted.hour_of_day, wanted.day_of_week, wanted.extra) == ([], 3, 12, 0, {})
    wanted = to_tip_request(request(n=50))
    assert (wanted.tasks, wanted.n, wanted.hour_of_day, wanted.day_of_week) == (TASKS, 50, 9, 1)
    assert wanted.extra == {"mood": "rushed"}


async def test_stats_by_version(service: Service) -> None:
    writing, _ = by_model(default="v1,v2-mentor")
    prompts = writing.prompts
    for version, value in (("v1", 1.0), ("v1", 0.5), ("v1", 0.0), ("v1", 0.5), ("v2-mentor", -1.0)):
        service.clock.now += 1
        asked = request(prompt_version=version)
        await reward(service, await generate(service.deployment, writing, asked, client="shop"), 0, value)
    service.clock.now += 1
    unrewarded = await generate(service.deployment, writing, request(prompt_version="v1"), client="shop")
    await service.score({"user_id": "anna", "candidates": [asdict(tip) for tip in unrewarded.candidates]})
    await generate(service.deployment, by_template(), request(), client="shop")
    told = await prompts_service.load_stats(service.deployment, prompts)
    assert told.default == "v1,v2-mentor"
    v1, v2, v3, template = told.versions
    assert [each.version for each in told.versions] == ["v1", "v2-mentor", "v3-few-shot", "template"]
    assert (v1.generations, v1.tips, v1.decisions, v1.rewards) == (5, 15, 5, 4)
    assert (v1.reaction_rate, v1.mean_reward) == (0.8, 0.5)
    assert v1.interval is not None
    low, high = v1.interval
    assert -1 <= low < 0.5 < high <= 1
    assert (v1.share, v1.in_service, v2.interval, v2.mean_reward) == (0.5, True, None, -1.0)
    assert (v3.share, v3.generations, v3.reaction_rate, v3.mean_reward) == (0.0, 0, None, None)
    assert (template.in_service, template.share, template.tips) == (False, None, 3)
    assert json.dumps(asdict(told), allow_nan=False)


# ── a tip carries the features of the task it was made of ─────────────────────────────────────────────────────────────

LATE = {"title": "Late and urgent", "priority": 4.0, "is_overdue": True, "task_age_days": None}
LOW = {"title": "Low and fresh", "priority": 1, "task_age_days": 2}
WANTED = [{"priority": 4, "is_overdue": True}, {"priority": 1, "task_age_days": 2}]
IDS: list[tuple[object, object]] = [
    (None, None),
    ("same", "same"),
    (7, "7"),
    (7.0, 8.0),
    (True, []),
    ("", "x" * 300),
    ("zero\u200bwidth", "line\nbreak"),
    ("task-2", None),
]


@pytest.mark.parametrize("ids", IDS, ids=str)
@pytest.mark.parametrize("is_model", [False, True], ids=["template", "model"])
async def test_no_task_loses_its_features(service: Service, ids: tuple[object, object], *, is_model: bool) -> None:
    tasks = [{**task, "id": identity} for task, identity in zip((LATE, LOW), ids, strict=True)]

    def answer(asked: ChatRequest) -> str:
        """A model that names each task by the id it reads."""
        lines = asked.messages[1]["content"].partition("<tasks>\n")[2].partition("\n</tasks>")[0].split("\n")
        quoted = [json.loads(line) for line in lines]
        return json.dumps([{"content": f"Tip {number}", "task_id": each["id"]} for number, each in enumerate(quoted)])

    writing = by_model(answer)[0] if is_model else by_template()
    written = await generate(service.deployment, writing, request(context={"tasks": tasks}), client="shop")
    assert [tip.features for tip in written.candidates] == WANTED
    own = [str(int(each)) if isinstance(each, float) else each for each in ids]
    for tip, identity in zip(written.candidates, own, strict=True):
        assert tip.source_id in (None, str(identity)[:256])


async def test_a_tip_without_a_task_s_id_has_the_features_of_the_one_task_it_names(service: Service) -> None:
    tips = [{"content": "Begin with late AND urgent."}, {"content": "Do both: Late and urgent, Low and fresh."}]
    writing, _ = by_model(lambda _: json.dumps(tips))
    written = await generate(service.deployment, writing, request(context={"tasks": [LATE, LOW]}), client="shop")
    assert [tip.features for tip in written.candidates] == [WANTED[0], {}]
