"""Two worlds whose contexts and candidates are JSON that no schema names; for open_features.py and its rivals."""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Json = Mapping[str, Any]


class Event(NamedTuple):
    """One decision: what is known, what is offered, and what each offer would earn on average."""

    context: Json
    candidates: list[Json]
    rewards: list[float]


# Azure Personalizer's Python quickstart, without the veg_platter that is always right.
_MEALS: tuple[Json, ...] = (
    {
        "brand_info": {"company": "pasta_inc"},
        "attributes": {"qty": 1, "cuisine": "italian", "price": 12},
        "dietary_attributes": {
            "vegan": False,
            "low_carb": False,
            "high_protein": False,
            "vegetarian": False,
            "low_fat": True,
            "low_sodium": True,
        },
    },
    {
        "brand_info": {"company": "ambisco"},
        "attributes": {"qty": 2, "category": "bbq", "price": 20},
        "dietary_attributes": {
            "vegan": False,
            "low_carb": True,
            "high_protein": True,
            "vegetarian": False,
            "low_fat": False,
            "low_sodium": False,
        },
    },
    {
        "brand_info": {"company": "bao_and_co"},
        "attributes": {"qty": 4, "category": "chinese", "price": 8},
        "dietary_attributes": {
            "vegan": False,
            "low_carb": True,
            "high_protein": True,
            "vegetarian": False,
            "low_fat": True,
            "low_sodium": False,
        },
    },
    {
        "brand_info": {"company": "garbanzo_inc"},
        "attributes": {"qty": 1, "category": "breakfast", "price": 5},
        "dietary_attributes": {
            "vegan": True,
            "low_carb": False,
            "high_protein": True,
            "vegetarian": True,
            "low_fat": False,
            "low_sodium": False,
        },
    },
)
_EATERS: Mapping[str, Json] = {
    "Bill": {"dietary_preferences": "low_carb", "avg_order_price": "0-20", "browser_type": "edge"},
    "Satya": {"dietary_preferences": "low_sodium", "avg_order_price": "201+", "browser_type": "safari"},
    "Amy": {"dietary_preferences": "{'vegan', 'vegetarian'}", "avg_order_price": "21-50", "browser_type": "edge"},
}


def iter_quickstart(seed: int, events: int) -> Iterator[Event]:
    """Three eaters and four meals; a meal is right (1) or wrong (0) for who eats where."""
    rng = random.Random(seed)
    for _ in range(events):
        eater, place = rng.choice([*_EATERS]), rng.choice(("west", "east", "midwest"))
        context = {
            **_EATERS[eater],
            "location": place,
            "time_of_day": rng.choice(("morning", "afternoon", "evening")),
            "application_type": rng.choice(("edge", "safari", "edge_mobile", "mobile_app")),
        }
        yield Event(context, list(_MEALS), [_rate_meal(eater, place, meal) for meal in _MEALS])


def _rate_meal(eater: str, place: str, meal: Json) -> float:
    diet = meal["dietary_attributes"]
    if eater == "Bill":
        return float(diet["low_carb"] if place == "midwest" else meal["attributes"]["price"] < 10)  # noqa: PLR2004 (the quickstart's own)
    return float(diet["low_sodium"] if eater == "Satya" else diet["vegan"] or diet["vegetarian"])


_A_DAY = 250
_CATEGORIES = ("politics", "sports", "science", "culture", "travel", "food", "money", "health")
_SEGMENTS = ("student", "parent", "retired", "commuter")
_NOISE_KEYS = tuple(f"tag_{number}" for number in range(14))


def iter_daily(seed: int, events: int) -> Iterator[Event]:
    """100 articles of 20 tokens each, all new every 250 events; the category that is liked depends on the reader.

    An article is opened (1) or not (0): with probability .05, .3 more where the reader's segment likes its category,
    .2 more in the evening if it is long, .1 more from one of the five sources. Fourteen of the tokens mean nothing.
    """
    rng = random.Random(seed)
    liked = {segment: set(rng.sample(_CATEGORIES, 2)) for segment in _SEGMENTS}
    articles: list[Json] = []
    for number in range(events):
        if number % _A_DAY == 0:
            articles = [_write_article(rng) for _ in range(100)]
        segment = rng.choice(_SEGMENTS)
        context = {
            "reader": {"segment": segment, "device": rng.choice(("phone", "tablet", "desktop"))},
            "time_of_day": rng.choice(("morning", "noon", "evening")),
            "weekday": rng.choice(("mon", "tue", "wed", "thu", "fri", "sat", "sun")),
        }
        likes = liked[segment]
        yield Event(
            context,
            articles,
            [
                0.05
                + 0.3 * (article["category"] in likes)
                + 0.2 * (article["long"] and context["time_of_day"] == "evening")
                + 0.1 * (article["source"] == "s0")
                for article in articles
            ],
        )


def _write_article(rng: random.Random) -> Json:
    return {
        "category": rng.choice(_CATEGORIES),
        "source": f"s{rng.randrange(5)}",
        "author": f"a{rng.randrange(60)}",
        "long": rng.random() < 0.4,  # noqa: PLR2004 (a share)
        "words": rng.randrange(200, 3000),
        "age_hours": rng.random() * 24,
        **{key: f"v{rng.randrange(6)}" for key in _NOISE_KEYS},
    }


WORLDS: Mapping[str, Callable[[int, int], Iterator[Event]]] = {"quickstart": iter_quickstart, "daily": iter_daily}


def draw_reward(expected: float, rng: random.Random) -> float:
    """Return 1 with that probability, else 0."""
    return float(rng.random() < expected)
