"""Microsoft's quickstart of Azure Personalizer against Bandstand: what to offer whom, by the SDK as it was published.

    pip install azure-cognitiveservices-personalizer==0.1.1
    python quickstart.py http://127.0.0.1:8000/loops/menu KEY [CYCLES]

Three users order food in the quickstart's own way; of its actions the one that is always right is left
out, since with it there is nothing to learn. A cycle is five events. Every 100 events it prints what they earned, and
what was to be expected of the probabilities that were answered.
"""

import random
import sys
from itertools import islice
from typing import Any
from uuid import uuid4

from azure.cognitiveservices.personalizer import PersonalizerClient
from azure.cognitiveservices.personalizer.models import RankableAction, RankRequest
from msrest.authentication import CognitiveServicesCredentials

ACTIONS: dict[str, list[dict[str, Any]]] = {
    "pasta": [
        {"company": "pasta_inc"},
        {"qty": 1, "cuisine": "italian", "price": 12},
        {"vegan": False, "low_carb": False, "vegetarian": False, "low_fat": True, "low_sodium": True},
    ],
    "bbq": [
        {"company": "ambisco"},
        {"qty": 2, "category": "bbq", "price": 20},
        {"vegan": False, "low_carb": True, "vegetarian": False, "low_fat": False, "low_sodium": False},
    ],
    "bao": [
        {"company": "bao_and_co"},
        {"qty": 4, "category": "chinese", "price": 8},
        {"vegan": False, "low_carb": True, "vegetarian": False, "low_fat": True, "low_sodium": False},
    ],
    "hummus": [
        {"company": "garbanzo_inc"},
        {"qty": 1, "category": "breakfast", "price": 5},
        {"vegan": True, "low_carb": False, "vegetarian": True, "low_fat": False, "low_sodium": False},
    ],
}
USERS = {
    "Bill": {"dietary_preferences": "low_carb", "avg_order_price": "0-20", "browser_type": "edge"},
    "Satya": {"dietary_preferences": "low_sodium", "avg_order_price": "201+", "browser_type": "safari"},
    "Amy": {"dietary_preferences": "vegan", "avg_order_price": "21-50", "browser_type": "edge"},
}
EVENTS_PER_CYCLE = 5


def compute_reward(user: str, action: str, location: str) -> float:
    """What an offer earns, as the quickstart has it."""
    _, attributes, diet = ACTIONS[action]
    if user == "Bill":
        return float(diet["low_carb"] if location == "midwest" else attributes["price"] < 10)  # noqa: PLR2004 (dollars)
    return float(diet["low_sodium"] if user == "Satya" else diet["vegan"] or diet["vegetarian"])


def run_event(client: PersonalizerClient, draw: random.Random) -> tuple[float, float]:
    """Rank, show and reward once; what it earned and what was to be expected."""
    user, location = draw.choice(list(USERS)), draw.choice(["west", "east", "midwest"])
    context = [
        USERS[user],
        {"location": location},
        {"time_of_day": draw.choice(["morning", "afternoon", "evening"])},
        {"application_type": draw.choice(["edge", "safari", "edge_mobile", "mobile_app"])},
    ]
    names = ("brand_info", "attributes", "dietary_attributes")
    actions = [
        RankableAction(id=name, features=[{key: part} for key, part in zip(names, parts, strict=True)])
        for name, parts in ACTIONS.items()
    ]
    event_id = str(uuid4())
    ranked = client.rank(RankRequest(actions=actions, context_features=context, event_id=event_id))
    earned = compute_reward(user, ranked.reward_action_id, location)
    client.events.reward(event_id, value=earned)
    expected = sum(each.probability * compute_reward(user, each.id, location) for each in ranked.ranking)
    return earned, expected


def main(endpoint: str, key: str, cycles: str = "200") -> None:
    """Run the cycles and say what they earned."""
    client = PersonalizerClient(endpoint, CognitiveServicesCredentials(key))
    draw = random.Random(0)
    events = (run_event(client, draw) for _ in range(EVENTS_PER_CYCLE * int(cycles)))
    first = 1
    while hundred := list(islice(events, 100)):
        earned, expected = (sum(each) / len(hundred) for each in zip(*hundred, strict=True))
        print(f"events {first:4d} to {first + len(hundred) - 1:4d}: earned {earned:.3f}, expected {expected:.3f}")
        first += len(hundred)


if __name__ == "__main__":
    main(*sys.argv[1:])
