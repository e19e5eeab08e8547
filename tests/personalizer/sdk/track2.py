"""What a program does with azure-ai-personalizer 1.0.0b1; prints what it met, as JSON.

usage: python track2.py KEY ENDPOINT...
"""

import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

warnings.simplefilter("ignore")

from azure.ai.personalizer import PersonalizerAdministrationClient, PersonalizerClient  # noqa: E402
from azure.core.credentials import AzureKeyCredential  # noqa: E402
from azure.core.exceptions import HttpResponseError  # noqa: E402

ODD_ID = "ev 2/ä?é"
ACTIONS = [{"id": "a", "features": [{"x": 1}]}, {"id": "b", "features": [{"x": 2}]}]
CONTEXT = [{"time": "noon"}]
_SECONDS = 120


def find_error(call: Callable[[], object]) -> list[Any] | None:
    """Status and code of what a call raises."""
    try:
        call()
    except HttpResponseError as error:
        return [error.status_code, error.error and error.error.code]
    return None


def evaluate(admin: Any) -> dict[str, Any]:
    """Have policies evaluated, wait for it, apply one and forget the evaluation."""
    now = datetime.now(UTC)
    span = {
        "startTime": (now - timedelta(days=1)).isoformat(),
        "endTime": (now + timedelta(days=1)).isoformat(),
    }
    admin.create_evaluation(
        "mine",
        {
            "name": "first",
            **span,
            "policies": [{"name": "bold", "arguments": "--cb_explore_adf --epsilon 0.4"}],
        },
    )
    admin.create_feature_importance("which", {"name": "which", **span})
    bounds = {"start_time": now - timedelta(days=1), "end_time": now + timedelta(days=1)}
    until = time.monotonic() + _SECONDS
    while (found := admin.get_evaluation("mine", **bounds))["status"] == "Running" and time.monotonic() < until:
        time.sleep(0.1)
    hourly = admin.get_evaluation("mine", **bounds, interval_in_minutes=60, window="Rolling")["content"]
    while (which := admin.get_feature_importance("which"))["status"] == "Running" and time.monotonic() < until:
        time.sleep(0.1)
    importances = [each["id"] for each in admin.list_feature_importances()]
    admin.delete_feature_importance("which")
    listed = [each["id"] for each in admin.list_evaluations()]
    admin.apply_from_evaluation({"evaluationId": "mine", "policyName": "bold"})
    applied = admin.get_evaluation("mine", **bounds)["status"]
    admin.delete_evaluation("mine")
    return {
        "status": found["status"],
        "sources": [each["policySource"] for each in found["policyResults"]],
        "online": found["policyResults"][0]["totalSummary"],
        "hours": [len(each["timeseries"]["data"]) for each in hourly["value"]],
        "features": [each["featureName"] for each in which["featureScores"]],
        "importances": importances,
        "listed": listed,
        "applied": applied,
        "gone": find_error(lambda: admin.get_evaluation("mine", **bounds)),
    }


def put_back(admin: Any) -> object:
    """Take the model out and put it back."""
    return admin.import_model(io.BytesIO(b"".join(admin.export_model())))


def use(endpoint: str, key: str) -> dict[str, Any]:
    """Every call of both clients."""
    client = PersonalizerClient(endpoint, AzureKeyCredential(key))
    admin = PersonalizerAdministrationClient(endpoint, AzureKeyCredential(key))
    stranger = PersonalizerClient(endpoint, AzureKeyCredential("bad"))
    ranked = client.rank({"actions": ACTIONS, "contextFeatures": CONTEXT, "eventId": ODD_ID})
    slots = client.rank_multi_slot(
        {"actions": ACTIONS, "slots": [{"id": "s", "baselineAction": "a"}], "contextFeatures": CONTEXT, "eventId": "m"}
    )
    answers = {
        "chosen": ranked["rewardActionId"],
        "event_id": ranked["eventId"],
        "reward": client.reward(ODD_ID, {"value": 1.0}),
        "activate": client.activate(ODD_ID),
        "slots": [slot["id"] for slot in slots["slots"]],
        "reward slots": client.reward_multi_slot("m", {"reward": [{"slotId": "s", "value": 1}]}),
        "activate slots": client.activate_multi_slot("m"),
        "wait": admin.get_service_configuration()["rewardWaitTime"],
        "exploration": admin.update_service_configuration({"explorationPercentage": 0.1})["explorationPercentage"],
        "policy": admin.update_policy({"name": "p", "arguments": "--cb_explore_adf --epsilon 0.3"})["name"],
        "policy again": admin.get_policy()["name"],
        "reset": admin.reset_policy()["arguments"],
        "evaluation": evaluate(admin),
        "logs": sorted(admin.get_log_properties()["dateRange"]),
        "model": put_back(admin),
        "model properties": sorted(admin.get_model_properties()),
        "401": find_error(lambda: stranger.rank({"actions": ACTIONS})),
        "400": find_error(lambda: client.rank({"actions": []})),
        "400 policy": find_error(lambda: admin.update_policy({"name": "p", "arguments": "--epsilon 0.1"})),
    }
    admin.reset_model()
    admin.delete_logs()
    return answers


if __name__ == "__main__":
    print(json.dumps([use(endpoint, sys.argv[1]) for endpoint in sys.argv[2:]]))  # noqa: T201 (what the test reads)
