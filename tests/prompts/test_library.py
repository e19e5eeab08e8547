"""The prompt library: what loads, what is refused and where, what a prompt may do."""

import hashlib
from pathlib import Path

import pytest

from bandstand.errors import ConfigurationError
from bandstand.prompts import library
from bandstand.prompts.errors import PromptError
from bandstand.prompts.library import Prompt, PromptLibrary, prompts_directory

GOOD = """+++
version = "v1"
description = "Good."

[parameters]
n = "how many"
+++
{% block system %}
Be good.
{% endblock %}
{% block user %}Write {{ n }}.{% endblock %}
"""


def write(directory: Path, text: str | bytes, file: str = "generate/v1.md") -> None:
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def get_only(library: PromptLibrary) -> Prompt:
    (prompt,) = library
    return prompt


def test_a_prompt_is_its_file(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    prompt = get_only(PromptLibrary.load(tmp_path))
    assert (prompt.name, prompt.version, prompt.description) == ("generate", "v1", "Good.")
    assert dict(prompt.parameters) == {"n": "how many"}
    assert prompt.text == GOOD
    assert prompt.digest == hashlib.sha256(GOOD.encode()).hexdigest()
    assert prompt.render({"n": 3, "other": "unseen"}) == ("Be good.", "Write 3.")


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace("\n", "\r\n"), "judge/v1.md")
    write(tmp_path, GOOD.replace("good.", "better."), "other/v1.md")
    generate, judge, other = PromptLibrary.load(tmp_path)
    assert generate.digest == judge.digest != other.digest


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path: Path) -> None:
    write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())
    assert get_only(PromptLibrary.load(tmp_path)).text == GOOD


def test_names_are_folders_and_versions_their_files(tmp_path: Path) -> None:
    for file in ("generate/v2.md", "generate/v1.md", "judge/v1.md"):
        write(tmp_path, GOOD.replace('"v1"', f'"{Path(file).stem}"'), file)
    for ignored in ("generate/README.md", "generate/notes.txt", ".git/v1.md", "v1.md"):
        write(tmp_path, "not a prompt", ignored)
    library = PromptLibrary.load(tmp_path)
    assert library.list_names() == ("generate", "judge")
    assert library.list_versions("generate") == ("v1", "v2")
    assert library.list_versions("nobody") == ()
    assert [(prompt.name, prompt.version) for prompt in library] == [
        ("generate", "v1"),
        ("generate", "v2"),
        ("judge", "v1"),
    ]
    assert len(library) == 3
    assert library.broken == ()
    assert library.get("judge", "v2") is None


def test_loading_again_gives_another_library_and_leaves_the_first(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    first = PromptLibrary.load(tmp_path)
    write(tmp_path, GOOD.replace("Write", "Draft"))
    assert get_only(PromptLibrary.load(tmp_path)).render({"n": 1}).user == "Draft 1."
    assert get_only(first).render({"n": 1}).user == "Write 1."


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "must begin"),
        ("hello\n" + GOOD, 1, "must begin"),
        ("+++\nversion = 'v1'\n", 3, "never closed"),
        (GOOD.replace('"Good."', "Good."), 3, "not TOML"),
        (GOOD.replace('description = "Good."', ""), 1, "description must be"),
        (GOOD.replace('"Good."', "7"), 3, "description must be"),
        (GOOD.replace('"v1"', '"v2"'), 2, "version must be"),
        (GOOD.replace('n = "how many"', "n = 3"), 5, "parameters must be"),
        (GOOD.replace("[parameters]", "[parameter]"), 5, "no use for 'parameter'"),
        (GOOD.replace("{{ n }}", "{{ n }"), 11, "unexpected"),
        (GOOD.replace("{{ n }}", "{{ m }}"), 11, "'m' is not among"),
        (GOOD.replace("{{ n }}", "{{ n | frobnicate }}"), 11, "frobnicate"),
        (GOOD.replace("{{ n }}", "{% include 'x' %}"), 11, "one file"),
        ('+++\nversion = "v1"\ndescription = "x"\n+++\n{% extends "x" %}\n', 5, "one file"),
        (GOOD.replace("block system", "block sytsem"), 8, "no use for a block 'sytsem'"),
        (GOOD.partition("{% block user")[0], 1, "'user' is missing"),
        (GOOD + "\nAlso this.\n", 13, "outside of the blocks"),
        (GOOD + "{% if n %}x{% endif %}", 12, "outside of the blocks"),
        (GOOD + "{{ n }}", 12, "outside of the blocks"),
        (GOOD.replace("{{ n }}", "{{ " + "(" * 3000 + "n" + ")" * 3000 + " }}"), 11, "too deeply"),
        (GOOD.replace("[parameters]", "x = " + "[" * 5000 + "]" * 5000 + "\n[parameters]"), 5, "too deeply"),
        (GOOD.replace("Be good.", "Be g\xff".encode("latin-1").decode("latin-1")).encode("latin-1"), 9, "not UTF-8"),
    ],
)
def test_a_broken_file_is_named_with_its_line_and_the_others_load(
    tmp_path: Path, text: str | bytes, line: int, reason: str
) -> None:
    write(tmp_path, text)
    write(tmp_path, GOOD.replace('"v1"', '"v2"'), "generate/v2.md")
    library = PromptLibrary.load(tmp_path)
    (broken,) = library.broken
    assert (broken.file, broken.line) == ("generate/v1.md", line)
    assert reason in broken.reason
    assert str(broken).startswith(f"generate/v1.md, line {line}: ")
    assert library.list_versions("generate") == ("v2",)


@pytest.mark.parametrize("stem", ["V1", "v 1", "-v1", "ä"])
def test_a_version_must_be_fit_for_a_url(tmp_path: Path, stem: str) -> None:
    write(tmp_path, GOOD.replace('"v1"', f'"{stem}"'), f"generate/{stem}.md")
    assert "version must be" in PromptLibrary.load(tmp_path).broken[0].reason


def test_a_parameter_that_nobody_offers_is_found_when_loading(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD, "judge/v1.md")
    library = PromptLibrary.load(tmp_path, offered={"generate": {"tasks"}})
    assert library.list_names() == ("judge",)
    (broken,) = library.broken
    assert (broken.line, broken.reason) == (6, "no value is offered for 'n'; there is tasks")


def test_an_unreadable_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "generate" / "v1.md").mkdir(parents=True)
    assert "cannot be read" in PromptLibrary.load(tmp_path).broken[0].reason


def test_a_missing_directory_ends_start_up(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        PromptLibrary.load(tmp_path / "nowhere")


def test_a_missing_value_is_an_error_and_never_empty(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(PromptError, match="generate/v1 cannot be rendered: 'n' is undefined"):
        get_only(PromptLibrary.load(tmp_path)).render({})


@pytest.mark.parametrize(
    "expression",
    [
        "n.__class__.__mro__[1].__subclasses__()",
        "n.nothing.more",
        "n + 'x'",
        "n // 0",
        "'x'.nothing()",
        "range(999999)",
        "cycler.__init__.__globals__.os.popen('id').read()",
        "lipsum.__globals__",
        "'{0.__class__.__mro__}'.format(n)",
        "n | attr('__class__') | list",
        "n | xmlattr",
        "'a' * 10 ** 14",
        "self.user()",
    ],
)
def test_templates_are_sandboxed_and_their_failures_typed(tmp_path: Path, expression: str) -> None:
    write(tmp_path, GOOD.replace("{{ n }}", f"{{{{ {expression} }}}}"))
    with pytest.raises(PromptError):
        get_only(PromptLibrary.load(tmp_path)).render({"n": 3})


def test_a_failure_quotes_no_value(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("{{ n }}", "{{ n[n] }}"))
    with pytest.raises(PromptError) as caught:
        get_only(PromptLibrary.load(tmp_path)).render({"n": "<tasks>my secret</tasks>"})
    assert caught.value.detail == "The prompt generate/v1 cannot be rendered."


def test_a_rendered_value_is_text_and_no_template(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert get_only(PromptLibrary.load(tmp_path)).render({"n": "{{ 7 * 7 }}"}).user == "Write {{ 7 * 7 }}."


class TestShipped:
    def test_all_versions_of_the_contract_are_there_and_whole(self) -> None:
        library = PromptLibrary.load(prompts_directory())
        assert library.broken == ()
        assert {"v1", "v2-mentor", "v3-few-shot"} <= set(library.list_versions("generate"))

    def test_the_installed_copy_comes_before_the_source_tree(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = prompts_directory()
        monkeypatch.setattr(library, "files", lambda _package: tmp_path)
        assert prompts_directory() == source
        (tmp_path / "shipped").mkdir()
        assert prompts_directory() == tmp_path / "shipped"

    def test_an_installation_without_prompts_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "files", lambda _package: tmp_path)
        monkeypatch.setattr(library, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
        with pytest.raises(ConfigurationError, match="missing"):
            prompts_directory()
