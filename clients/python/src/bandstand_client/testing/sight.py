"""The fake's answers about users, decisions, policies and itself."""

from collections.abc import Sequence
from typing import Any

from bandstand_client.testing.deployment import (
    ALIASES,
    POLICIES,
    FakeDecision,
    FakeDeployment,
    find_rewards,
)
from bandstand_client.testing.learning import find_propensity
from bandstand_client.testing.request import FakeRequest, read_id
from bandstand_client.version import __version__

_HISTORY = 100
_NO_CHECK = {"rate": None, "expected": None, "p_value": None}


def stats(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """A user's numbers; the deployment's, of whom none is named."""
    if "user_id" not in request.query:
        return _show_deployment(deployment)
    user_id = read_id(request.query, "user_id")
    policy = deployment.find_policy(request.query.get("policy"))
    decisions = deployment.find_decisions(user_id, policy)
    rewards = find_rewards(decisions)
    moments = [each.ts for each in decisions] + [each.reward.ts for each in decisions if each.reward is not None]
    return {
        "user_id": user_id,
        "pulls": len(decisions),
        "reward_count": len(rewards),
        "cumulative_reward": sum(rewards),
        "estimated_mean_reward": sum(rewards) / len(rewards) if rewards else 0.0,
        "theta": [],
        "last_updated": _format_whole_seconds(max(moments)) if moments else None,
        "policy": policy,
        "exploration_rate": 0.0,
        "feature_labels": [],
    }


def history(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """A user's newest decisions, oldest first."""
    user_id = read_id(request.query, "user_id")
    found = deployment.find_decisions(user_id)[-_HISTORY:]
    return {"user_id": user_id, "history": [_show_logged(each) for each in found], "content_withheld": False}


def receipt(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Everything that a decision was made of."""
    decision = deployment.find_decision(request.ids[0])
    stands = decision.reward
    given = None
    if stands is not None and not stands.revoked:
        given = {
            "reward": stands.value,
            "applied": stands.applied,
            "reason": stands.reason,
            "source": stands.source,
            "ts": stands.ts,
            "client": "fake",
        }
    turn = None
    if decision.judgement_id is not None:
        turn = {"judgement_id": decision.judgement_id, "status": "waiting", "label": None, "confidence": None}
    return {
        "decision_id": decision.id,
        "user_id": decision.user_id,
        "ts": decision.ts,
        "client": "fake",
        "policy": decision.policy,
        "policy_hash": "fake",
        "schema": "fake",
        "schema_hash": "fake",
        "tip_id": decision.tip_id,
        "score": 0.0,
        "propensity": decision.propensity,
        "exploring": False,
        "seed": 0.0,
        "floor": 0.0,
        "context": decision.context,
        "feature_labels": None,
        "candidates": [
            {
                "tip_id": each["id"],
                "content": each.get("content"),
                "source": each.get("source"),
                "source_id": each.get("source_id"),
                "raw_features": each.get("features", {}),
                "features": None,
                "mean": 0.0,
                "width": 0.0,
                "score": 0.0,
                "probability": find_propensity(decision, index),
                "excluded": each["id"] in decision.excluded,
                "explanation": None,
            }
            for index, each in enumerate(decision.candidates)
        ],
        "held": decision.held,
        "window_ends": None,
        "content_withheld": False,
        "reward": given,
        "judgement": turn,
        "generation": None,
        "shadows": [],
    }


def policies(deployment: FakeDeployment, _: FakeRequest) -> Any:
    """The policies, and which one is active."""
    return {
        **show_active(deployment),
        "promotions": [{**change, "by": "fake"} for change in reversed(deployment.promotions)],
        "policies": [
            {
                "name": name,
                "kind": name.rpartition("-")[0],
                "hash": "fake",
                "active": name == deployment.active,
                "share": float(name == deployment.active),
                "shadow": False,
                "aliases": [alias for alias, of in ALIASES.items() if of == name],
                "parameters": {},
                "prior": None,
                "schema": "fake",
                "schema_hash": "fake",
                "feature_labels": [],
            }
            for name in POLICIES
        ],
    }


def health(deployment: FakeDeployment, _: FakeRequest) -> Any:
    """The fake lives."""
    return {
        "ok": True,
        "version": f"fake-{__version__}",
        "active_policy": deployment.active,
        "durability": "process",
        "quarantined": 0,
        "last_error": None,
        "ledger": None,
        "warnings": [],
    }


def ready(_: FakeDeployment, __: FakeRequest) -> Any:
    """The fake takes events."""
    return {"ready": True}


def show_active(deployment: FakeDeployment) -> dict[str, Any]:
    """Which policy is active, and since when."""
    last = deployment.promotions[-1] if deployment.promotions else None
    return {
        "active": deployment.active,
        "since": None if last is None else last["ts"],
        "by": None if last is None else "fake",
        "pinned_by": None,
    }


def _format_whole_seconds(moment: str) -> str:
    """A time as these two calls have it: without a fraction, and with Z for the zone."""
    return moment[:19] + "Z"


def _show_logged(decision: FakeDecision) -> dict[str, Any]:
    features = {**decision.candidates[decision.picked].get("features", {}), **decision.context}
    if decision.policy == "egreedy-v1":
        features["exploring"] = False
    return {
        "ts": _format_whole_seconds(decision.ts),
        "features": features,
        "score": 0.0,
        "tip_id": decision.tip_id,
        "decision_id": decision.id,
        "policy": decision.policy,
        "exploring": False,
        "propensity": decision.propensity,
        "day_of_week": features.get("day_of_week", 0),
    }


def _show_deployment(deployment: FakeDeployment) -> dict[str, Any]:
    decisions = deployment.find_decisions()
    rewards = find_rewards(decisions)
    by_policy = {name: [each for each in decisions if each.policy == name] for name in POLICIES}
    conditions = {name: _show_condition(each) for name, each in by_policy.items() if each}
    by_day = {day: [each for each in decisions if each.ts[:10] == day] for day in {each.ts[:10] for each in decisions}}
    turns = {name: [j for j in deployment.judgements.values() if j["policy"] == name] for name in POLICIES}
    return {
        "users": len(deployment.users),
        "decisions": len(decisions),
        "rewards": len(rewards),
        "policies": {name: _show_policy(each) for name, each in by_policy.items()},
        "gain": {
            "sentence": "Nothing can be told yet: no decision has a reward.",
            "as_of": None,
            "all": None,
            "policies": {},
            "spans": {},
            "days": [],
        },
        "holdout": None,
        "experiment": None,
        "shadows": None,
        "judge": {
            "waiting": 0,
            "today": {"tokens": 0, "usd": 0.0, "over_budget": 0},
            "policies": {
                name: {
                    "turns": len(each),
                    "waiting": 0,
                    "scored": len(each),
                    "taught": sum(judgement["taught"] for judgement in each),
                    "withheld": {},
                    "unscored": {},
                }
                for name, each in turns.items()
                if each
            },
        },
        "memory": {},
        "metrics": {},
        "features": {
            "requests": len(decisions),
            "looked_at": 0,
            "unread": [],
            "fields": [],
            "contrasts": [],
            "tokens": [],
            "warnings": [],
        },
        "loop": {
            "all": _show_condition(decisions),
            "policies": conditions,
            "days": [
                {"day": day, "all": _show_condition(by_day[day]), "policies": {}}
                for day in sorted(by_day, reverse=True)
            ],
            "drift": [],
        },
    }


def _show_policy(decisions: Sequence[FakeDecision]) -> dict[str, Any]:
    rewards = find_rewards(decisions)
    mean = sum(rewards) / len(rewards) if rewards else 0.0
    return {"decisions": len(decisions), "exploration_rate": 0.0, "rewards": len(rewards), "mean_reward": mean}


def _show_condition(decisions: Sequence[FakeDecision]) -> dict[str, Any]:
    rewards = find_rewards(decisions)
    weights = [1 / (len(each.candidates) * each.propensity) for each in decisions]
    return {
        "decisions": len(decisions),
        "rewards": len(rewards),
        "mean_reward": sum(rewards) / len(rewards) if rewards else None,
        "answered": len(rewards),
        "arrival_rate": len(rewards) / len(decisions) if decisions else None,
        "delay": {"p50": 0.0, "p90": 0.0, "p99": 0.0} if rewards else None,
        "sources": {"client": 1.0} if rewards else {},
        "exploration": {**_NO_CHECK, "rate": 0.0} if decisions else _NO_CHECK,
        "weight": {
            "mean": sum(weights) / len(weights) if weights else None,
            "stderr": None,
            "expected": None,
            "p_value": None,
        },
        "ess": sum(weights) ** 2 / sum(weight**2 for weight in weights) if weights else None,
        "draws": {"chi_square": None, "freedom": 0, "p_value": None},
        "warnings": [],
    }
