"""docs/generate.md says what is so."""

import re
import subprocess
import sys
from pathlib import Path

import bandstand.generate.errors
from bandstand.errors import BandstandError
from bandstand.generate.generator import PARAMETERS
from bandstand.prompts.library import PromptLibrary
from tests.generate.given import SHIPPED

DOCS = (Path(__file__).parents[2] / "docs" / "generate.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)


def test_the_example_prints_what_the_page_says() -> None:
    (_, program), (_, output) = BLOCKS[:2]
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == output


def test_the_example_prompt_loads(tmp_path: Path) -> None:
    (tmp_path / "generate").mkdir()
    (tmp_path / "generate" / "v4-terse.md").write_text(BLOCKS[2][1], "utf-8")
    library = PromptLibrary.load(tmp_path, offered={"generate": PARAMETERS})
    assert library.broken == ()
    assert library.list_versions("generate") == ("v4-terse",)


def test_every_version_parameter_and_error_is_documented() -> None:
    for version in SHIPPED.list_versions("generate"):
        assert f"| `{version}` |" in DOCS
    for parameter, meaning in PARAMETERS.items():
        assert f"| `{parameter}` | {meaning} |" in DOCS
    for name, value in vars(bandstand.generate.errors).items():
        if isinstance(value, type) and issubclass(value, BandstandError) and value is not BandstandError:
            assert f"`{name}`" in DOCS
