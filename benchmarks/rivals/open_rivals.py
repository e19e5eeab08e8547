"""Vowpal Wabbit in the worlds of benchmarks/open_features.py; run by it in the rivals' environment.

    python open_rivals.py WORLD SEEDS EVENTS   print each one's expected rewards by seed and event, as JSON

Strings and flags are `key=value`, numbers `key:value`, in one namespace for the context and one for the candidate, all
pairs crossed, each reward taught at once: with Personalizer's default arguments, VW's own step sizes, and SquareCB.
"""

import json
import random
import sys
from pathlib import Path

from vowpalwabbit import Workspace  # type: ignore[import-not-found,unused-ignore]  # in the rivals' alone

sys.path.insert(0, str(Path(__file__).parent.parent))

from open_worlds import WORLDS, Json, draw_reward

ARGUMENTS = {
    "VW, Personalizer's default": "--cb_explore_adf --epsilon 0.2 --power_t 0 -l 0.001 --cb_type mtr -q ::",
    "VW, its own step sizes, ε 0.2": "--cb_explore_adf --epsilon 0.2 --cb_type mtr -q ::",
    "VW SquareCB": "--cb_explore_adf --squarecb --gamma_scale 100 -q ::",
}


def write_features(value: Json, path: str = "") -> list[str]:
    """Write an object in VW's text format."""
    written = []
    for key, inner in value.items():
        name = f"{path}.{key}" if path else key
        if isinstance(inner, dict):
            written += write_features(inner, name)
        elif isinstance(inner, bool | str):
            written.append(f"{name}={inner}".replace(" ", "_").replace(":", "_").replace("|", "_"))
        else:
            written.append(f"{name}:{inner}")
    return written


def play(arguments: str, world: str, seed: int, events: int) -> list[float]:
    """Return what each pick was worth on average."""
    model, rng, earned = Workspace(f"{arguments} --quiet --random_seed {seed}"), random.Random(seed), []
    for event in WORLDS[world](seed, events):
        lines = [f"shared |c {' '.join(write_features(event.context))}"]
        lines += [f"|a {' '.join(write_features(each))}" for each in event.candidates]
        probabilities = model.predict(lines)
        pick = rng.choices(range(len(probabilities)), probabilities)[0]
        reward = draw_reward(event.rewards[pick], rng)
        lines[1 + pick] = f"0:{-reward}:{probabilities[pick]} {lines[1 + pick]}"
        model.learn(lines)
        earned.append(event.rewards[pick])
    model.finish()
    return earned


if __name__ == "__main__":
    world, seeds, events = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(
        json.dumps(
            {title: [play(each, world, seed, events) for seed in range(seeds)] for title, each in ARGUMENTS.items()}
        )
    )
