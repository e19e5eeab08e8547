"""Streams: the same for the same arguments, and otherwise unrelated."""

import itertools

import numpy as np

from bandstand.simulate.world.streams import Stream, make_generator


def test_the_same_stream_repeats() -> None:
    assert (make_generator(4, Stream.JUDGE, 1).random(9) == make_generator(4, Stream.JUDGE, 1).random(9)).all()


def test_streams_users_and_seeds_are_uncorrelated() -> None:
    length = 20_000
    keys = [(seed, stream, user) for seed in (0, 1) for stream in Stream for user in (0, 1)]
    draws = [make_generator(seed, stream, user).random(length) for seed, stream, user in keys]
    for one, other in itertools.combinations(draws, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(length)
