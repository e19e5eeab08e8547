"""What changed, day by day: promotions, launches, memories, definitions and resets, as marks and in tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bandstand.service.context import ServiceContext
from bandstand.service.gain import format_day
from bandstand.store.tables.console_queries import ConsoleSource, DefinitionRow
from bandstand.store.tables.launches import LaunchEvent

_SECONDS_PER_DAY = 86_400
MAX_MARKED_DAYS = 366
"""Days in a curve with marks, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayMark:
    """Something that changed on a day.

    Attributes:
        day: in UTC.
        label: in a word or two, for a figure; empty for changes that are too frequent to mark there.
        words: what happened.
    """

    day: str
    label: str
    words: str


async def load_marks(deployment: ServiceContext, sight: ConsoleSource) -> list[DayMark]:
    """Everything that may bend a curve, the oldest first."""
    found: list[tuple[float, str, str]] = []
    for each in deployment.promotions:
        policy = each.policy or deployment.default_policy
        found.append((each.ts, policy, f"{policy} became the active policy"))
    found += [(event.ts, *_describe_event(event)) for event in deployment.launches]
    for change in await deployment.store.list_memory_changes():
        found.append((change.ts, f"{change.policy}: memory", f"what counts of the past changed for {change.policy}"))
    found += [
        (float(day * _SECONDS_PER_DAY), label, words)
        for day, label, words in _list_definition_changes(await sight.list_definitions(MAX_MARKED_DAYS))
    ]
    for day, users in (await sight.count_resets()).items():
        several = "a user was reset" if users == 1 else f"{users:,} users were reset"
        found.append((float(day * _SECONDS_PER_DAY), "", several))
    return [
        DayMark(day=format_day(int(ts // _SECONDS_PER_DAY)), label=label, words=words)
        for ts, label, words in sorted(found)
    ]


def _list_definition_changes(definitions: Sequence[DefinitionRow]) -> Iterator[tuple[int, str, str]]:
    """Days on which a policy went on under another schema, or other parameters: the day, a label, the words."""
    known: dict[str, DefinitionRow] = {}
    for each in definitions:
        before = known.get(each.policy)
        known[each.policy] = each
        if before is None:
            continue
        if (before.schema, before.schema_hash) != (each.schema, each.schema_hash):
            yield each.day, f"{each.policy}: schema", f"{each.policy} went on under a changed schema, {each.schema}"
        elif before.policy_hash != each.policy_hash:
            yield each.day, f"{each.policy}: settings", f"{each.policy} went on with other parameters"


def _describe_event(event: LaunchEvent) -> tuple[str, str]:
    policy, share = event.plan.policy, f"{event.share:g} %"
    match event.action:
        case "start" | "advance" | "resume":
            return f"{policy} {share}", f"the launch of {policy} came to {share} of the users"
        case "finish":
            return f"{policy} 100 %", f"the launch of {policy} reached everybody"
        case "hold":
            return f"{policy} held", f"the launch of {policy} was held at {share}"
        case "rollback":
            return f"{policy} back", f"the launch of {policy} was rolled back: {event.reason}"
        case "cancel":
            return f"{policy} ended", f"the launch of {policy} was cancelled"
