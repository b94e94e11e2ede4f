"""Servers that verify signatures believe ours; each deliberate fault in the signer is found out.

Without these mutations a server that believed everything would make the whole suite green.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

from handtruck import _attempt
from handtruck.errors import AccessDenied
from handtruck.protocol import address, signing
from tests.conformance.support import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

KEY: Final = "a b/ü+%2F~(1)"
"""Every step of the canonical request matters to it."""


async def signed_requests(s3: S3Client, bucket: str) -> None:
    """Requests whose signature covers an odd path, a query that must be sorted and encoded, and headers."""
    headers = {"x-amz-meta-b": "two  blanks", "X-Amz-Meta-A": "1", "Content-Type": "text/plain"}
    assert (await s3.put(f"{bucket}/{KEY}", b"x", headers=headers)).status_code == 200
    assert (await s3.get(f"{bucket}/{KEY}", headers={"Range": "bytes=0-0"})).status_code in (200, 206)
    (page,) = await listed(s3.list_objects_v2(bucket, prefix="a b/ü+", delimiter="~(1", start_after="a & b"))
    assert page or page.common_prefixes


def _unsorted(query: Sequence[tuple[str, str | None]]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value or '', safe='')}" for name, value in query)


def _unencoded(query: Sequence[tuple[str, str | None]]) -> str:
    return "&".join(sorted(f"{name}={value or ''}" for name, value in query))


def _plus_for_space(query: Sequence[tuple[str, str | None]]) -> str:
    return RIGHT_QUERY(query).replace("%20", "+")


RIGHT_QUERY: Final = address.canonical_query
RIGHT_HEADERS: Final = signing.canonical_headers
RIGHT_SIGN: Final = signing.sign


def _path(change: Callable[[str], str]) -> Callable[..., dict[str, str]]:
    def sign(*, path: str, **facts: Any) -> dict[str, str]:
        return RIGHT_SIGN(path=change(path), **facts)

    return sign


MUTATIONS: Final[dict[str, tuple[object, str, object]]] = {
    "the query is not sorted": (signing, "canonical_query", _unsorted),
    "its values are not encoded": (signing, "canonical_query", _unencoded),
    "its spaces become plus signs": (signing, "canonical_query", _plus_for_space),
    "the key is encoded twice": (_attempt, "sign", _path(quote)),
    "the key's tilde is encoded": (_attempt, "sign", _path(lambda path: path.replace("~", "%7E"))),
    "the key is in lower-case hex": (_attempt, "sign", _path(lambda path: path.replace("%C3%BC", "%c3%bc"))),
    "the payload's hash is another": (
        _attempt,
        "sign",
        lambda **facts: RIGHT_SIGN(**{**facts, "payload_hash": "0" * 64}) | {"x-amz-content-sha256": "1" * 64},
    ),
    "the headers are not in order": (
        signing,
        "canonical_headers",
        lambda headers: dict(reversed(RIGHT_HEADERS(headers).items())),
    ),
}


async def test_signatures_are_believed(either: S3Client, bucket: str, server: Server) -> None:
    await signed_requests(either, bucket)


async def test_each_fault_in_the_signer_is_found_out(
    s3: S3Client, bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, mutation in MUTATIONS.items():
        with monkeypatch.context() as mutated:
            mutated.setattr(*mutation)
            if server.faults.get("verifies-no-signature"):
                await signed_requests(s3, bucket)
                continue
            try:
                await signed_requests(s3, bucket)
            except (AccessDenied, AssertionError):
                continue
            pytest.fail(f"nobody noticed that {name}")


async def test_the_secret_stays_here(either: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """Nothing of it is in what is printed."""
    assert server.secret_access_key not in f"{either!r} {either.url} {either._session!r}"
