"""Just enough of a Dockerfile to run what it says without an engine."""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction with its flags taken off: ``COPY --from=build a b`` is COPY, {"from": "build"}, "a b"."""

    name: str
    flags: dict[str, str]
    words: str

    @property
    def command(self) -> list[str]:
        """The exec form, as of RUN, CMD and of HEALTHCHECK after its CMD."""
        parsed = json.loads(self.words.removeprefix("CMD "))
        assert isinstance(parsed, list)
        return [str(word) for word in parsed]

    @property
    def parse_pairs(self) -> dict[str, str]:
        """The variables of ENV."""
        return dict(word.split("=", 1) for word in shlex.split(self.words))


def read_dockerfile(path: Path) -> list[list[Instruction]]:
    """Split a Dockerfile into its stages, each a list of instructions that starts with its FROM."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    stages: list[list[Instruction]] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            instruction = _parse(line)
            if instruction.name == "FROM":
                stages.append([])
            stages[-1].append(instruction)
    return stages


def _parse(line: str) -> Instruction:
    name, words = line.split(None, 1)
    flags = {}
    while words.startswith("--"):
        flag, words = words.split(None, 1)
        key, value = flag.removeprefix("--").split("=", 1)
        flags[key] = value
    return Instruction(name, flags, words)
