"""open, stream and get_ranges: every byte of one version of the object, from real servers."""

from __future__ import annotations

import io
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from handtruck.errors import NotFound, PreconditionFailed, S3Error
from handtruck.protocol.checksums import bare_etag
from tests.conformance.support import content, etag_of

if TYPE_CHECKING:
    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

STEP: Final = 64 * 1024
SIZES: Final = (0, 1, 4 * STEP - 1, 4 * STEP, 4 * STEP + 1, 20 * STEP + 17)
"""Around what entering a reader asks for."""

LARGE: Final = content(40 * STEP + 17)


async def test_reading_every_size(either: S3Client, bucket: str, witness: Witness) -> None:
    for size in SIZES:
        data = content(size)
        witness.put(bucket, "key", data)
        async with either.open(f"{bucket}/key", part_size=STEP, workers_count=3) as file:
            assert (file.size, bare_etag(file.etag or "")) == (size, etag_of(data))
            assert await file.read() == data
            assert await file.read() == b""
        async with either.open(f"{bucket}/key", part_size=STEP, workers_count=3) as file:
            assert b"".join([block async for block in file]) == data


async def test_reading_here_and_there(either: S3Client, bucket: str, witness: Witness) -> None:
    """Whatever is done with it, it does what a file in memory does."""
    witness.put(bucket, "key", LARGE)
    model, random = io.BytesIO(LARGE), Random(7)  # noqa: S311 - places, not secrets
    async with either.open(f"{bucket}/key", part_size=2 * STEP, workers_count=3) as file:
        for _ in range(30):
            place = random.randrange(len(LARGE) + STEP)
            assert file.seek(place) == model.seek(place)
            for wanted in (random.randrange(300), random.randrange(3 * STEP)):
                assert await file.read(wanted) == model.read(wanted)
        assert file.seek(-5, io.SEEK_END) == model.seek(-5, io.SEEK_END)
        buffer = bytearray(10)
        assert await file.readinto(buffer) == 5
        assert buffer[:5] == LARGE[-5:]


async def test_what_is_known_of_it(s3: S3Client, bucket: str, witness: Witness) -> None:
    """From the same headers, whichever way it is read; also of an empty object, whose ranges tell nothing."""
    for data in (b"some text", b""):
        witness.put(bucket, "key", data, ContentType="text/x-y", Metadata={"colour": "blue"})
        modified = witness.head(bucket, "key")["LastModified"]
        async with s3.open(f"{bucket}/key") as file, s3.stream(f"{bucket}/key", byte_range=(0, 100)) as answer:
            for found in (file, answer):
                assert found.size == len(data)
                assert bare_etag(found.etag or "") == etag_of(data)
                assert (found.content_type, found.metadata) == ("text/x-y", {"colour": "blue"})
                assert found.last_modified == modified
            assert (answer.start, answer.stop) == (0, len(data))


async def test_a_missing_object(s3: S3Client, bucket: str) -> None:
    with pytest.raises(NotFound):
        async with s3.open(f"{bucket}/missing"):
            pytest.fail("entered")
    with pytest.raises(NotFound):
        async with s3.stream(f"{bucket}/missing"):
            pytest.fail("entered")
    with pytest.raises(NotFound):
        await s3.get_ranges(f"{bucket}/missing", [(0, 1), (10**7, 10**7 + 1)])


async def test_streams(either: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", LARGE)
    last = len(LARGE) - 1
    for start, stop in ((0, None), (0, 1), (5, None), (5, STEP), (last, None), (last, 10**9), (0, 10**9)):
        async with either.stream(f"{bucket}/key", byte_range=(start, stop)) as answer:
            assert (answer.size, answer.start) == (len(LARGE), start)
            assert answer.stop == min(stop or len(LARGE), len(LARGE))
            assert await answer.read(3) == LARGE[start:stop][:3]
            assert b"".join([block async for block in answer]) == LARGE[start:stop][3:]


async def test_streams_that_are_left(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", LARGE)
    for wanted in (0, 1, len(LARGE) - 1):
        async with s3.stream(f"{bucket}/key") as answer:
            assert await answer.read(wanted) == LARGE[:wanted]
        assert s3._session.places.taken == 0


async def test_behind_the_end(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", b"0123456789")
    for byte_range in ((10, 11), (10, None), (500, 600)):
        with pytest.raises(S3Error) as caught:
            async with s3.stream(f"{bucket}/key", byte_range=byte_range):
                pytest.fail("entered")
        assert caught.value.status == 416
    for ranges in ([(0, 11)], [(10, 11)], [(0, 1), (10**7, 10**7 + 1)]):
        with pytest.raises(S3Error) as caught:
            await s3.get_ranges(f"{bucket}/key", ranges)
        assert caught.value.status == 416


async def test_ranges(either: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", LARGE)
    random = Random(7)  # noqa: S311
    places = [random.randrange(len(LARGE) - 1000) for _ in range(40)]
    asked = [(place, place + random.randrange(1000)) for place in places]
    asked += [(0, len(LARGE)), (5, 5), asked[0]]
    for gap in (0, STEP, 10**9):
        got = await either.get_ranges(f"{bucket}/key", asked, gap=gap)
        assert got == [LARGE[start:stop] for start, stop in asked]
    assert await either.get_ranges(f"{bucket}/key", asked[:5], gap=0) == [LARGE[a:b] for a, b in asked[:5]]


async def test_one_version_only(either: S3Client, bucket: str, witness: Witness) -> None:
    """Another object of the same size in its place: that is told, and never mixed. Some servers ignore If-Match."""
    witness.put(bucket, "key", LARGE)
    async with either.open(f"{bucket}/key", part_size=STEP, workers_count=2) as file:
        assert await file.read(10) == LARGE[:10]
        witness.put(bucket, "key", LARGE[::-1])
        with pytest.raises(PreconditionFailed, match="replaced while it was downloaded"):
            await file.read()
        assert file.tell() == 10


async def test_conditions_of_the_caller(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", LARGE)
    wrong = {"If-Match": f'"{"0" * 32}"'}
    if server.faults.get("get-if-match-ignored"):
        async with s3.open(f"{bucket}/key", headers=wrong) as file:
            assert await file.read() == LARGE
        return
    with pytest.raises(PreconditionFailed):
        async with s3.open(f"{bucket}/key", headers=wrong):
            pytest.fail("entered")
    with pytest.raises(PreconditionFailed):
        async with s3.stream(f"{bucket}/key", headers=wrong):
            pytest.fail("entered")
    with pytest.raises(PreconditionFailed):
        await s3.get_ranges(f"{bucket}/key", [(0, 1)], headers=wrong)
