"""The root package: what it offers, and what asking for nothing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import holdfast


def imports_for_checkers() -> dict[str, str]:
    """Name to module, as the `if TYPE_CHECKING:` block has them."""
    source = Path(holdfast.__file__).read_text()
    return {
        alias.name: node.module or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdfast.")
        for alias in node.names
    }


def test_the_names_are_these() -> None:
    """What users may import is decided here and not by accident."""
    assert sorted(holdfast.__all__) == sorted(imports_for_checkers())
    assert set(holdfast.__all__) <= set(dir(holdfast))


@pytest.mark.parametrize("name,module", imports_for_checkers().items())
def test_a_name_is_at_run_time_what_checkers_see(name: str, module: str) -> None:
    """The table and the imports name the same thing."""
    assert getattr(holdfast, name) is getattr(import_module(module), name)


def test_a_name_that_is_not_offered_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = holdfast.Nothing


def test_opening_the_door_loads_nothing() -> None:
    """A program that asks for nothing gets nothing."""
    program = "import sys, holdfast; print([name for name in sys.modules if name.startswith('holdfast.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "[]", done.stderr
