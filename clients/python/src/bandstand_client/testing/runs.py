"""Simulations and evaluations, which the fake queues and never plays."""

from __future__ import annotations

from typing import Any

from bandstand_client.testing.deployment import FakeDeployment, format_now
from bandstand_client.testing.request import FakeProblem, FakeRequest, read_limit

Runs = dict[int, dict[str, Any]]


def start_simulation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Queue a simulation."""
    return _start(deployment, deployment.simulations, request)


def list_simulations(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """A page of simulations, newest first."""
    return {"simulations": _list(deployment.simulations, request), "next": None}


def show_simulation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """One simulation."""
    return {
        **_find(deployment.simulations, "simulation", request),
        "policies": {},
        "baselines": {},
        "personas": {},
    }


def cancel_simulation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """End one."""
    return _cancel(_find(deployment.simulations, "simulation", request))


def delete_simulation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Forget one."""
    del deployment.simulations[_find(deployment.simulations, "simulation", request)["id"]]


def start_evaluation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Queue an evaluation."""
    return _start(deployment, deployment.evaluations, request)


def list_evaluations(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """A page of evaluations, newest first."""
    return {"evaluations": _list(deployment.evaluations, request), "next": None}


def show_evaluation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """One evaluation."""
    return {**_find(deployment.evaluations, "evaluation", request), "report": None}


def cancel_evaluation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """End one."""
    return _cancel(_find(deployment.evaluations, "evaluation", request))


def delete_evaluation(deployment: FakeDeployment, request: FakeRequest) -> Any:
    """Forget one."""
    del deployment.evaluations[_find(deployment.evaluations, "evaluation", request)["id"]]


def _start(deployment: FakeDeployment, runs: Runs, request: FakeRequest) -> dict[str, Any]:
    for policy in request.body.get("policies", []):
        deployment.find_policy(policy)
    number = deployment.make_number()
    runs[number] = {
        "id": number,
        "state": "queued",
        "client": "fake",
        "created": format_now(),
        "started": None,
        "ended": None,
        "progress": {"done": 0, "total": 0, "seconds_left": None},
        "plan": dict(request.body),
        "error": None,
    }
    return runs[number]


def _list(runs: Runs, request: FakeRequest) -> list[dict[str, Any]]:
    return list(reversed(runs.values()))[: read_limit(request.query, 200, 50)]


def _find(runs: Runs, kind: str, request: FakeRequest) -> dict[str, Any]:
    number = request.ids[0]
    found = runs.get(int(number)) if number.isdecimal() else None
    if found is None:
        raise FakeProblem(f"unknown-{kind}", f"no such {kind}")
    return found


def _cancel(run: dict[str, Any]) -> dict[str, Any]:
    run["state"] = "cancelled"
    return run
