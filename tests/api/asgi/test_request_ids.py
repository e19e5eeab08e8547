"""The ids of requests that come without one."""

import re
from itertools import islice

from bandstand.api.asgi.request_ids import generate_ids


def test_ids_are_of_one_form_and_each_comes_once() -> None:
    ids = list(islice(generate_ids(), 1000))
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in ids)


def test_those_of_another_process_are_others() -> None:
    assert next(generate_ids()) != next(generate_ids())
