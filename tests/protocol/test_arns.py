"""ARNs of access points, and s3:// URLs, which may begin with one."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from botocore.handlers import _quote_source_header_from_dict
from hypothesis import example, given
from hypothesis import strategies as st

from handtruck.errors import UsageError
from handtruck.protocol import s3_urls
from handtruck.protocol.arns import AccessPoint, is_arn, parse_arn, source_of, split_arn
from handtruck.protocol.s3_urls import is_s3_url, parse_s3_url

from .strategies import DETERMINISTIC

POINT = "arn:aws:s3:eu-west-1:111122223333:accesspoint"
OUTPOST = "arn:aws:s3-outposts:eu-west-1:111122223333:outpost"


@pytest.mark.parametrize(
    ("text", "expected", "label"),
    [
        (
            f"{POINT}/ap",
            AccessPoint(service="s3", region="eu-west-1", account="111122223333", name="ap"),
            "ap-111122223333",
        ),
        (
            f"{POINT}:ap-2",
            AccessPoint(service="s3", region="eu-west-1", account="111122223333", name="ap-2"),
            "ap-2-111122223333",
        ),
        (
            "arn:aws-cn:s3-object-lambda:cn-north-1:111122223333:accesspoint/ap",
            AccessPoint(service="s3-object-lambda", region="cn-north-1", account="111122223333", name="ap"),
            "ap-111122223333",
        ),
        *(
            (
                text,
                AccessPoint(
                    service="s3-outposts", region="eu-west-1", account="111122223333", name="ap", outpost="op-1"
                ),
                "ap-111122223333.op-1",
            )
            for text in (f"{OUTPOST}/op-1/accesspoint/ap", f"{OUTPOST}:op-1:accesspoint:ap")
        ),
    ],
)  # fmt: skip
def test_arns(text: str, expected: AccessPoint, label: str) -> None:
    assert is_arn(text)
    assert parse_arn(text) == expected
    assert parse_arn(split_arn(text)[0]) == expected
    assert expected.label == label


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arn:", "no ARN of an access point"),
        ("arn:aws:s3:::bucket", "no ARN of an access point"),
        ("arn:aws:s3:eu-west-1:111122223333:bucket/x", "no ARN of an access point"),
        (POINT, "no ARN of an access point"),
        (f"{POINT}/", "no name of an access point"),
        (f"{POINT}/ap/more", "goes on"),
        (f"{POINT}/Ap", "no name of an access point"),
        (f"{POINT}/a.b", "no name of an access point"),
        (f"{POINT}/{'a' * 51}", "no name of an access point"),
        (f"{POINT}/ap\n", "no name of an access point"),
        ("arn:aws:sns:eu-west-1:111122223333:accesspoint/ap", "access points are S3's"),
        ("arn:aws:s3:eu-west-1:123:accesspoint/ap", "account of twelve digits"),
        ("arn:aws:s3:eu-west-1::accesspoint/ap", "account of twelve digits"),
        ("arn:aws:s3:eu-west-1:١١١١٢٢٢٢٣٣٣٣:accesspoint/ap", "account of twelve digits"),
        ("arn:aws-cn:s3:eu-west-1:111122223333:accesspoint/ap", "no region of the partition 'aws-cn'"),
        ("arn:aws:s3:x:111122223333:accesspoint/ap", "no region of the partition"),
        ("arn:aws:s3-object-lambda::111122223333:accesspoint/ap", "no region of the partition"),
        ("arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap", "SigV4A"),
        (f"{OUTPOST}/op-1/accesspoint", "no ARN of an access point"),
        (f"{OUTPOST}/op.1/accesspoint/ap", "no id of an outpost"),
        (f"{OUTPOST}/op-1/bucket/ap", "no ARN of an access point"),
        ("arn:aws:s3-outposts:eu-west-1:111122223333:accesspoint/ap", "an outpost is named if"),
        ("arn:aws:s3:eu-west-1:111122223333:outpost/op-1/accesspoint/ap", "an outpost is named if"),
    ],
)
def test_what_is_no_arn(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_arn(text)


@pytest.mark.parametrize(
    ("name", "arn", "key"),
    [
        (f"{POINT}/ap/a/b", f"{POINT}:ap", "a/b"),
        (f"{POINT}:ap/a:b/c", f"{POINT}:ap", "a:b/c"),
        (f"{POINT}/ap", f"{POINT}:ap", ""),
        (f"{POINT}/ap/", f"{POINT}:ap", ""),
        (f"{POINT}/ap//a", f"{POINT}:ap", "/a"),
        (f"{POINT}/ap/a\nb", f"{POINT}:ap", "a\nb"),
        (f"{OUTPOST}/op-1/accesspoint/ap/k", f"{OUTPOST}:op-1:accesspoint:ap", "k"),
    ],
)
def test_names_that_begin_with_an_arn(name: str, arn: str, key: str) -> None:
    assert split_arn(name) == (arn, key)


@pytest.mark.parametrize("arn", [f"{POINT}/ap", f"{OUTPOST}/op-1/accesspoint/ap"])
def test_sources_of_copies(arn: str) -> None:
    """As botocore writes them; it goes by slashes only."""
    theirs = _quote_source_header_from_dict({"Bucket": arn, "Key": "a b/c:d"})
    for text in (arn, split_arn(arn)[0]):
        assert source_of(text, "a b/c:d") == f"{arn}/object/a b/c:d"
        assert quote(source_of(text, "a b/c:d"), safe="/-._~") == theirs
    with pytest.raises(UsageError, match="no ARN"):
        source_of("bucket", "key")


@DETERMINISTIC
@given(st.text(max_size=40) | st.builds("{}/{}".format, st.just(POINT), st.text(max_size=20)))
@example("arn:aws:s3:eu-west-1:111122223333:accesspoint")
def test_any_text_is_an_access_point_or_not(text: str) -> None:
    try:
        found = parse_arn(text)
    except UsageError:
        return
    assert text.replace("/", ":") == f"arn:aws:s3:{found.region}:{found.account}:accesspoint:{found.name}"


# --- s3://


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a/b", ("bucket", "a/b")),
        ("s3://bucket/a/", ("bucket", "a/")),
        ("s3://bucket//a", ("bucket", "/a")),
        ("S3://bucket/a", ("bucket", "a")),
        ("s3://Upper_dotted.name/a", ("Upper_dotted.name", "a")),
        # As it is written, whatever a URL would make of it.
        ("s3://bucket/a%20b?c#d@e:f", ("bucket", "a%20b?c#d@e:f")),
        ("s3://bucket/é/../x", ("bucket", "é/../x")),
        (f"s3://{POINT}/ap", (f"{POINT}:ap", "")),
        (f"s3://{POINT}/ap/a/b", (f"{POINT}:ap", "a/b")),
        (f"s3://{OUTPOST}/op-1/accesspoint/ap/k", (f"{OUTPOST}:op-1:accesspoint:ap", "k")),
    ],
)
def test_s3_urls(url: str, expected: tuple[str, str]) -> None:
    assert is_s3_url(url)
    assert parse_s3_url(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "has to go on"),
        ("s3:///key", "has to go on"),
        ("http://host", "does not begin with s3://"),
        ("s3:bucket", "does not begin with s3://"),
        ("s3://KEYID:hush@bucket/a", "no place for a user"),
        ("s3://KEYID:hu/sh@bucket/a", "no place for a user"),
        ("s3://hush@bucket", "no place for a user"),
        ("s3://hush:9000/a", "no place for a user"),
        ("s3://hush?x=y", "no bucket's name"),
        ("s3://hush#y", "no bucket's name"),
        ("s3://hush hush", "no bucket's name"),
        ("s3://hush%20", "no bucket's name"),
        ("s3://hushé", "no bucket's name"),
        ("s3://hush\n", "no bucket's name"),
        ("s3://..", "no bucket's name"),
        (f"s3://{POINT}", "no ARN of an access point"),
        ("s3://arn:aws:s3::111122223333:accesspoint/x.mrap", "SigV4A"),
    ],
)
def test_what_is_no_s3_url(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_s3_url(url)
    assert "hush" not in "".join(traceback.format_exception(caught.value)).replace(url, "").split("UsageError")[-1]


@DETERMINISTIC
@given(st.text(max_size=40))
def test_any_prefix_comes_back_as_it_was_written(prefix: str) -> None:
    assert parse_s3_url(f"s3://bucket/{prefix}") == ("bucket", prefix)


def test_mutation_passwords_are_bucket_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    monkeypatch.setattr(s3_urls, "_BUCKET", re.compile(".*", re.DOTALL))
    with pytest.raises(pytest.fail.Exception):
        test_what_is_no_s3_url("s3://hush\n", "no bucket's name")
