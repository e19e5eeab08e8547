"""Ids sort by time, and never meet."""

import os
import time
import uuid

from bandstand_client.ids import make_id


def test_an_id_is_a_uuid_of_version_7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(make_id())
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_differ() -> None:
    assert len({make_id() for _ in range(10_000)}) == 10_000


def test_forked_processes_make_different_ids() -> None:
    read, write = os.pipe()
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            os.write(write, make_id().encode())
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    text = os.read(read, 4096).decode()
    os.close(read)
    os.close(write)
    assert len({text[start : start + 36] for start in range(0, len(text), 36)}) == 4
