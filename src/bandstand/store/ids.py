"""Ids of decisions, judgements and generations: the event number, for the look-up, and a nonce nobody can guess."""

import os
import re
import struct
from collections.abc import Sequence

_SEQ_DIGITS = 16
_NONCE_BYTES = 8
_ID_PATTERN = re.compile(r"[0-7][0-9a-f]{31}")
"""A number beyond 63 bits is none of ours, and SQLite would not take it."""


class DecisionIds:
    """Hands out ids with random nonces of 64 bits, so that nobody can guess another's."""

    def next(self, seq: int) -> str:
        """A fresh id for the event ``seq``: 32 hex digits."""
        return self.make((seq,))[0]

    def make(self, seqs: Sequence[int]) -> list[str]:
        """A fresh id for each event: as :func:`format_id` gives it, made of the digits of all of them at once."""
        heads = struct.pack(f">{len(seqs)}Q", *seqs).hex(" ", _SEQ_DIGITS // 2).split()
        nonces = os.urandom(_NONCE_BYTES * len(seqs)).hex(" ", _NONCE_BYTES).split()
        return [head + nonce for head, nonce in zip(heads, nonces, strict=True)]


def format_id(seq: int, nonce: str) -> str:
    """The id of the event ``seq``; the ledger keeps the two apart."""
    return f"{seq:016x}{nonce}"


def get_nonce(event_id: str) -> str:
    """The nonce of an id of ours."""
    return event_id[_SEQ_DIGITS:]


def parse_event_id(event_id: str) -> int | None:
    """The event number inside an id of ours, or ``None`` if the id is the caller's own."""
    return int(event_id[:_SEQ_DIGITS], 16) if _ID_PATTERN.fullmatch(event_id) else None


def build_id_sql(table: str) -> str:
    """The SQL expression of :func:`format_id` over the columns ``seq`` and ``nonce`` of a table."""
    return f"printf('%016x', {table}.seq) || {table}.nonce"
