"""The examples in the docstrings of S3Client are Python, and call what there is by names that it takes.

They are not run, for each begins with objects of its own. Those of the README and of docs/ are: tests/test_readme.py.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Final

import pytest

import handtruck
from handtruck import S3Client
from handtruck.protocol import post_policy

METHODS: Final = sorted(
    name for name in dir(S3Client) if not name.startswith("_") and callable(getattr(S3Client, name))
)


def examples(text: str) -> list[str]:
    """The blocks behind ``::``."""
    found, lines = [], inspect.cleandoc(text).splitlines()
    for number, line in enumerate(lines):
        if line.strip() == "::":
            block = []
            for each in lines[number + 1 :]:
                if each.strip() and not each.startswith("    "):
                    break
                block.append(each)
            found.append(textwrap.dedent("\n".join(block)).strip())
    return found


EXAMPLES: Final = [
    pytest.param(example, id=f"{name}-{number}")
    for name in METHODS
    for number, example in enumerate(examples(getattr(S3Client, name).__doc__ or ""))
]


def parsed(example: str) -> ast.Module:
    """With ``await`` wherever it stands."""
    return ast.parse("async def example():\n" + textwrap.indent(example, "    "))


def taken(method: str) -> set[str]:
    """The names of all that a method takes by keyword."""
    names: set[str] = set()
    for parameter in inspect.signature(getattr(S3Client, method)).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            names.add(parameter.name)
        elif options := re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation)):
            kind = getattr(handtruck, options[1], None) or getattr(handtruck.protocol.options, options[1], None)
            names |= set((kind or getattr(post_policy, options[1])).__annotations__)
        else:  # `open` takes one kind or the other
            names |= {*handtruck.ReadOptions.__annotations__, *handtruck.WriteOptions.__annotations__}
    return names


def wrong_calls(example: str) -> list[str]:
    """What is called on ``s3`` that is not there, or by a name that it does not take."""
    found = []
    for node in ast.walk(parsed(example)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="s3"), attr=method), keywords=keywords):
                if method not in METHODS:
                    found.append(method)
                else:
                    names = taken(method)
                    found += [f"{method}({each.arg}=)" for each in keywords if each.arg and each.arg not in names]
            case _:
                pass
    return found


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example(example: str) -> None:
    assert wrong_calls(example) == []


def test_there_are_some() -> None:
    assert len(EXAMPLES) > 20


def test_what_is_wrong_is_found() -> None:
    assert wrong_calls("await s3.get('a', versionid='b')\nawait s3.got('a')") == ["get(versionid=)", "got"]
    with pytest.raises(SyntaxError):
        wrong_calls("await s3.get(")
