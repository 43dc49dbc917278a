"""The Kubernetes example against the schemas of the versions it is for.

`pip install kubernetes-validate` for it: a hundred megabytes of schemas, too many for everybody who runs tests.
"""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import pytest

MANIFEST = Path(__file__).parents[2] / "examples" / "kubernetes" / "shop.yaml"
validator: Any = pytest.importorskip("kubernetes_validate")
DOCUMENTS: list[dict[str, Any]] = list(importlib.import_module("yaml").safe_load_all(MANIFEST.read_text()))


@pytest.mark.parametrize("version", ["1.28", "1.32", "1.37"])
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document["kind"]))
def test_the_example_is_what_the_schema_wants(document: dict[str, Any], version: str) -> None:
    validator.validate(document, version, strict=True)


def test_a_misspelled_field_is_found_out() -> None:
    wrong = copy.deepcopy(DOCUMENTS[0])
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(validator.ValidationError, match="livenesProbe"):
        validator.validate(wrong, "1.32", strict=True)
