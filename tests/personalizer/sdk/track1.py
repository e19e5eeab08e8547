"""What a program does with azure-cognitiveservices-personalizer 0.1.1; prints what it met, as JSON.

usage: python track1.py KEY ENDPOINT...
"""

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

warnings.simplefilter("ignore")

from azure.cognitiveservices.personalizer import PersonalizerClient  # noqa: E402
from azure.cognitiveservices.personalizer.models import RankableAction, RankRequest  # noqa: E402
from msrest.authentication import CognitiveServicesCredentials  # noqa: E402
from msrest.exceptions import HttpOperationError  # noqa: E402

ODD_ID = "ev 1/ä?é"
ACTIONS = [
    RankableAction(id="pasta", features=[{"taste": "salty", "grams": [400, 800]}, {"nutrition": {"level": 5}}]),
    RankableAction(id="ice cream", features=[{"taste": "sweet"}]),
]
CONTEXT = [{"state": {"timeOfDay": "noon"}}, {"device": {"mobile": True}}]


def find_error(call: Callable[[], object]) -> list[Any] | None:
    """Status, code and message of what a call raises."""
    try:
        call()
    except HttpOperationError as error:
        inner = getattr(error.error, "error", None)
        return [error.response.status_code, inner and inner.code, inner and inner.message]
    return None


def use(endpoint: str, key: str) -> dict[str, Any]:
    """Every call of the client."""
    client = PersonalizerClient(endpoint, CognitiveServicesCredentials(key))
    ranked = client.rank(
        RankRequest(
            actions=ACTIONS,
            context_features=CONTEXT,
            excluded_actions=["pasta"],
            event_id=ODD_ID,
            defer_activation=True,
        )
    )
    plain = client.rank(RankRequest(actions=ACTIONS))
    stranger = PersonalizerClient(endpoint, CognitiveServicesCredentials("bad"))
    return {
        "ranking": [[each.id, each.probability] for each in ranked.ranking],
        "event_id": ranked.event_id,
        "chosen": ranked.reward_action_id,
        "reward": client.events.reward(event_id=ODD_ID, value=0.5),
        "activate": client.events.activate(event_id=ODD_ID),
        "plain": plain.reward_action_id,
        "unknown": client.events.reward("nobody's", 1.0),
        "401": find_error(lambda: stranger.rank(RankRequest(actions=ACTIONS))),
        "400": find_error(lambda: client.rank(RankRequest(actions=[]))),
        "400 reward": find_error(lambda: client.events.reward("any", 2.0)),
    }


if __name__ == "__main__":
    print(json.dumps([use(endpoint, sys.argv[1]) for endpoint in sys.argv[2:]]))  # noqa: T201 (what the test reads)
