"""Requests in the ledger: what comes out is what went in, in new rows and in old ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandstand.store.sqlite.packing import pack_body, unpack_body

BODY = (
    b'{"user_id": "ada", "candidates": ['
    + b", ".join(b'{"id": "tip-%d", "priority": 3}' % n for n in range(10))
    + b"]}"
)
FRAME = b"\x28\xb5\x2f\xfd"


@given(st.binary(max_size=2000))
def test_whatever_is_packed_comes_out_again(body: bytes) -> None:
    assert unpack_body(pack_body(body)) == body


def test_a_request_shrinks_and_is_a_frame_that_any_tool_reads() -> None:
    packed = pack_body(BODY)
    assert packed.startswith(FRAME)
    assert 2 * len(packed) < len(BODY)


def test_rows_of_older_ledgers_are_read_as_they_are() -> None:
    assert unpack_body(BODY) == BODY
    assert unpack_body(b"") == b""


def test_what_would_grow_is_left_as_it_is() -> None:
    assert pack_body(b"{}") == b"{}"


def test_bytes_that_look_like_a_frame_are_not_taken_for_one() -> None:
    assert unpack_body(pack_body(FRAME + b"{}")) == FRAME + b"{}"


def test_a_damaged_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack_body(pack_body(BODY)[:-5])
