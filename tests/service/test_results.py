"""Results: what a use case returns is what the response model of its route declares, no field more and none less."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from bandstand import service as services
from bandstand.api.schemas import (
    evaluations,
    gains,
    generation,
    judgements,
    launches,
    learning,
    loops,
    reactions,
    readouts,
    revocations,
    shown,
    simulations,
    stats,
    values,
)
from bandstand.bandit.experiment import Experiment
from bandstand.service import activation as activation_service
from bandstand.service import attention as attention_service
from bandstand.service import evaluations as evaluation_service
from bandstand.service import experiment as experiment_service
from bandstand.service import explanation as explanation_service
from bandstand.service import gain as gain_service
from bandstand.service import generate as generate_service
from bandstand.service import history as history_service
from bandstand.service import judgements as judgement_service
from bandstand.service import launch as launch_service
from bandstand.service import loop as loop_service
from bandstand.service import loop_status as loop_status_service
from bandstand.service import metrics as metric_service
from bandstand.service import picks as pick_service
from bandstand.service import policies as policy_service
from bandstand.service import promotion as promotion_service
from bandstand.service import prompts as prompt_service
from bandstand.service import reactions as reaction_service
from bandstand.service import readout as readout_service
from bandstand.service import recommend as recommend_service
from bandstand.service import runs as run_service
from bandstand.service import shadow_value as shadow_service
from bandstand.service import shown as shown_service
from bandstand.service import stats as stats_service
from bandstand.service import undo as undo_service
from bandstand.service import users as user_service
from bandstand.store.tables.run_table import RunProgress
from bandstand.store.tables.simulations import Simulations
from bandstand.store.tables.undo import Selection
from tests.judge_worker.test_worker import Place
from tests.service.given import Service, in_memory
from tests.service.writing import by_model, by_template, request

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.iter_modules(services.__path__, f"{services.__name__}.")
    if module.name != "bandstand.service.context"  # what all of them work with
]

RESPONSES: Mapping[type, type[BaseModel]] = {
    activation_service.ActivationResult: learning.Activated,
    attention_service.AttentionItem: learning.HealthWarning,
    evaluation_service.EvaluationReport: evaluations.EvaluationResult,
    experiment_service.ExperimentStatus: stats.ExperimentStanding,
    experiment_service.HoldoutStatus: readouts.HoldoutStanding,
    explanation_service.CandidateExplanation: learning.Explanation,
    gain_service.GainReport: gains.Gains,
    gain_service.GainSpan: gains.Gain,
    generate_service.WrittenTips: generation.GenerateResponse,
    history_service.DecisionReceipt: learning.Receipt,
    history_service.UserHistory: learning.History,
    judgement_service.CoverageReport: stats.JudgeCoverage,
    judgement_service.JudgementDetail: judgements.Judgement,
    judgement_service.JudgementList: judgements.JudgementPage,
    judgement_service.ReapplyResult: judgements.Reapplied,
    judgement_service.RetryResult: judgements.Retried,
    launch_service.LaunchAnswer: launches.NewestLaunch,
    launch_service.LaunchStatus: launches.Launch,
    loop_service.LoopCondition: stats.Condition,
    loop_service.LoopHealth: stats.Loop,
    loop_status_service.LoopDescription: loops.LoopDetail,
    loop_status_service.LoopEntry: loops.LoopEvent,
    loop_status_service.LoopListing: loops.LoopList,
    loop_status_service.LoopStatus: loops.LoopState,
    metric_service.MetricMean: stats.MetricAverage,
    metric_service.MetricSummary: stats.MetricStanding,
    pick_service.PickReport: shown.Picks,
    policy_service.PolicyDescription: learning.PolicyEntry,
    policy_service.PolicyOverview: learning.Policies,
    promotion_service.ActivePolicyStatus: learning.ActivePolicy,
    promotion_service.PromotionEntry: learning.Change,
    prompt_service.PromptDetail: generation.PromptText,
    prompt_service.PromptListing: generation.PromptList,
    prompt_service.PromptReport: generation.PromptStats,
    readout_service.Readout: readouts.ArmsReadout,
    recommend_service.RecommendResult: generation.RecommendResponse,
    shadow_service.ValueEstimate: values.Valued,
    shadow_service.ShadowComparison: stats.ShadowStanding,
    reaction_service.ReactionRevision: reactions.Reapplication,
    reaction_service.AppliedTable: reactions.TableApplied,
    run_service.RunStatus: simulations.Simulation,
    shown_service.DecisionMatches: shown.ShownDecisions,
    stats_service.DeploymentSummary: stats.DeploymentStats,
    stats_service.UserPolicyStats: learning.UserStats,
    undo_service.UndoList: revocations.Revocations,
    undo_service.UndoResult: revocations.Revocation,
    user_service.ErasureReceipt: learning.Erased,
    user_service.UserList: learning.Users,
}
NOT_SENT_AS_THEY_ARE = {
    "PolicyCoefficients": "only the console shows them",
    "Liking": "only the console shows them",
    "ScoreResult": "the fast path writes it",
    "SlotsResult": "the fast path writes it",
    "RewardResult": "the fast path writes it",
    "AcceptedTurn": "the fast path writes it",
    "Decision": "an event of the ledger",
    "Reward": "an event of the ledger",
    "PromptRef": "a key of the ledger",
    "DecisionSearch": "what is looked for in the ledger",
    "LadderDecision": "what the ladder does",
    "ArmSums": "sums of the ledger",
    "TipRequest": "what the tip generators read",
    "LoopDefinition": "what a loop is, as others read it",
}


def returned_by(function: Callable[..., object]) -> set[type]:
    """The classes with fields that a function's annotation names as what it returns."""
    found, waiting = set[type](), [typing.get_type_hints(function)["return"]]
    while waiting:
        hint = waiting.pop()
        waiting += typing.get_args(hint)
        if dataclasses.is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, tuple) and hint is not tuple):
            found.add(typing.cast("type", hint))
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_no_use_case_returns_a_dictionary_of_anything(module: types.ModuleType) -> None:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not name.startswith("_"):
            assert "dict[str, typing.Any]" not in str(typing.get_type_hints(function)["return"]), name


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_result_has_a_response_model_or_a_reason(module: types.ModuleType) -> None:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not name.startswith("_"):
            for result in returned_by(function):
                assert result in RESPONSES or result.__name__ in NOT_SENT_AS_THEY_ARE, (name, result)


def assert_fits(result: object) -> None:
    """The response that the framework makes of a result holds just what the result's own JSON does."""
    model = RESPONSES[type(result)]
    response = TypeAdapter(model).validate_python(result, from_attributes=True)
    written = json.loads(TypeAdapter(model).dump_json(response, by_alias=True, exclude_unset=True))
    assert written == json.loads(to_json(result))


@pytest.fixture
async def lived(tmp_path: Path) -> AsyncIterator[Service]:
    """A deployment with an experiment and a shadow, in which there is something of everything."""
    arms = Experiment.parse("linucb-v2:1,egreedy-v1:1")
    service = Service(in_memory(tmp_path), experiment=arms, shadow_policies=("thompson-v1",))
    await service.deployment.store.open()
    await service.deployment.start()
    for number in range(40):
        service.clock.now += 4000
        scored = await service.score(user_id=f"user-{number % 12}")
        await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
    await service.reward(service.legacy("user-0"))
    yield service
    await service.deployment.store.close()


async def test_what_is_looked_up_fits(lived: Service) -> None:
    deployment = lived.deployment
    scored = await lived.score(user_id="user-1")
    for result in (
        await stats_service.load_user_stats(deployment, "user-1"),
        await stats_service.load_user_stats(deployment, "nobody"),
        await stats_service.load_deployment_stats(deployment),
        await loop_service.load_loop_health(deployment),
        await experiment_service.load_experiment_status(deployment),
        await history_service.load_history(deployment, "user-1"),
        await history_service.load_history(deployment, "nobody"),
        await history_service.load_receipt(deployment, str(scored.decision_id)),
        policy_service.build_overview(deployment),
        await user_service.list_users(deployment, "", 0, 3),
        await user_service.list_users(deployment, "nobody", 0, 3),
        *(await shadow_service.load_shadow_values(deployment) or {}).values(),
    ):
        assert_fits(result)


async def test_what_is_changed_fits(service: Service) -> None:
    deployment = service.deployment
    made = [await service.score() for _ in range(3)]
    for scored in made:
        await service.reward({"decision_id": scored.decision_id, "reward": 0.5})
    for result in (
        await history_service.load_receipt(deployment, str(made[0].decision_id)),
        await promotion_service.promote(deployment, "linucb", "tests"),
        await promotion_service.demote(deployment, "linucb", "tests"),
        policy_service.build_overview(deployment),
        await undo_service.undo(deployment, Selection(client="tests"), "tests", dry_run=True),
        await undo_service.undo(deployment, Selection(client="tests", since=0.0), "tests"),
        await undo_service.list_undos(deployment, 2**62, 10),
        await user_service.erase(deployment, "anna", "tests"),
    ):
        assert_fits(result)


async def test_tips_and_prompts_fit(service: Service) -> None:
    deployment, (writing, _) = service.deployment, by_model(default="v1,v2-mentor")
    for result in (
        await generate_service.generate(deployment, writing, request(), client="tests"),
        await generate_service.generate(deployment, by_template(), request(context={}), client="tests"),
        await recommend_service.recommend(deployment, writing, request(), client="tests"),
        await recommend_service.recommend(deployment, by_template(), request(context={}), client="tests"),
        prompt_service.list_prompts(writing.prompts),
        prompt_service.get_detail(writing.prompts, "generate", "v1"),
        await prompt_service.load_stats(deployment, writing.prompts),
    ):
        assert_fits(result)


async def test_broken_prompts_fit(tmp_path: Path) -> None:
    (tmp_path / "generate").mkdir()
    for name, text in (("v1.md", "no front matter"), ("v2.md", "+++\nversion = 'v2'\n+++\n{% block user %}")):
        (tmp_path / "generate" / name).write_text(text)
    shipped, _ = by_model()
    text = shipped.prompts.get("generate", "v1").text
    (tmp_path / "generate" / "v3.md").write_text(text.replace('version = "v1"', 'version = "v3"'), "utf-8")
    listing = prompt_service.list_prompts(prompt_service.PromptService(tmp_path, "v3"))
    assert len(listing.broken) == 2
    assert_fits(listing)


async def test_judgements_fit(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.open()
    judging = place.judging
    made = [await place.wait_for_judgement(await place.take(said)) for said in ("pos_praise", "neutral", "topic_shift")]
    results: Sequence[Awaitable[object]] = (
        judgement_service.load_detail(judging, made[0]),
        judgement_service.list_page(judging, None, 2**62, 2),
        judgement_service.override(judging, made[1].judgement_id, "neg_correction", "tests"),
        judgement_service.retry(judging, "tests"),
        judgement_service.reapply_gate(judging, "tests", since=0.0),
        judgement_service.load_coverage(judging),
        stats_service.load_deployment_stats(place.deployment),
    )
    for result in results:
        assert_fits(await result)
    await place.close()


@pytest.mark.parametrize("done", [0, 5])
def test_simulations_fit(tmp_path: Path, done: int) -> None:
    store = Simulations(tmp_path)
    number = store.create('{"seeds": 1}', 10, origin="service", client="tests", now=1.0)
    if done:
        claim = store.claim(number, now=2.0)
        assert claim is not None
        store.save(claim, RunProgress(done=done, summary="{}"), plays=[], events=[], now=4.0)
    run = store.get(number, 5.0)
    assert run is not None
    status = run_service.build_status(run)
    assert status.progress.seconds_left == (2.0 if done else None)
    assert_fits(status)
