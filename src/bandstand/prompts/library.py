"""The prompt library: one file a version, ``<directory>/<name>/<version>.md``.

A file is TOML front matter between two lines of ``+++`` and a Jinja2 template with the blocks ``system`` and ``user``::

    +++
    version = "v1"
    description = "What sets it apart."
    [parameters]
    n = "how many tips to write"
    +++
    {% block system %}You write tips.{% endblock %}
    {% block user %}Write {{ n }}.{% endblock %}

Templates run sandboxed and strict: a value that is not there is an error, never an empty string. Faults are found when
a file is read, so that a broken file is named with its line and the others stay usable.
"""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bandstand.errors import ConfigurationError
from bandstand.prompts.errors import PromptError

_VERSION = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FENCE = "+++"
_BLOCKS = ("system", "user")
_KEYS = ("version", "description", "parameters")
_REFERENCE_DIGITS = 16
_JINJA: Environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
_RENDER_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
_SAFE_MESSAGE = re.compile(r"'[\w ]+' (is undefined|has no attribute '\w+')")
_TOO_DEEP = "is nested too deeply"
_TOML_LINE = re.compile(r"at line (\d+)")


class RenderedPrompt(NamedTuple):
    """The two messages that open a conversation."""

    system: str
    user: str


@dataclass(frozen=True, slots=True)
class BrokenPrompt:
    """A file that was left out: where (``generate/v1.md``, line from 1) and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One version of a prompt.

    Attributes:
        name: what it is for; its folder.
        version: its file's name, without the ending.
        description: what sets it apart.
        parameters: the values it needs, each with its meaning.
        text: the file, its line ends those of Unix.
        digest: SHA-256 of ``text`` in UTF-8, as 64 hex digits.
    """

    name: str
    version: str
    description: str
    parameters: Mapping[str, str]
    text: str
    digest: str
    template: Template

    @property
    def reference(self) -> str:
        """What a record that was made with it names: ``judge/v1@`` and the first 16 digits of the digest."""
        return f"{self.name}/{self.version}@{self.digest[:_REFERENCE_DIGITS]}"

    def render(self, values: Mapping[str, object]) -> RenderedPrompt:
        """Fill in ``values``; those the prompt does not name are not shown to it.

        Raises:
            PromptError: a value is missing, or the template asks something of a value that it cannot give.
        """
        given = {name: values[name] for name in self.parameters if name in values}
        try:
            return RenderedPrompt(*(self._render_part(block, given) for block in _BLOCKS))
        except _RENDER_ERRORS as error:
            # Jinja may quote a value, and that may be a user's text.
            safe_message = isinstance(error, UndefinedError) and _SAFE_MESSAGE.fullmatch(error.message or "")
            why = f": {safe_message[0]}" if safe_message else ""
            raise PromptError(f"The prompt {self.name}/{self.version} cannot be rendered{why}.") from error

    def _render_part(self, block: str, values: Mapping[str, object]) -> str:
        context = self.template.new_context(dict(values))
        return "".join(self.template.blocks[block](context)).strip()


class PromptLibrary:
    """Every prompt of a directory, as read at one moment; to reload is to load another library.

    Args:
        prompts: no two of the same name and version.
        broken: the files that were left out.
    """

    def __init__(self, prompts: Collection[Prompt], broken: Collection[BrokenPrompt] = ()) -> None:
        self._prompts = {(prompt.name, prompt.version): prompt for prompt in prompts}
        self.broken = tuple(broken)

    @classmethod
    def load(cls, directory: Path, *, offered: Mapping[str, Collection[str]] | None = None) -> "PromptLibrary":
        """Read every ``<name>/<version>.md`` below ``directory``.

        Args:
            directory: where the folders are; see :func:`prompts_directory`.
            offered: by prompt name, the values that will be given; a file that needs another is broken.

        Raises:
            ConfigurationError: the directory cannot be read.
        """
        prompts: list[Prompt] = []
        broken: list[BrokenPrompt] = []
        for path in _list_prompt_files(directory):
            name = path.parent.name
            try:
                prompts.append(_read_prompt(path, None if offered is None else offered.get(name)))
            except _BrokenFileError as error:
                broken.append(BrokenPrompt(f"{name}/{path.name}", error.line, error.reason))
        return cls(prompts, broken)

    def get(self, name: str, version: str) -> Prompt | None:
        """The prompt of that name and version, None if there is none."""
        return self._prompts.get((name, version))

    def list_versions(self, name: str) -> tuple[str, ...]:
        """The versions of a prompt, in order of their names."""
        return tuple(sorted(version for known, version in self._prompts if known == name))

    def list_names(self) -> tuple[str, ...]:
        """The names that have a version, in order."""
        return tuple(sorted({name for name, _ in self._prompts}))

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self._prompts[key] for key in sorted(self._prompts))

    def __len__(self) -> int:
        return len(self._prompts)


def prompts_directory() -> Path:
    """Where the shipped prompts are: inside the installed package, else at the top of the source tree.

    Raises:
        ConfigurationError: they are in neither place.
    """
    installed = Path(str(files("bandstand.prompts"))) / "shipped"
    source = Path(__file__).parents[3] / "prompts"
    for directory in (installed, source):
        if directory.is_dir():
            return directory
    raise ConfigurationError("The prompts that ship with bandstand are missing: install it again.")


class _BrokenFileError(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def _list_prompt_files(directory: Path) -> list[Path]:
    try:
        folders = sorted(entry for entry in directory.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        return [path for folder in folders for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
    except OSError as error:
        raise ConfigurationError(f"The prompts directory cannot be read: {error.strerror}.") from None


def _read_prompt(path: Path, offered: Collection[str] | None) -> Prompt:
    try:
        text = path.read_text("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _BrokenFileError(line, "is not UTF-8") from None
    except OSError as error:
        raise _BrokenFileError(1, f"cannot be read: {error.strerror}") from None
    lines = text.split("\n")
    front, body_line = _parse_front_matter(lines)
    for key in front:
        if key not in _KEYS:
            raise _BrokenFileError(_find_line(lines, key), f"there is no use for {key!r}; there is {', '.join(_KEYS)}")
    version = _get_string(front, "version", lines)
    if version != path.stem or not _VERSION.fullmatch(version):
        reason = f"version must be the file's name, {path.stem!r}, of a-z, 0-9, '.', '_' and '-'"
        raise _BrokenFileError(_find_line(lines, "version"), reason)
    parameters = _parse_parameters(front, lines)
    for name in parameters:
        if offered is not None and name not in offered:
            known = ", ".join(sorted(offered))
            raise _BrokenFileError(_find_line(lines, name), f"no value is offered for {name!r}; there is {known}")
    # Blank lines in place of the front matter keep Jinja's line numbers those of the file.
    body = "\n" * body_line + "\n".join(lines[body_line:])
    return Prompt(
        name=path.parent.name,
        version=version,
        description=_get_string(front, "description", lines),
        parameters=parameters,
        text=text,
        digest=sha256(text.encode()).hexdigest(),
        template=_build_template(body, frozenset(parameters)),
    )


def _parse_front_matter(lines: list[str]) -> tuple[dict[str, object], int]:
    if lines[0].strip() != _FENCE:
        raise _BrokenFileError(1, f"must begin with a line of {_FENCE}")
    end = next((index for index, line in enumerate(lines) if index and line.strip() == _FENCE), None)
    if end is None:
        raise _BrokenFileError(len(lines), f"the front matter is never closed with a line of {_FENCE}")
    try:
        return tomllib.loads("\n".join(["", *lines[1:end]])), end + 1
    except tomllib.TOMLDecodeError as error:
        found = _TOML_LINE.search(str(error))
        raise _BrokenFileError(int(found[1]) if found else end, f"the front matter is not TOML: {error}") from None
    except RecursionError:
        raise _BrokenFileError(_find_deepest_line("\n".join(lines[:end])), f"the front matter {_TOO_DEEP}") from None


def _get_string(front: Mapping[str, object], key: str, lines: list[str]) -> str:
    value = front.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _BrokenFileError(_find_line(lines, key), f"{key} must be a text")
    return value


def _parse_parameters(front: Mapping[str, object], lines: list[str]) -> Mapping[str, str]:
    parameters = front.get("parameters", {})
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        raise _BrokenFileError(_find_line(lines, "parameters"), "parameters must be a table of names and meanings")
    return MappingProxyType(parameters)


def _find_deepest_line(text: str) -> int:
    """The line with the most brackets: the parsers do not say where they gave up."""
    counts = [sum(map(line.count, "([{")) for line in text.split("\n")]
    return counts.index(max(counts)) + 1


def _find_line(lines: list[str], key: str) -> int:
    return next((number for number, line in enumerate(lines, 1) if line.lstrip(" [").startswith(key)), 1)


@lru_cache(maxsize=64)  # each taxonomy's judge and the tips read the same files, and so does every reload
def _build_template(body: str, parameters: frozenset[str]) -> Template:
    try:
        tree = _JINJA.parse(body)
        _check_tree(tree, parameters)
        return _JINJA.from_string(tree)
    except TemplateSyntaxError as error:
        raise _BrokenFileError(error.lineno, str(error.message)) from None
    except RecursionError:
        raise _BrokenFileError(_find_deepest_line(body), f"the template {_TOO_DEEP}") from None


def _check_tree(tree: nodes.Template, parameters: Collection[str]) -> None:
    for elsewhere in tree.find_all((nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        raise _BrokenFileError(elsewhere.lineno, "a prompt is one file: no extends, include or import")
    blocks = {node.name: node for node in tree.body if isinstance(node, nodes.Block)}
    for line, text in _iter_outside(tree):
        if text.strip():
            before = text[: len(text) - len(text.lstrip())].count("\n")
            raise _BrokenFileError(line + before, "text outside of the blocks would never be sent")
    for name, block in blocks.items():
        if name not in _BLOCKS:
            raise _BrokenFileError(block.lineno, f"there is no use for a block {name!r}")
    for name in _BLOCKS:
        if name not in blocks:
            raise _BrokenFileError(1, f"the block {name!r} is missing")
    for name in sorted(find_undeclared_variables(tree) - set(parameters)):
        line = next(node.lineno for node in tree.find_all(nodes.Name) if node.name == name and node.ctx == "load")
        raise _BrokenFileError(line, f"{name!r} is not among the parameters")


def _iter_outside(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """What stands outside of the blocks, with its line; code counts as a text that is not blank."""
    for node in tree.body:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                yield part.lineno, part.data if isinstance(part, nodes.TemplateData) else "code"
        elif not isinstance(node, nodes.Block):
            yield node.lineno, "code"
