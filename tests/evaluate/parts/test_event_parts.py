"""Stretches of an exported log, replayed apart, say what one reader of the ledger says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bandstand.evaluate.estimators.formulas import Formula
from bandstand.evaluate.files.event_files import EventFiles
from bandstand.evaluate.parts.event_parts import (
    EventQuestion,
    EventSums,
    evaluate_event_part,
    iter_event_parts,
    read_learned,
    split_evenly,
    write_learned,
)
from bandstand.evaluate.report import PolicyResult, build_report
from bandstand.evaluate.spec import EvaluationSpec
from tests.evaluate.parts.exported import NAMES, ExportedLog, build_candidates, write_log
from tests.store.given import DAY, NOON


def build_spec(**options: Any) -> EvaluationSpec:
    return EvaluationSpec(tuple(map(Formula.parse, ("ips", "snips", "dr", "switch_dr:5"))), **options)


def evaluate_in_parts(question: EventQuestion, log: ExportedLog, count: int, names: Sequence[str]) -> EventSums:
    """As processes on other machines would: what passes between them is files."""
    files = EventFiles.open(log.folder)
    assert files is not None
    parts = []
    for part in iter_event_parts(question, files, build_candidates(names), count):
        write_learned(log.folder.with_name("learned"), part.learned)
        paths = {file.name: file.path for file in part.files}
        learned = read_learned(log.folder.with_name("learned"))
        sums = evaluate_event_part(question, paths, part.first_row, learned, build_candidates(names))
        parts.append(EventSums.from_json(json.loads(json.dumps(sums.to_json())), question.spec))
    whole = parts[0]
    for later in parts[1:]:
        whole.merge(later)
    return whole


def assert_close(found: Any, expected: Any) -> None:
    """Everything of two reports, to 1e-9."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    else:
        assert found == expected


async def test_parts_are_reduced_to_what_one_reader_of_the_ledger_says(tmp_path: Path) -> None:
    log = await write_log(tmp_path)
    later, few = NOON + 3.2 * DAY, ("linucb-v1", "egreedy-v1")
    cases = (
        (build_spec(), None, None, 3, NAMES),
        (build_spec(interval="bootstrap"), later, None, 99, few),
        (build_spec(missing_reward=0.0), None, later, 2, few),
    )
    for spec, since, until, count, names in cases:
        schemas = [candidate.read_schema for candidate in build_candidates(names)]
        summary, results = log.evaluate_ledger(spec, names, since=since, until=until, frozen_since=since)
        sums = evaluate_in_parts(
            EventQuestion(spec=spec, since=since, until=until, frozen_since=since), log, count, names
        )
        expected, found = (
            build_report(
                "", spec, [PolicyResult(name, "", None, each) for name, each in zip(names, said, strict=True)], of
            )
            for said, of in ((results, summary), (sums.build_results(schemas), sums.summary))
        )
        assert_close(found, expected)


def test_a_row_of_sizes_is_cut_whole_and_in_order() -> None:
    for sizes in ([], [0, 0, 0], [1], [5, 0, 0, 9, 1, 1, 1], [1] * 20):
        for count in (1, 2, 3, 50):
            stretches = split_evenly(sizes, count)
            assert [place for stretch in stretches for place in stretch] == list(range(len(sizes)))
            assert len(stretches) <= max(count, 1)
