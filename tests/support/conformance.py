"""Conformance cases: tests that compare a form of file, request or argument with another library. docs/compatibility.md is generated from them.

    @pytest.mark.parametrize("shards", [case(3, form="sharded safetensors", where=("predict", "convert"), outcome="exact")])
    @conforms(form="vocab.txt with a byte-order mark", where="load", outcome="exact", section="tokenizers")

Use the same words for the same form; tools/compatibility.py makes one row of the page out of them.
"""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

import pytest

Outcome = Literal["exact", "refused"]
Section = Literal["weights", "tokenizers", "tables", "clients"]


def conforms(*, form: str, where: str | tuple[str, ...], outcome: Outcome, section: Section = "weights") -> pytest.MarkDecorator:
    """The mark of a test.

    form: the form of file, request or argument in a few words.
    where: the command or interface that reads it ("predict", "pretrain --init", "pipeline", "HTTP", "load"), or several.
    outcome: "exact" where the answer equals that of the form's own library, "refused" where it is an error that names the field.
    section: "tables" are tables, tags and text files; "clients" are Python pipelines and other people's clients of the server.
    """
    places = (where,) if isinstance(where, str) else where
    if outcome not in ("exact", "refused") or section not in get_args(Section) or not form or not places:
        raise ValueError(f"conformance case {form!r}: outcome {outcome!r}, section {section!r}, where {where!r}")
    return pytest.mark.conformance(form=form, where=places, outcome=outcome, section=section)


def case(*values: Any, form: str, where: str | tuple[str, ...], outcome: Outcome, section: Section = "weights", marks: Any = ()) -> Any:
    """A parameter set of `pytest.mark.parametrize` with the mark of `conforms` and the form as its id; `marks`: further marks."""
    mark = conforms(form=form, where=where, outcome=outcome, section=section)
    more = (marks,) if isinstance(marks, pytest.MarkDecorator) else tuple(marks)
    return pytest.param(*values, id=re.sub(r"[\[\]:]+", "", form).strip(), marks=(mark, *more))
