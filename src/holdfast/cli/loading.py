"""From `module:attribute` to the App that stands there."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType, TracebackType

from holdfast.errors import ConfigurationError
from holdfast.runtime.app import App


def require_extra(extra: str, module: str) -> None:
    """Raises ConfigurationError where a module is missing that an extra brings."""
    if importlib.util.find_spec(module) is None:
        raise ConfigurationError(f"this needs more than is installed: pip install 'holdfast[{extra}]'")


def load_app(target: str) -> App:
    """Imports the module, from the working directory too. Raises ConfigurationError with what to change."""
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{target!r} names no App: write module:attribute, such as shop:app")
    found: object = _import(module_name)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(f"{module_name} has no {attribute!r}{_hint(sys.modules[module_name])}") from None
    if not isinstance(found, App):
        raise ConfigurationError(f"{target} is {_described(found)}, not a holdfast App")
    return found


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error  # the module is there; something that it imports is not
        raise ConfigurationError(f"there is no module {error.name!r} (looked in {here} and sys.path)") from None
    except Exception as error:
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> ConfigurationError:
    """The user's own code raised: what it says is in its traceback, from its first own line on."""
    lines = traceback.format_exception(type(error), error, _own(error.__traceback__))
    return ConfigurationError(f"{name} can't be imported\n{''.join(lines).rstrip()}")


def _own(trace: TracebackType | None) -> TracebackType | None:
    own = trace
    while own is not None and (own.tb_frame.f_code.co_filename == __file__ or "importlib" in _file(own)):
        own = own.tb_next
    return own


def _file(trace: TracebackType) -> str:
    return trace.tb_frame.f_code.co_filename


def _hint(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, App)]
    return f"; it has the App {module.__name__}:{names[0]}" if names else ""


def _described(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
