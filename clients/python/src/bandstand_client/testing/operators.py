"""The fake's answers to operators: promote, reset, erase, take back, simulate."""

from datetime import datetime
from typing import Any

from bandstand_client.testing.deployment import DEFAULT_POLICY, FakeDecision, FakeDeployment, format_now
from bandstand_client.testing.request import FakeProblem, FakeRequest, read_id, read_limit, refuse_field
from bandstand_client.testing.sight import show_active


def promote(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Make a policy the active one."""
    policy = deployment.find_policy(request.ids[0])
    if policy != deployment.active:
        _change(deployment, "promote", policy)
    return show_active(deployment)


def demote(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Go back to the policy before."""
    policy = deployment.find_policy(request.ids[0])
    if policy == deployment.active:
        if not deployment.promotions:
            raise FakeProblem("promotion-refused", "it is active by default, and nothing was before it")
        promoted = [each for each in deployment.promotions if each["action"] == "promote" and each["policy"] == policy]
        _change(deployment, "demote", promoted[-1]["instead_of"] if promoted else DEFAULT_POLICY)
    return show_active(deployment)


def reset(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Forget a user: later rewards of earlier decisions teach nothing."""
    user_id = request.ids[0] if request.ids else read_id(request.body, "user_id")
    for decision in deployment.find_decisions(user_id):
        decision.reset = True
    return {"ok": True}


def erase(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Erase a user for good."""
    user_id = request.ids[0] if request.ids else read_id(request.query, "user_id")
    gone = [each for each in deployment.decisions.values() if each.user_id == user_id]
    for decision in gone:
        del deployment.decisions[decision.id]
        deployment.judgements.pop(decision.judgement_id or "", None)
    if user_id in deployment.users:
        deployment.users.remove(user_id)
    rewards = sum(each.reward is not None for each in gone)
    return {"ok": True, "erased": {"decisions": len(gone), "rewards": rewards}, "unreachable": []}


def list_users(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """A page of users, in order of first sight."""
    after, limit = int(request.query.get("after", 0)), read_limit(request.query, 1000, 100)
    prefix = request.query.get("prefix", "")
    found = [each for each in deployment.users if each.startswith(prefix)]
    page = found[after : after + limit]
    more = after + limit < len(found)
    return {"users": [{"user_id": each} for each in page], "next": after + limit if more else None}


def revoke(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Take rewards back."""
    body = dict(request.body)
    dry_run = bool(body.pop("dry_run", False))
    unknown = set(body) - {"decision_id", "client", "judge_version", "since", "until"}
    if unknown or not body:
        raise refuse_field("body", "must name what is to be taken back")
    if "decision_id" in body:
        deployment.find_decision(body["decision_id"])
    fitting = [each for each in deployment.decisions.values() if _fits(each, body)]
    for decision in fitting:
        if not dry_run and decision.reward is not None:
            decision.reward.revoked = True
    by_policy: dict[str, int] = {}
    for decision in fitting:
        by_policy[decision.policy] = by_policy.get(decision.policy, 0) + 1
    counted = {
        "rewards": len(fitting),
        "users": len({each.user_id for each in fitting}),
        "policies": by_policy,
    }
    if fitting and not dry_run:
        record = {"ts": format_now(), "by": "fake", "selection": body, **counted}
        deployment.revocations.insert(0, record)
    return {
        "ok": True,
        "dry_run": dry_run,
        **counted,
        "priors": [],
        "passed_over": {"revoked_before": 0, "forgotten": 0, "never_taught": 0},
        "out_of_reach": {"users": 0, "until": None},
    }


def reapply_reactions(_: FakeDeployment, request: FakeRequest) -> Any:
    """The contract's table, under which every reaction is worth what it was."""
    return {
        "ok": True,
        "dry_run": bool(request.body.get("dry_run", True)),
        "table": {"name": "contract-v1", "version": 1, "hash": "e61e98293c63f035"},
        "reactions": 0,
        "revised": 0,
        "unchanged": 0,
        "unmapped": 0,
        "users": 0,
        "priors": [],
        "passed_over": {"revoked_before": 0, "forgotten": 0, "never_taught": 0},
        "out_of_reach": {"users": 0, "until": None},
    }


def list_revocations(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """A page of what was taken back, the newest first."""
    before, limit = int(request.query.get("before", 0)), read_limit(request.query, 1000, 100)
    page = deployment.revocations[before : before + limit]
    more = before + limit < len(deployment.revocations)
    return {"revocations": page, "next": before + limit if more else None}


def _change(deployment: FakeDeployment, action: str, policy: str) -> None:
    change = {"ts": format_now(), "action": action, "policy": policy, "instead_of": deployment.active or DEFAULT_POLICY}
    deployment.promotions.append(change)


def _fits(decision: FakeDecision, selection: dict[str, Any]) -> bool:
    stands = decision.reward
    if stands is None or stands.revoked or not stands.applied:
        return False
    if selection.get("client", "fake") != "fake" or "judge_version" in selection:
        return False
    given = datetime.fromisoformat(stands.ts)
    since, until = (selection.get(name) for name in ("since", "until"))
    return (
        selection.get("decision_id", decision.id) == decision.id
        and (since is None or given >= datetime.fromisoformat(since))
        and (until is None or given < datetime.fromisoformat(until))
    )
