"""Statements by column name, for rows that are named tuples whose fields are named as the columns they go to.

A row stays a tuple, so that many of them go into one statement without being taken apart by name; only the statement is
built from the names, once, when its module is imported.
"""

import re
from typing import NamedTuple

Row = tuple[object, ...]
RowType = type[NamedTuple]
"""A class of rows."""


def build_insert(table: str, row: RowType, *, verb: str = "INSERT") -> str:
    """An insert that is to be given rows: the writer adds as many placeholders as there are."""
    return f"{verb} INTO {table} ({', '.join(row._fields)}) VALUES "


def build_single_insert(table: str, row: RowType, *, verb: str = "INSERT") -> str:
    """A complete insert of one row."""
    return f"{build_insert(table, row, verb=verb)}({', '.join('?' * len(row._fields))})"


def build_upsert(table: str, row: RowType, key: int) -> str:
    """A complete insert of one row that adds to what is there under the same key: the first ``key`` columns."""
    names, sums = row._fields[:key], row._fields[key:]
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
    return f"{build_single_insert(table, row)} ON CONFLICT ({', '.join(names)}) DO UPDATE SET {added}"


def build_columns(alias: str, row: RowType) -> str:
    """The columns of a row for a SELECT, in the order of its fields."""
    return ", ".join(f"{alias}.{name}" for name in row._fields)


def number_fields(statement: str, row: RowType) -> str:
    """A statement with a row's fields for parameters, ``:name``, made one that takes the row as it is, ``?1``."""

    def to_position(match: re.Match[str]) -> str:
        return f"?{row._fields.index(match[1]) + 1}"

    return re.sub(r":(\w+)", to_position, statement)
