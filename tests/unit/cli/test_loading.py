"""`module:attribute` leads to the App, or to a sentence that says what to change."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.loading import load_app
from holdfast.errors import ConfigurationError

PROGRAM = """
from holdfast import App
class Holder:
    app = App("inner")
app = App("outer")
number = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; what it adds to the interpreter is taken back."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("loading_"):
            del sys.modules[name]


def refusal(target: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_app(target)
    return str(refused.value)


def test_an_app_in_the_working_directory_is_found(here: Path) -> None:
    """Also below another attribute."""
    (here / "loading_shop.py").write_text(PROGRAM)
    assert load_app("loading_shop:app").name == "outer"
    assert load_app("loading_shop:Holder.app").name == "inner"


@pytest.mark.parametrize("target", ["loading_shop", ":app", "loading_shop:", ""])
def test_what_names_no_attribute_is_told_how_to_write_it(target: str) -> None:
    """The form is in the message."""
    assert "module:attribute, such as shop:app" in refusal(target)


def test_a_missing_module_is_named_with_where_it_was_looked_for(here: Path) -> None:
    """The working directory is part of the search."""
    assert refusal("loading_nowhere:app").startswith(f"there is no module 'loading_nowhere' (looked in {here}")


def test_a_missing_attribute_comes_with_the_app_that_is_there(here: Path) -> None:
    """The most common slip is the name."""
    (here / "loading_shop.py").write_text(PROGRAM)
    assert refusal("loading_shop:shop") == "loading_shop has no 'shop'; it has the App loading_shop:app"


def test_something_that_is_no_app_is_described(here: Path) -> None:
    """A value by its type, a class by its name."""
    (here / "loading_shop.py").write_text(PROGRAM)
    assert refusal("loading_shop:number") == "loading_shop:number is of type int, not a holdfast App"
    assert "the class Holder" in refusal("loading_shop:Holder")


def test_an_error_in_the_users_module_is_shown_with_its_own_lines(here: Path) -> None:
    """Their traceback, without ours and the import system's above it."""
    (here / "loading_broken.py").write_text("import loading_inner\n")
    (here / "loading_inner.py").write_text("import a_package_that_is_not_there\n")
    text = refusal("loading_broken:app")
    assert "loading_broken can't be imported" in text
    assert "loading_inner.py" in text and "a_package_that_is_not_there" in text
    assert "importlib" not in text and "loading.py" not in text.replace("loading_", "")


def test_a_module_that_does_not_parse_is_shown_where(here: Path) -> None:
    """File and line, as Python says it."""
    (here / "loading_broken.py").write_text("def (:\n")
    text = refusal("loading_broken:app")
    assert "SyntaxError" in text and "loading_broken.py" in text
