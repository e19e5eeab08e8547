"""Write what the client need not say twice: the answers, from ``docs/openapi.json``, and the calls for event loops.

    python clients/python/tools/write_client.py [--check]

``--check`` writes nothing, and fails where a file is not what it would be. Both need ruff, for the form.
"""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from answer_examples import EXAMPLES

CLIENT = Path(__file__).resolve().parents[1]
PACKAGE = CLIENT / "src" / "bandstand_client"
OPENAPI = CLIENT.parents[1] / "docs" / "openapi.json"

# By module, what the interface calls an answer and what the client does.
ANSWERS: dict[str, dict[str, str]] = {
    "sight": {
        "UserStats": "UserStats",
        "Scoring": "LoggedDecision",
        "History": "History",
        "FeatureContribution": "FeatureContribution",
        "Explanation": "CandidateExplanation",
        "Considered": "ConsideredCandidate",
        "DecisionTurn": "DecisionTurn",
        "TipSource": "TipSource",
        "RewardTaken": "LoggedReward",
        "ShadowPick": "ShadowPick",
        "Receipt": "Receipt",
        "Activated": "Activation",
        "HealthWarning": "HealthWarning",
        "SharedLedgerHealth": "SharedLedgerHealth",
        "Health": "Health",
        "Ready": "Ready",
    },
    "loop": {
        "Delays": "Delays",
        "Exploration": "ExplorationCheck",
        "Weight": "WeightCheck",
        "LikeliestPicked": "DrawCheck",
        "Condition": "LoopCondition",
        "LoopDay": "LoopDay",
        "LoopDrift": "LoopDrift",
        "Loop": "LoopHealth",
    },
    "gains": {
        "Valued": "Estimate",
        "GainOverTarget": "GainOverTarget",
        "Gain": "GainOfSpan",
        "GainOfDay": "GainOfDay",
        "Gains": "GainReport",
        "ArmResult": "ArmResult",
        "ReadoutDay": "ReadoutDay",
        "ArmsReadout": "ArmsReadout",
        "HoldoutStanding": "Holdout",
    },
    "stats": {
        "PolicyStats": "PolicyStats",
        "ArmStanding": "ExperimentArm",
        "ExperimentStanding": "Experiment",
        "ShadowStanding": "ShadowPolicy",
        "JudgeSpending": "JudgeSpending",
        "TurnCoverage": "TurnCoverage",
        "JudgeCoverage": "JudgeCoverage",
        "MemoryScore": "MemoryScore",
        "MemoryStanding": "PolicyMemory",
        "UnreadFeature": "UnreadFeature",
        "ReadFeature": "ReadFeature",
        "Contrast": "PolicyContrast",
        "OpenTokens": "OpenTokens",
        "FeatureStats": "FeatureStats",
        "MetricAverage": "MetricAverage",
        "MetricStanding": "MetricStanding",
        "DeploymentStats": "DeploymentStats",
    },
    "policies": {
        "ActivePolicy": "ActivePolicy",
        "Change": "PolicyChange",
        "PolicyEntry": "PolicyEntry",
        "Policies": "Policies",
    },
    "operators": {
        "Ok": "Ok",
        "Erased": "Erasure",
        "User": "KnownUser",
        "Users": "Users",
        "PassedOver": "PassedOver",
        "OutOfReach": "OutOfReach",
        "Revocation": "Revocation",
        "Selected": "RevocationSelection",
        "Undone": "RevocationRecord",
        "Revocations": "Revocations",
        "TableApplied": "ReactionTableUsed",
        "Reapplication": "ReactionsReapplied",
    },
    "generation": {
        "Tip": "Tip",
        "GenerateResponse": "Generation",
        "RecommendResponse": "Recommendation",
        "PromptEntry": "PromptEntry",
        "BrokenFile": "BrokenPrompt",
        "PromptList": "PromptList",
        "PromptText": "PromptText",
        "VersionStats": "PromptVersionStats",
        "PromptStats": "PromptStats",
    },
    "opinions": {
        "JudgementOfTurn": "TurnJudgement",
        "JudgeResponse": "TurnJudgements",
        "FeedbackResponse": "FeedbackClassification",
        "ArbitrateResponse": "Arbitration",
    },
    "judgements": {
        "JudgementEntry": "JudgementEntry",
        "Concluded": "JudgementStep",
        "Judgement": "Judgement",
        "JudgementPage": "JudgementPage",
        "Retried": "RetriedJudgements",
        "Reapplied": "ReappliedJudgements",
    },
    "simulations": {
        "Progress": "RunProgress",
        "Simulation": "Simulation",
        "SimulationList": "SimulationList",
        "SimulationResult": "SimulationResult",
    },
    "evaluations": {
        "Evaluation": "Evaluation",
        "EvaluationList": "EvaluationList",
        "EvaluationResult": "EvaluationResult",
    },
}
HERE = {"Ranked": "RankedCandidate"}  # written by hand, beside the calls that a product makes all day
BY_HAND = {"Ranked", "RewardResponse", "ScoreResponse", "TurnTaken", "UnscoredReason", "Problem", "Fault"}
NOT_ASKED = {
    "LoopState",
    "LoopList",
    "LoopEvent",
    "LoopDetail",
    "SlotPick",
    "Launch",
    "LaunchChange",
    "NewestLaunch",
    "ShownDecisions",
    "ShownDecision",
    "ShownCandidate",
    "Picks",
    "PickShares",
    "PickShare",
}
"""Of what the client does not ask for: loops, launches, searches are an operator's; a client has a loop's address."""
NAMES = {wire: name for names in ANSWERS.values() for wire, name in names.items()} | HERE
DOCS = {
    "sight": "What the service knows of users, decisions and itself.",
    "loop": "The health of the learning loop.",
    "stats": "The numbers of a whole deployment.",
    "gains": "Whether it pays: what is earned beside what else could have been.",
    "policies": "Which policies there are, and which one is active.",
    "operators": "What operators are answered.",
    "generation": "Tips and the prompts that write them.",
    "opinions": "What the judge said when it was asked.",
    "judgements": "What became of turns.",
    "simulations": "Policies against personas.",
    "evaluations": "Policies on the log.",
}
NOTE = "Written by ``tools/write_client.py`` from the service's ``openapi.json``."
TRIPLE = '"""'
COPY_NOTE = "Written by ``tools/write_client.py`` from ``areas``."
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def find_type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """The annotation of a field."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return find_type(schemas[name], schemas) if "enum" in schemas[name] else NAMES[name]
    if "anyOf" in schema:
        return " | ".join(
            "None" if each.get("type") == "null" else find_type(each, schemas) for each in schema["anyOf"]
        )
    if "enum" in schema:
        return f"Literal[{', '.join(json.dumps(value) for value in schema['enum'])}]"
    if schema.get("type") == "array":
        return f"tuple[{find_type(schema['items'], schemas)}, ...]"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"Mapping[str, {find_type(values, schemas) if isinstance(values, dict) else 'Any'}]"
    return SCALARS[schema["type"]]


def write_class(wire: str, name: str, schemas: dict[str, Any]) -> str:
    """One answer as a frozen dataclass."""
    schema = schemas[wire]
    described = [(field, each["description"]) for field, each in schema["properties"].items() if "description" in each]
    lines = [f"@dataclass(frozen=True, kw_only=True)\nclass {name}(Answer):"]
    lines.append(f'    """{schema["description"]}')
    if described:
        lines += ["", "    Attributes:"]
        for field, text in described:
            words = f"{field}: {text[0].lower() if text[1:2].islower() else text[0]}{text[1:].rstrip('.')}."
            lines.append(textwrap.fill(words, 120, initial_indent=" " * 8, subsequent_indent=" " * 12))
    lines += ["", "    Example:", *write_example(EXAMPLES[name]), '    """', ""]
    for field, each in schema["properties"].items():
        hint = find_type(each, schemas)
        optional = " | None" in f" | {hint}" or field not in schema.get("required", [])
        if optional and "None" not in hint:
            hint += " | None"
        lines.append(f"    {field}: {hint}{' = None' if optional else ''}")
    return "\n".join(lines)


def write_example(example: list[str]) -> list[str]:
    """The lines of a doctest."""
    written = []
    for line in example:
        code, _, value = line.partition("  # -> ")
        written.append(f"        >>> {code}")
        if value:
            written.append(f"        {value}")
    return written


def write_answers() -> dict[Path, str]:
    """All modules of answers, and the package that finds them."""
    schemas = json.loads(OPENAPI.read_text("utf-8"))["components"]["schemas"]
    answers = {name for name in schemas if not name.endswith("Request")}
    files = {}
    for module, names in ANSWERS.items():
        classes = [write_class(wire, name, schemas) for wire, name in names.items()]
        body = "\n\n\n".join(classes)
        typed = [name for name in ("Any", "Literal") if re.search(rf"\b{name}\b", body)]
        head = [f'"""{DOCS[module]}', "", NOTE, '"""', "", "from __future__ import annotations", ""]
        head += ["from collections.abc import Mapping"] * ("Mapping[" in body) + ["from dataclasses import dataclass"]
        head += [f"from typing import {', '.join(typed)}"] * bool(typed)
        head += [""]
        for other, others in ANSWERS.items():
            used = [name for name in others.values() if re.search(rf"\b{name}\b", body)]
            if other != module and used:
                head += [f"from bandstand_client.answers.{other} import {', '.join(used)}"]
        head += ["from bandstand_client.learning_answers import RankedCandidate"] * ("RankedCandidate" in body)
        head += ["from bandstand_client.reading import Answer"]
        files[PACKAGE / "answers" / f"{module}.py"] = "\n".join(head) + "\n\n\n" + body + "\n"
    files[PACKAGE / "answers" / "__init__.py"] = write_answers_package()
    unknown = answers - set(NAMES) - BY_HAND - NOT_ASKED - find_parts_of_requests(schemas)
    if unknown:
        raise SystemExit(f"The interface has answers that the client has no name for: {sorted(unknown)}")
    return files


def find_parts_of_requests(schemas: dict[str, Any]) -> set[str]:
    """Schemas that only requests are made of."""

    def find_parts(name: str) -> set[str]:
        parts = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schemas[name])))
        return parts.union(*map(find_parts, parts))

    return set[str]().union(*(find_parts(name) for name in schemas if name.endswith("Request")))


def write_answers_package() -> str:
    """The package: types see all classes, a program imports the module of what it uses."""
    names = {name: module for module, names in ANSWERS.items() for name in names.values()}
    imports = "\n".join(
        f"    from bandstand_client.answers.{module} import {', '.join(sorted(each.values()))}"
        for module, each in sorted(ANSWERS.items())
    )
    listed = "\n".join(f'    "{name}",' for name in sorted(names))
    table = "\n".join(f'    "{name}": "{names[name]}",' for name in sorted(names))
    return f'''"""The answers of the service, as frozen dataclasses; a module is imported when something of it is used.

{NOTE}
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
{imports}

__all__ = [
{listed}
]

_MODULES = {{
{table}
}}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    return getattr(import_module(f"{{__name__}}.{{_MODULES[name]}}"), name)
'''


def write_async_areas() -> dict[Path, str]:
    """The areas again, for event loops."""
    files = {}
    for path in sorted((PACKAGE / "areas").glob("*.py")):
        text = path.read_text("utf-8")
        text = re.sub(r"^    def ", "    async def ", text, flags=re.MULTILINE)
        text = text.replace("return self.send(", "return await self.send(")
        text = re.sub(r"return await self\.send\((.*)\)\.(judgements\S*)\n", r"return (await self.send(\1)).\2\n", text)
        text = re.sub(r"class (\w+)\(Sender\)", r"class Async\1(AsyncSender)", text)
        text = text.replace("areas.sender import Sender", "aio_areas.sender import AsyncSender")
        text = text.replace("class Sender:", "class AsyncSender:")
        text = re.sub(r"^ +(?:>>>|\.\.\.) .*$", lambda line: write_awaiting(line[0]), text, flags=re.MULTILINE)
        text = text.replace("``aio_areas`` holds", "``areas`` holds").replace("for event loops", "for threads")
        first, rest = text.split("\n", 1)
        text = f"{first.removesuffix(TRIPLE)}\n\n{COPY_NOTE}\n{TRIPLE}\n{rest}"
        files[PACKAGE / "aio_areas" / path.name] = text
    return files


_CALL = re.compile(r"\b(?:client|decision|product)\.(?!decision\()\w+\(")
_VIA = re.compile(r"\bclient\.decision\((?:[^()]|\([^()]*\))*\)\.\w+\(")


def write_awaiting(line: str) -> str:
    """A line of an example, with each call of the client awaited."""
    start, result = 0, ""
    while match := (_VIA.search(line, start) or _CALL.search(line, start)):
        end = find_end(line, match.end())
        result += line[start : match.start()]
        call = f"await {match[0]}{line[match.end() : end]}"
        chained = re.match(r"\.(reward|turn|react|get_receipt)\(", line[end:])
        if chained:
            rest_end = find_end(line, end + chained.end())
            call, end = f"await ({call}){line[end:rest_end]}", rest_end
        whole = not result.removesuffix(">>> ").strip() or result.endswith("= ")
        result += call if whole and end == len(line) else f"({call})"
        start = end
    return result + line[start:]


def find_end(line: str, start: int) -> int:
    """Where the parenthesis closes that opened just before ``start``."""
    depth = 1
    for index in range(start, len(line)):
        depth += {"(": 1, ")": -1}.get(line[index], 0)
        if not depth:
            return index + 1
    raise SystemExit(f"A call of an example must end on its line: {line}")


def format_source(text: str, path: Path) -> str:
    """Ruff's form."""
    ruff = [sys.executable, "-m", "ruff"]
    fixed = subprocess.run(  # noqa: S603 (our own words)
        [*ruff, "check", "--select", "I,F401", "--fix", "--quiet", "--exit-zero", "--stdin-filename", str(path), "-"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        cwd=CLIENT,
    ).stdout
    return subprocess.run(  # noqa: S603 (the same)
        [*ruff, "format", "--quiet", "--stdin-filename", str(path), "-"],
        input=fixed,
        capture_output=True,
        text=True,
        check=True,
        cwd=CLIENT,
    ).stdout


def main(words: list[str]) -> None:
    """Write, or with ``--check`` compare."""
    files = {path: format_source(text, path) for path, text in (write_answers() | write_async_areas()).items()}
    stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    if words == ["--check"]:
        if stale:
            raise SystemExit(
                f"Run clients/python/tools/write_client.py: not up to date: {', '.join(p.name for p in stale)}"
            )
        return
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path], "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
