"""Separate streams of randomness, so that one part of a run drawing more never changes another part's draws."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Who draws; the numbers are part of every seed and never change their meaning."""

    PERSONAS = 0
    TASKS = 1
    REACTIONS = 2
    POLICY = 3
    JUDGE = 4
    CHAT = 5


def make_generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Give the random generator of one stream of one run; the same arguments give the same draws, always.

    Args:
        seed: the run's seed, ≥ 0.
        stream: who draws.
        key: what for within the stream, such as the user's number; each ≥ 0.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, *key)))
