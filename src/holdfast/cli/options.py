"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Store = Annotated[str | None, Parameter(help="URL of the store; else HOLDFAST_STORE, else pyproject.toml.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="One JSON document instead of text.")]
Limit = Annotated[int, Parameter(help="At most so many.")]
TypeName = Annotated[str | None, Parameter(name="--type", help="Only of this job type or entity type.")]
