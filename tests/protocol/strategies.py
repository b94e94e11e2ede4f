"""What Hypothesis draws from for the sans-IO half. Always the same draws: a red test is red for everybody."""

from __future__ import annotations

import string
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st

DETERMINISTIC: Final = settings(derandomize=True, deadline=None, max_examples=300)

ENCODED_KEYS: Final[dict[str, str]] = {
    "plain": "plain",
    "Az09-_.~": "Az09-_.~",
    "dir/sub/file.txt": "dir/sub/file.txt",
    "a/../b": "a/../b",
    ".": ".",
    "..": "..",
    "./a": "./a",
    "//x": "//x",
    "a//b": "a//b",
    "/lead": "/lead",
    "trailing/": "trailing/",
    "trailing ": "trailing%20",
    " ": "%20",
    "a b+c%": "a%20b%2Bc%25",
    "%2F": "%252F",
    "%": "%25",
    "ü": "%C3%BC",
    "u\u0308": "u%CC%88",
    "日本": "%E6%97%A5%E6%9C%AC",
    "a?b#c": "a%3Fb%23c",
    "a&b=c": "a%26b%3Dc",
    "!*'()": "%21%2A%27%28%29",
    "a\\b:c;d,e@f$g": "a%5Cb%3Ac%3Bd%2Ce%40f%24g",
    "<&>\"'": "%3C%26%3E%22%27",
    "k" * 1024: "k" * 1024,
    "ü" * 512: "%C3%BC" * 512,
    "\U0001f69a": "%F0%9F%9A%9A",
    "\x01": "%01",
    "\x00\r\n\t\x7f": "%00%0D%0A%09%7F",
    "caf\udce9": "caf%E9",
    "\udcff\udcfe": "%FF%FE",
}
"""Odd keys, each with the one encoding that S3 signs. The last two are bytes that are not UTF-8."""


def names(*, min_size: int = 0) -> st.SearchStrategy[str]:
    """Anything that can name an object: odd keys, all of Unicode, and bytes that are no text."""
    return st.one_of(
        st.sampled_from(sorted(ENCODED_KEYS)),
        st.text(min_size=min_size),
        st.binary(min_size=min_size).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    )


def queries() -> st.SearchStrategy[tuple[tuple[str, str | None], ...]]:
    """Sub-resources without a value, empty values, names that come twice, and values of every sort."""
    name = st.one_of(st.sampled_from(["uploads", "prefix", "list-type", "a", "a-", "A"]), names(min_size=1))
    return st.lists(st.tuples(name, st.none() | st.just("") | names()), max_size=6).map(tuple)


def header_values() -> st.SearchStrategy[str]:
    """Visible ASCII with blanks before, between and behind."""
    return st.text(string.ascii_letters + string.digits + string.punctuation + " \t  ", max_size=30)


def xml_text(*, min_size: int = 0) -> st.SearchStrategy[str]:
    """What XML 1.0 can carry (https://www.w3.org/TR/xml/#charsets)."""
    legal = st.characters(
        exclude_categories=["Cs"],
        exclude_characters=[*map(chr, {*range(0x20)} - {9, 10, 13}), "\ufffe", "\uffff"],
    )
    return st.text(legal, min_size=min_size)
