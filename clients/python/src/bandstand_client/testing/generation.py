"""The fake's tips: a task's own title, from no model."""

from typing import Any

from bandstand_client.ids import make_id
from bandstand_client.testing.deployment import FakeDeployment
from bandstand_client.testing.learning import score
from bandstand_client.testing.request import FakeProblem, FakeRequest, read_id, read_integer

_VERSIONS = ("v1", "v2-mentor", "v3-few-shot")
_FEATURES = ("is_overdue", "task_age_days", "priority")


def generate(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Make a tip of each task."""
    body = request.body
    read_id(body, "user_id")
    wanted = read_integer(body, "n", 3, 1, 50)
    version = body.get("prompt_version")
    if version is not None and version not in _VERSIONS:
        raise FakeProblem("invalid-request", "no such prompt", ("prompt_version", "no such prompt"))
    tasks = body.get("context", {}).get("tasks", [])[:wanted]
    tips = [_make_tip(number, task) for number, task in enumerate(tasks, 1)]
    deployment.tips += len(tips)
    return {
        "candidates": tips,
        "model": "template",
        "prompt_version": "template",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "generation_id": make_id(),
        "requested": wanted,
        "missing": wanted - len(tips),
        "tasks_left_out": 0,
        "tries": 0,
    }


def recommend(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Make tips, and pick one."""
    made = generate(deployment, request)
    if not made["candidates"]:
        names = ("tip_id", "score", "policy", "decision_id", "propensity", "exploring")
        return {**made, **dict.fromkeys(names), "ranking": []}
    moment = {name: value for name, value in request.body.get("context", {}).items() if name not in {"tasks", "extra"}}
    body = {
        "user_id": request.body["user_id"],
        "candidates": made["candidates"],
        "context": moment,
        "ranking": True,
    }
    return {**made, **score(deployment, FakeRequest((), {}, body, None))}


def list_prompts(_: FakeDeployment, __: FakeRequest) -> Any:
    """The prompts that ship."""
    prompts = [
        {"name": "generate", "version": version, "description": "", "digest": "fake", "share": float(version == "v1")}
        for version in _VERSIONS
    ]
    return {"default": "v1", "prompts": prompts, "broken": []}


def show_prompt(_: FakeDeployment, request: FakeRequest) -> Any:
    """One of them."""
    name, version = request.ids
    if name != "generate" or version not in _VERSIONS:
        raise FakeProblem("unknown-prompt", "no such prompt")
    return {
        "name": name,
        "version": version,
        "description": "",
        "digest": "fake",
        "parameters": {},
        "text": "Write tips.",
    }


def show_stats(deployment: FakeDeployment, _: FakeRequest) -> Any:
    """What came of the tips."""
    template = {
        "version": "template",
        "digest": "",
        "in_service": True,
        "share": None,
        "generations": int(deployment.tips > 0),
        "tips": deployment.tips,
        "decisions": 0,
        "rewards": 0,
        "reaction_rate": None,
        "mean_reward": None,
        "interval": None,
    }
    return {"default": "v1", "versions": [template]}


def _make_tip(number: int, task: Any) -> dict[str, Any]:
    title = task.get("title", "") if isinstance(task, dict) else ""
    return {
        "id": f"tip-{number}",
        "content": f"Take the next step on “{title}”.",
        "source": "template",
        "source_id": task.get("id"),
        "rationale": None,
        "features": {name: task[name] for name in _FEATURES if name in task},
    }
