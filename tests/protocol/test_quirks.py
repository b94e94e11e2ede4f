"""What servers are known for: found by host, chosen by name, and as the table in docs/quirks.md has it."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import FrozenInstanceError, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck import AwsObjectMeta
from handtruck.errors import InvalidResponse, UsageError
from handtruck.protocol import documents, parts, quirks
from handtruck.protocol.address import parse_endpoint
from handtruck.protocol.parts import MAX_PART_SIZE, MIB, MIN_PART_SIZE, PartLimits
from handtruck.protocol.quirks import PRESETS, Quirks, QuirksName, chosen_quirks, quirks_at, quirks_of
from tests.protocol.strategies import DETERMINISTIC

KEYS: Final = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1)
TABLE: Final = (Path(__file__).parents[2] / "docs" / "quirks.md").read_text()
ROWS: Final = re.findall(
    r"^\| `(\w+)` \| (.*?) \| (.*?) ?\| (.*?) \|$", TABLE.partition("## What is known")[2], re.MULTILINE
)


# --- by host


@pytest.mark.parametrize(
    ("host", "name", "region"),
    [
        ("s3.us-west-004.backblazeb2.com", "b2", "us-west-004"),
        ("bucket.s3.us-west-004.backblazeb2.com", "b2", "us-west-004"),
        ("nyc3.digitaloceanspaces.com", "digitalocean", "nyc3"),
        ("a.bucket.nyc3.digitaloceanspaces.com", "digitalocean", "nyc3"),
        ("storage.googleapis.com", "gcs", None),
        ("bucket.storage.googleapis.com", "gcs", None),
        ("s3.eu-central-3.ionoscloud.com", "ionos", "eu-central-3"),
        ("us-east-1.linodeobjects.com", "linode", "us-east-1"),
        ("s3.gra.io.cloud.ovh.net", "ovh", "gra"),
        ("s3.us-east-va.io.cloud.ovh.us", "ovh", "us-east-va"),
        ("0123abc.r2.cloudflarestorage.com", "r2", "auto"),
        ("0123abc.eu.r2.cloudflarestorage.com", "r2", "auto"),
        ("s3.fr-par.scw.cloud", "scaleway", "fr-par"),
        ("GATEWAY.storjshare.io.", "storj", None),
        ("cos.ap-beijing.myqcloud.com", "tencent", "ap-beijing"),
        ("bucket.cos.ap-beijing.myqcloud.com", "tencent", "ap-beijing"),
        ("s3.wasabisys.com", "wasabi", None),
        ("bucket.s3.eu-central-1.wasabisys.com", "wasabi", "eu-central-1"),
    ],
)
def test_hosts_that_are_known(host: str, name: QuirksName, region: str | None) -> None:
    assert quirks_of(host) == replace(PRESETS[name].quirks, region=region)
    assert quirks_at(parse_endpoint(f"https://{host}")) == quirks_of(host)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "::1", "", "s3.example.org", "r2.cloudflarestorage.com.example.org", "xscw.cloud"],
)
def test_hosts_that_tell_nothing(host: str) -> None:
    assert quirks_of(host) == Quirks()


@DETERMINISTIC
@given(st.text())
def test_any_name_is_a_host(host: str) -> None:
    assert isinstance(quirks_of(host), Quirks)


@pytest.mark.parametrize(
    "host", ["s3.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com", "s3.cn-north-1.amazonaws.com.cn"]
)
def test_aws_is_known_by_its_endpoint(host: str) -> None:
    assert quirks_at(parse_endpoint(f"https://{host}")) == PRESETS["aws"].quirks


# --- by name


@pytest.mark.parametrize("name", get_args(QuirksName))
def test_every_name_can_be_chosen(name: QuirksName) -> None:
    assert chosen_quirks(name) is PRESETS[name].quirks


def test_what_is_chosen_is_what_there_is() -> None:
    own = Quirks(max_parts=7)
    assert chosen_quirks(own) is own
    assert chosen_quirks(None) is None
    assert tuple(PRESETS) == get_args(QuirksName)


@pytest.mark.parametrize("name", ["Ceph", "", "s3", 1, []])
def test_names_that_nobody_has(name: Any) -> None:
    with pytest.raises(UsageError, match="quirks must be Quirks"):
        chosen_quirks(name)


# --- values


@pytest.mark.parametrize(
    "said",
    [
        {"max_parts": 0},
        {"max_parts": 10_001},
        {"max_parts": "1000"},
        {"max_parts": True},
        {"max_deletes": 0},
        {"max_deletes": 1001},
        {"min_part_size": -1},
        {"max_part_size": 1},
        {"min_part_size": 2 * MAX_PART_SIZE},
        {"list_version": 3},
        {"checksum": "CRC16"},
    ],
)
def test_quirks_that_make_no_sense(said: Any) -> None:
    with pytest.raises(UsageError, match=f"Quirks: {next(iter(said))} must"):
        Quirks(**said)


def test_quirks_are_values() -> None:
    assert Quirks() == Quirks()
    assert hash(Quirks()) != hash(Quirks(max_parts=1000))
    with pytest.raises(FrozenInstanceError):
        Quirks().max_parts = 1  # type: ignore[misc]


# --- the table


def test_the_table_has_every_preset() -> None:
    assert [name for name, *_ in ROWS] == list(PRESETS)


@pytest.mark.parametrize(("name", "hosts", "said", "source"), ROWS, ids=[name for name, *_ in ROWS])
def test_the_table_says_what_the_presets_do(name: QuirksName, hosts: str, said: str, source: str) -> None:
    preset = PRESETS[name]
    expected = [f"`{key}={value!r}`".replace("'", '"') for key, value in quirks.differences(preset.quirks).items()]
    assert sorted(filter(None, said.split(", "))) == sorted(expected)
    assert "https://" in source or not expected
    named = re.findall(r"`([^`]+)`", hosts)
    assert bool(named) is (preset.host is not None)
    for host in named:
        region = "somewhere-1" if "<region>" in host else preset.quirks.region
        assert quirks_of(host.replace("<region>", "somewhere-1")) == replace(preset.quirks, region=region)


def test_the_table_has_every_field() -> None:
    told = re.findall(
        r"^\| `(\w+)` \|", TABLE.partition("## What may be different")[2].partition("## What is")[0], re.MULTILINE
    )
    assert sorted(told) == sorted(field.name for field in fields(Quirks))


def test_mutation_a_preset_that_the_table_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(PRESETS["scaleway"], quirks=Quirks(max_parts=999))
    monkeypatch.setitem(PRESETS, "scaleway", other)
    (row,) = [row for row in ROWS if row[0] == "scaleway"]
    with pytest.raises(AssertionError):
        test_the_table_says_what_the_presets_do(*row)


# --- the first version of listings


@DETERMINISTIC
@given(st.lists(KEYS), st.lists(KEYS), st.booleans())
def test_both_versions_say_the_same(keys: list[str], folders: list[str], encoded: bool) -> None:
    rows = "".join(f"<Contents><Key>{written(key, encoded)}</Key></Contents>" for key in keys)
    rows += "".join(f"<CommonPrefixes><Prefix>{written(each, encoded)}</Prefix></CommonPrefixes>" for each in folders)
    said = "<EncodingType>url</EncodingType>" if encoded else ""
    body = f"<ListBucketResult>{said}{rows}</ListBucketResult>".encode()
    more = body.replace(b"</ListBucketResult>", b"<IsTruncated>true</IsTruncated></ListBucketResult>")
    page = documents.parse_marked_objects(body)
    assert page.token is None
    assert page.page == documents.parse_listed_objects(body).page == [AwsObjectMeta(key=key) for key in keys]
    assert page.page.common_prefixes == tuple(folders)
    if not keys + folders:
        with pytest.raises(InvalidResponse, match="nothing tells where"):
            documents.parse_marked_objects(more)
        return
    last = max(keys + folders, key=str.encode)
    assert documents.parse_marked_objects(more).token == last
    for spelled in (last, written(last, encoded)):
        marked = more.replace(b"</IsTruncated>", f"</IsTruncated><NextMarker>{escape(spelled)}</NextMarker>".encode())
        assert documents.parse_marked_objects(marked).token in (last, spelled)


def written(key: str, encoded: bool) -> str:
    return quote(key) if encoded else escape(key)


@DETERMINISTIC
@given(st.one_of(st.binary(), st.text().map(lambda text: f"<ListBucketResult>{text}</ListBucketResult>".encode())))
def test_any_bytes_are_a_page_or_no_answer(body: bytes) -> None:
    with suppress(InvalidResponse):
        documents.parse_marked_objects(body)


# --- parts


@DETERMINISTIC
@given(st.integers(1, 10**12), st.integers(1, 10_000), st.integers(0, 100 * MIB))
def test_parts_fit(size: int, count: int, least: int) -> None:
    limits = PartLimits(max_parts=count, min_part_size=least)
    if size > count * MAX_PART_SIZE:
        with pytest.raises(UsageError, match=rf"at most {count} parts of {MAX_PART_SIZE} \(5 GiB\) bytes"):
            parts.fitting_part_size(size, MIN_PART_SIZE, limits)
        return
    fitting = parts.fitting_part_size(size, MIN_PART_SIZE, limits)
    assert max(MIN_PART_SIZE, least) <= fitting <= MAX_PART_SIZE
    assert -(-size // fitting) <= count


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000])
def test_parts_of_few_grow_sooner(count: int) -> None:
    limits = PartLimits(max_parts=count)
    sizes = [parts.growing_part_size(number, MIN_PART_SIZE, limits=limits) for number in range(1, count + 1)]
    assert sizes == sorted(sizes)
    assert set(sizes[: count // 2]) <= {MIN_PART_SIZE}
    assert all(after in (before, min(2 * before, MAX_PART_SIZE)) for before, after in pairwise(sizes))
    assert count < 20 or sizes[-1] == MAX_PART_SIZE
    with pytest.raises(UsageError, match=f"longer than {count} parts"):
        parts.growing_part_size(count + 1, MIN_PART_SIZE, limits=limits)


def test_equal_parts_never_grow() -> None:
    limits = PartLimits(equal_parts=True, min_part_size=64 * MIB)
    sizes = {parts.growing_part_size(number, MIN_PART_SIZE, limits=limits) for number in range(1, 10_001)}
    assert sizes == {64 * MIB}
    with pytest.raises(UsageError, match=r"use a larger part_size$"):
        parts.growing_part_size(10_001, MIN_PART_SIZE, limits=limits)


def test_a_part_size_that_the_server_does_not_take() -> None:
    limits = PartLimits(max_part_size=100 * MIB)
    parts.check_part_size(100 * MIB, limits)
    with pytest.raises(UsageError, match=r"from 5242880 \(5 MiB\) to 104857600 \(100 MiB\) bytes"):
        parts.check_part_size(101 * MIB, limits)


def test_mutation_parts_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = parts.growing_part_size

    def wrong(number: int, part_size: int, *, limits: PartLimits) -> int:
        return grown(number, part_size, limits=replace(limits, equal_parts=False))

    monkeypatch.setattr(parts, "growing_part_size", wrong)
    with pytest.raises(AssertionError):
        test_equal_parts_never_grow()
