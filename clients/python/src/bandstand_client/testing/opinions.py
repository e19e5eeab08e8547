"""The fake's judge: a handful of words in place of a model; and what became of the turns that it read."""

from typing import Any

from bandstand_client.testing.deployment import FakeDecision, FakeDeployment, FakeReward, format_now
from bandstand_client.testing.request import FakeProblem, FakeRequest, read_id, read_limit, read_text, refuse_field

REWARDS = {
    "neg_constraint_restate": -1.0,
    "neg_correction": -0.8,
    "neg_confusion": -0.6,
    "pos_praise": 0.8,
    "pos_progress": 0.1,
    "neutral": 0.0,
    "topic_shift": 0.0,
}
_WORDS = (
    ("neg_constraint_restate", ("as i said",)),
    ("neg_correction", ("wrong", "incorrect")),
    ("neg_confusion", ("don't understand", "confused")),
    ("pos_praise", ("thank", "lovely", "great")),
    ("pos_progress", ("what if", "example")),
)
_MODEL = "fake"
_TAXONOMY = "followup-v1"
_MOST_TURNS = 100


def judge(_: FakeDeployment, request: FakeRequest) -> Any:
    """Judge one turn, or up to a hundred."""
    turns = request.body.get("turns", [request.body])
    if not isinstance(turns, list) or not 1 <= len(turns) <= _MOST_TURNS:
        raise refuse_field("turns", "must be a list of 1 to 100")
    return {"judgements": [_judge_turn(turn) for turn in turns]}


def classify(_: FakeDeployment, request: FakeRequest) -> Any:
    """Say whether a message corrects the reply before it."""
    message = read_text(request.body, "message").lower()
    read_text(request.body, "previous_reply")
    corrects = any(word in message for word in ("wrong", "incorrect", "not what"))
    return {
        "is_correction": corrects,
        "kind": "explicit_rejection" if corrects else "neutral",
        "confidence": 1.0,
        "reasoning": "by a word",
        "tier": "rules",
        "model": _MODEL,
    }


def arbitrate(_: FakeDeployment, request: FakeRequest) -> Any:
    """Take the intent of the highest score."""
    read_id(request.body, "tenant_id")
    read_text(request.body, "message")
    rule = request.body.get("rule")
    best = max(request.body.get("semantic", []), key=lambda each: each["score"], default=None)
    found: tuple[str | None, str | None, float] = (None, None, 0.0)
    if best is not None:
        found = (best["id"], best["name"], float(best["score"]))
    if rule is not None and rule["score"] > found[2]:
        found = (rule["rule_id"], None, float(rule["score"]))
    return {
        "intent_id": found[0],
        "intent_name": found[1],
        "score": found[2],
        "reasoning": "by the scores",
        "duration_ms": 0.0,
        "tokens_used": 0,
        "triggered": False,
        "trigger_reason": "disabled",
    }


def take_turn(deployment: FakeDeployment, decision: FakeDecision, body: Any, hashed: bytes) -> Any:
    """Keep a turn as a decision's reward, and judge it at once."""
    known = deployment.judgements.get(decision.judgement_id or "")
    if known is not None and known["hash"] == hashed:
        judgement = known
    elif decision.reward is not None:
        raise FakeProblem("already-rewarded", "this decision already has another reward")
    else:
        judgement = _conclude(deployment, decision, body["turn"], hashed)
    if body.get("wait"):
        return {"ok": True, **show_judgement(judgement)}
    return {
        "ok": True,
        "judgement_id": judgement["judgement_id"],
        "policy": decision.policy,
        "decision_id": decision.id,
    }


def list_judgements(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """A page, newest first."""
    status = request.query.get("status")
    found = [
        show_entry(each)
        for each in reversed(deployment.judgements.values())
        if status in {None, each["status"]} or (status == "taught") == each["taught"]
    ]
    limit = read_limit(request.query, 1000, 100)
    before = int(request.query.get("before", 0))
    page = found[before : before + limit]
    return {"judgements": page, "next": before + limit if before + limit < len(found) else None}


def show(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """One judgement."""
    return show_judgement(_find(deployment, request.ids[0]))


def override(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Put a person's verdict in the place of the fake's."""
    judgement = _find(deployment, request.ids[0])
    label = read_text(request.body, "label")
    if label not in REWARDS:
        raise refuse_field("label", "must be one of the taxonomy")
    _add_verdict(judgement, label, "override")
    decision = deployment.decisions.get(judgement["decision_id"])
    if decision is not None:
        _teach(decision, judgement)
    return show_judgement(judgement)


def retry(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """The fake scores every turn, so none waits again."""
    for judgement_id in request.body.get("judgement_ids", []):
        _find(deployment, judgement_id)
    return {"ok": True, "retried": 0, "left": 0}


def reapply(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """The fake's gate never changes."""
    since = read_text(request.body, "since")
    looked_at = sum(each["ts"] >= since for each in deployment.judgements.values())
    return {"ok": True, "looked_at": looked_at, "changed": 0, "out_of_reach": 0}


def show_judgement(judgement: dict[str, Any]) -> dict[str, Any]:
    """A judgement as it is answered."""
    return {name: value for name, value in judgement.items() if name != "hash"}


def show_entry(judgement: dict[str, Any]) -> dict[str, Any]:
    """A judgement as a page has it."""
    left_out = {"hash", "verdict", "applied", "reward", "history", "content_withheld"}
    return {name: value for name, value in judgement.items() if name not in left_out}


def _judge_turn(turn: Any) -> dict[str, Any]:
    for field in ("query_t", "answer_t", "query_t1"):
        read_text(turn if isinstance(turn, dict) else {}, field)
    label = _find_label(turn["query_t1"])
    return {
        "label": label,
        "confidence": 1.0,
        "rationale": "by a word",
        "reward": REWARDS[label],
        "should_update": label != "topic_shift",
        "unscored": None,
        "target": None,
        "withheld": "never_updates" if label == "topic_shift" else "",
        "taxonomy": _TAXONOMY,
        "tier": "rules",
        "model": _MODEL,
        "prompt": None,
        "gate": "hard",
        "tau": 0.6,
        "calibration": None,
    }


def _find_label(message: str) -> str:
    said = message.lower()
    return next((label for label, words in _WORDS if any(word in said for word in words)), "neutral")


def _find(deployment: FakeDeployment, judgement_id: str) -> dict[str, Any]:
    judgement = deployment.judgements.get(judgement_id)
    if judgement is None:
        raise FakeProblem("unknown-judgement", "no such judgement")
    return judgement


def _conclude(deployment: FakeDeployment, decision: FakeDecision, turn: Any, hashed: bytes) -> dict[str, Any]:
    judgement_id = f"{deployment.make_number():016x}"
    judgement: dict[str, Any] = {
        "judgement_id": judgement_id,
        "user_id": decision.user_id,
        "decision_id": decision.id,
        "tip_id": decision.tip_id,
        "policy": decision.policy,
        "taxonomy": turn.get("taxonomy", _TAXONOMY),
        "client": "fake",
        "ts": format_now(),
        "status": "scored",
        "taught": True,
        "reason": None,
        "verdict": None,
        "applied": None,
        "reward": None,
        "history": [],
        "content_withheld": False,
        "hash": hashed,
    }
    _add_verdict(judgement, _find_label(turn["query_t1"]), "judge")
    deployment.judgements[judgement_id] = judgement
    decision.judgement_id = judgement_id
    _teach(decision, judgement)
    return judgement


def _add_verdict(judgement: dict[str, Any], label: str, cause: str) -> None:
    verdict = {"label": label, "confidence": 1.0, "tier": "person" if cause == "override" else "rules", "model": _MODEL}
    applied = {"reward": REWARDS[label], "should_update": label != "topic_shift", "mode": "hard", "tau": 0.6}
    taught = label != "topic_shift"
    reason = None if taught else "never_updates"
    judgement.update(
        verdict=verdict, applied=applied, reward=REWARDS[label] if taught else None, taught=taught, reason=reason
    )
    step = {
        "cause": cause,
        "client": "fake",
        "ts": format_now(),
        "verdict": verdict,
        "applied": applied,
        "state": "taught" if taught else "withheld",
        "reason": reason,
        "reward": judgement["reward"],
    }
    judgement["history"] = [*judgement["history"], step]


def _teach(decision: FakeDecision, judgement: dict[str, Any]) -> None:
    """A verdict is the decision's reward; one that teaches nothing leaves it free."""
    if not judgement["taught"]:
        decision.reward = None
        return
    reason = "reset" if decision.reset else None
    decision.reward = FakeReward(
        judgement["reward"], reason is None, reason, "judge", judgement["hash"], judgement["ts"]
    )
