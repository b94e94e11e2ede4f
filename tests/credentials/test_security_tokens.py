"""AWS's Security Token Service, without a service: what bytes mean, and where it is, by botocore as the oracle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import EndpointProviderError, EndpointVariantError
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from handtruck.credentials.profiles import load_profiles, profile_of
from handtruck.credentials.security_tokens import Address, address_of, failure, parse_keys, parse_refusal
from handtruck.credentials.whole import SecretBytes
from handtruck.errors import HandtruckError, UsageError
from handtruck.models.identity import Secret
from tests.credentials.scripted_metadata import START
from tests.credentials.scripted_sts import keys, refusal

if TYPE_CHECKING:
    from pathlib import Path

ROLE: Final = "arn:aws:iam::123456789012:role/reader"


@given(
    st.binary()
    | st.sampled_from([keys("K", START), refusal("Code", "m")]).flatmap(
        lambda body: st.tuples(st.integers(0, len(body)), st.binary(max_size=3)).map(
            lambda cut: body[: cut[0]] + cut[1] + body[cut[0] :]
        )
    )
)
def test_any_bytes_are_keys_or_none(body: bytes) -> None:
    found = parse_keys(body)
    assert found is None or (found.complete and found.session_token and found.expires_at)
    code, message, _ = parse_refusal(body)
    assert code is None or len(code) <= 64
    assert message is None or len(message) <= 500
    assert isinstance(failure(400, SecretBytes(body), "doing", "action", [Secret("s")]), HandtruckError)


_REGIONS: Final = (
    *("us-east-1", "us-west-2", "eu-central-1", "eu-central-2", "ap-southeast-5", "cn-north-1", "us-gov-west-1"),
    *(
        "aws-global",
        "us-iso-east-1",
        "us-isob-east-1",
        "us-isof-south-1",
        "eu-isoe-west-1",
        "eusc-de-east-1",
        "mx-central-1",
    ),
)
_SETTINGS: Final[tuple[tuple[dict[str, str], str], ...]] = (
    ({}, ""),
    ({"AWS_STS_REGIONAL_ENDPOINTS": "legacy"}, ""),
    ({"AWS_STS_REGIONAL_ENDPOINTS": "regional"}, "sts_regional_endpoints = legacy"),
    ({}, "sts_regional_endpoints = legacy"),
    ({"AWS_USE_FIPS_ENDPOINT": "true"}, ""),
    ({}, "use_fips_endpoint = true"),
    ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, ""),
    ({"AWS_USE_DUALSTACK_ENDPOINT": "TRUE", "AWS_USE_FIPS_ENDPOINT": "True"}, ""),
    ({"AWS_ENDPOINT_URL": "https://all.test"}, ""),
    ({"AWS_ENDPOINT_URL": "https://all.test", "AWS_ENDPOINT_URL_STS": "https://sts.test"}, ""),
    ({"AWS_ENDPOINT_URL": "https://all.test", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ""),
    ({}, "endpoint_url = https://profile.test"),
    ({"AWS_ENDPOINT_URL": "https://all.test"}, "services = s\nendpoint_url = https://profile.test"),
    ({}, "services = s\nendpoint_url = https://profile.test"),
    ({}, "services = s\nignore_configured_endpoint_urls = true"),
)
_SERVICES: Final = (
    "[services s]\ns3 =\n  endpoint_url = https://s3.test\nsts =\n  endpoint_url = https://sts.profile.test\n"
)


class _SentError(Exception):
    """Instead of sending."""


def their_address(session: Session, region: str) -> Address | None:
    """Where botocore sends an AssumeRole, and the region it signs for; None where it knows of no such host."""
    found: list[Address] = []

    def note(request: Any, **_: object) -> None:
        signed_for = request.headers["Authorization"].decode().split("/")[2]
        found.append(Address(url=request.url.rstrip("/"), region=signed_for))
        raise _SentError

    try:
        client = session.create_client("sts", region, aws_access_key_id="k", aws_secret_access_key="s")
        client.meta.events.register("before-send.sts.AssumeRole", note)
        client.assume_role(RoleArn=ROLE, RoleSessionName="me")
    except (EndpointProviderError, EndpointVariantError):
        return None
    except _SentError:
        pass
    return found[0]


@pytest.mark.parametrize(("environ", "settings"), _SETTINGS)
def test_the_same_address_as_botocore(
    environ: dict[str, str], settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(f"[default]\n{settings}\n{_SERVICES}")
    files = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (environ | files).items():
        monkeypatch.setenv(name, value)
    profile = profile_of(load_profiles(None, None, files), "default")
    session = Session()
    for region in _REGIONS:
        expected = their_address(session, region)
        if expected is not None and "aws-global." in expected.url:
            # botocore makes a host of it, which is nowhere. We take it for what it is elsewhere.
            expected = their_address(session, "us-east-1")
        if expected is not None:
            assert address_of(region, environ, profile.settings, profile.services) == expected


def test_without_a_region() -> None:
    assert address_of(None, {}) == Address(url="https://sts.amazonaws.com", region="us-east-1")
    fips = address_of(None, {"AWS_USE_FIPS_ENDPOINT": "true"})
    assert fips == Address(url="https://sts-fips.us-east-1.amazonaws.com", region="us-east-1")


@pytest.mark.parametrize("region", ["", "a.b", "A", "a/b", "-a", "a-", "a\n", "é", "a" * 64, "a@b"])
def test_a_region_that_is_no_part_of_a_host(region: str) -> None:
    with pytest.raises(UsageError, match="region"):
        address_of(region, {})
