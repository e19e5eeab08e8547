"""The learning core: pure functions and values over numpy, with time and randomness passed in."""
