"""The fake's ``/score`` and ``/reward``."""

from typing import Any

from bandstand_client.ids import make_id
from bandstand_client.testing.deployment import (
    FakeDecision,
    FakeDeployment,
    FakeReward,
    draw_index,
    format_now,
    hash_body,
)
from bandstand_client.testing.opinions import take_turn
from bandstand_client.testing.request import (
    FakeProblem,
    FakeRequest,
    read_id,
    read_integer,
    read_number,
    read_text,
    refuse_field,
)

_MOST_CANDIDATES = 1000
_LARGEST_METRIC = 1e9
_ONE = "give exactly one of reward, reaction and turn"
_DWELLS = ((15_000, -0.3), (120_000, 1.0), (600_000, 0.6))
_LONGEST_DWELL_REWARD = 0.3
_REACTIONS = {"dismiss": -1.0, "snooze": 0.1}


def score(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Pick a candidate: as the product's test says, else by a uniform draw."""
    body = request.body
    user_id = read_id(body, "user_id")
    candidates = _read_candidates(body)
    excluded = _read_excluded(body, candidates)
    context = body.get("context", {})
    _check_moment(context, "context.")
    policy = deployment.find_policy(request.ids[0] if request.ids else None)
    decision_id = read_id(body, "decision_id") if "decision_id" in body else make_id()
    hashed = hash_body({**body, "policy": policy if request.ids else None})
    decision = deployment.decisions.get(decision_id)
    if decision is None:
        decision = _decide(deployment, decision_id, user_id, policy, candidates, context, hashed, excluded)
        decision.held = bool(body.get("defer"))
    elif decision.body != hashed:
        raise FakeProblem("decision-conflict", "the decision_id names another request")
    answer = {
        "tip_id": decision.tip_id,
        "score": 0.0,
        "policy": decision.policy,
        "decision_id": decision.id,
        "propensity": decision.propensity,
        "exploring": False,
    }
    if body.get("ranking"):
        answer["ranking"] = [
            {"tip_id": each["id"], "score": 0.0, "propensity": find_propensity(decision, index)}
            for index, each in enumerate(candidates)
        ]
    return answer


def reward(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Take a reward, a reaction or a turn of a decision, once."""
    body = request.body
    given = [name for name in ("reward", "reaction", "turn") if name in body]
    if "metrics" in body:
        _check_metrics(body["metrics"], is_alone=not given)
    if len(given) != 1:
        raise FakeProblem("invalid-request", _ONE, ("reward", _ONE))
    value = _read_value(body, given[0])
    decision = deployment.find_decision(read_id(body, "decision_id"))
    if body.get("user_id", decision.user_id) != decision.user_id:
        raise FakeProblem("unknown-decision", "no such decision of this user")
    if body.get("tip_id", decision.tip_id) != decision.tip_id:
        raise refuse_field("tip_id", "the decision picked another candidate")
    if request.ids and deployment.find_policy(request.ids[0]) != decision.policy:
        raise FakeProblem("wrong-policy", f"the decision was made by {decision.policy}")
    hashed = hash_body({name: value for name, value in body.items() if name != "wait"})
    _check_key(deployment, request, hashed)
    if value is None:
        return take_turn(deployment, decision, body, hashed)
    stands = decision.reward
    if stands is None:
        reason = "reset" if decision.reset else "held" if decision.held else None
        stands = FakeReward(value, reason is None, reason, given[0], hashed, format_now())
        decision.reward = stands
    elif stands.body != hashed:
        raise FakeProblem("already-rewarded", "this decision already has another reward")
    return {
        "ok": True,
        "policy": decision.policy,
        "reward": stands.value,
        "applied": stands.applied,
        "reason": stands.reason,
        "decision_id": decision.id,
        "aggregate": stands.value if "metrics" in body and stands.applied else None,
    }


def activate(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Let a decision count as shown, and teach what was kept for it."""
    decision = deployment.find_decision(request.ids[0])
    kept = decision.reward
    teaches = decision.held and kept is not None and kept.reason == "held"
    decision.held = False
    if kept is not None and teaches:
        kept.applied, kept.reason = True, None
    return {
        "ok": True,
        "decision_id": decision.id,
        "activated": True,
        "applied": teaches,
        "reward": kept.value if kept is not None and teaches else None,
        "reason": None,
    }


def find_propensity(decision: FakeDecision, index: int) -> float:
    """With which probability a candidate would have been picked."""
    if decision.candidates[index]["id"] in decision.excluded:
        return 0.0
    if decision.propensity < 1.0:
        return decision.propensity
    return 1.0 if index == decision.picked else 0.0


def _decide(
    deployment: FakeDeployment,
    decision_id: str,
    user_id: str,
    policy: str,
    candidates: list[dict[str, Any]],
    context: dict[str, Any],
    hashed: bytes,
    excluded: frozenset[str],
) -> FakeDecision:
    ids = [candidate["id"] for candidate in candidates]
    eligible = [each for each in ids if each not in excluded]
    if policy == "first-v1":
        pick, propensity = eligible[0], 1.0
    elif deployment.picker is None:
        pick, propensity = eligible[draw_index(decision_id, len(eligible))], 1 / len(eligible)
    else:
        pick, propensity = deployment.picker(user_id, eligible), 1.0
    picked = ids.index(pick)
    decision = FakeDecision(
        decision_id, user_id, policy, candidates, dict(context), picked, propensity, hashed, format_now(), excluded
    )
    deployment.decisions[decision_id] = decision
    if user_id not in deployment.users:
        deployment.users.append(user_id)
    return decision


def _read_candidates(body: Any) -> list[dict[str, Any]]:
    candidates = body.get("candidates")
    if not isinstance(candidates, list) or not 1 <= len(candidates) <= _MOST_CANDIDATES:
        raise refuse_field("candidates", "must be a list of 1 to 1,000")
    for index, candidate in enumerate(candidates):
        if not isinstance(candidate, dict):
            raise refuse_field(f"candidates.{index}", "must be an object")
        for field in ("content", "source"):
            read_text(candidate, field)
        read_id(candidate, "id")
        _check_moment(candidate.get("features", {}), f"candidates.{index}.features.")
    if len({candidate["id"] for candidate in candidates}) < len(candidates):
        raise refuse_field("candidates", "ids must differ")
    return candidates


def _read_excluded(body: Any, candidates: list[dict[str, Any]]) -> frozenset[str]:
    excluded = frozenset(body.get("exclude") or ())
    ids = {candidate["id"] for candidate in candidates}
    if not excluded <= ids:
        raise refuse_field("exclude", "names no candidate")
    if excluded == ids:
        raise refuse_field("exclude", "leaves no candidate")
    return excluded


def _check_moment(features: Any, path: str) -> None:
    if not isinstance(features, dict):
        raise refuse_field(path.rstrip("."), "must be an object")
    read_integer(features, "hour_of_day", 12, 0, 23, path)
    read_integer(features, "day_of_week", 0, 0, 6, path)
    read_integer(features, "priority", 1, 1, 4, path)


def _check_metrics(metrics: Any, *, is_alone: bool) -> None:
    if not isinstance(metrics, dict):
        raise refuse_field("metrics", "must be an object")
    for name in metrics:
        read_number(metrics, name, -_LARGEST_METRIC, _LARGEST_METRIC)
    if is_alone:
        raise refuse_field("metrics", "no formula makes a reward of them here: give a reward beside them")


def _read_value(body: Any, given: str) -> float | None:
    """The reward that a body comes to; None of a turn, which the judge reads."""
    if given == "reward":
        return read_number(body, "reward", -1.0, 1.0)
    if given == "turn":
        for field in ("query_t", "answer_t", "query_t1"):
            read_text(body["turn"] if isinstance(body["turn"], dict) else {}, field)
        return None
    reaction = body["reaction"] if isinstance(body["reaction"], dict) else {}
    action = reaction.get("action")
    if action in _REACTIONS:
        return _REACTIONS[action]
    if action != "done":
        raise refuse_field("reaction.action", "must be dismiss, snooze or done")
    if reaction.get("dwell_ms") is None:
        raise refuse_field("reaction.dwell_ms", "done needs its dwell_ms")
    dwell = read_number(reaction, "dwell_ms", 0.0, float("1e15"))
    return next((value for below, value in _DWELLS if dwell < below), _LONGEST_DWELL_REWARD)


def _check_key(deployment: FakeDeployment, request: FakeRequest, hashed: bytes) -> None:
    if request.key is None:
        return
    scope = ("/reward", request.key)
    if deployment.keys.setdefault(scope, hashed) != hashed:
        raise FakeProblem("idempotency-mismatch", "this Idempotency-Key came with another body before")
