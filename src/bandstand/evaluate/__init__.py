"""Off-policy evaluation: what another policy would have earned, from the log of the one that ran."""

from bandstand.evaluate.errors import EvaluationError
from bandstand.evaluate.estimators.accumulator import Accumulator, Estimate, IntervalOptions
from bandstand.evaluate.estimators.formulas import FORMULAS, Formula, Parameter
from bandstand.evaluate.estimators.functions import (
    clipped_dr,
    clipped_ips,
    dm,
    dr,
    dr_os,
    ips,
    replay,
    sg_ips,
    sndr,
    snips,
    switch_dr,
)
from bandstand.evaluate.estimators.logged_rows import LoggedRows

__all__ = [
    "FORMULAS",
    "Accumulator",
    "Estimate",
    "EvaluationError",
    "Formula",
    "IntervalOptions",
    "LoggedRows",
    "Parameter",
    "clipped_dr",
    "clipped_ips",
    "dm",
    "dr",
    "dr_os",
    "ips",
    "replay",
    "sg_ips",
    "sndr",
    "snips",
    "switch_dr",
]
