"""Where the endpoint is, as files and environment say. That botocore says the same is in test_settings_botocore.py."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.credentials import settings as module
from handtruck.credentials.profiles import Profiles
from handtruck.credentials.settings import Settings, Texts, hosts_of, read_settings, settings_of, texts_of
from handtruck.errors import UsageError
from handtruck.models.identity import Secret
from handtruck.protocol.hosts import AwsHosts, CustomHosts

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck.protocol.address import Addressing


def found(environ: dict[str, str] | None = None, **profile: str) -> Settings:
    return settings_of(texts_of(environ or {}, Profiles(config={"default": profile}), "default"))


def test_nothing() -> None:
    assert found() == Settings()
    assert hosts_of(Settings()) == AwsHosts()


def test_everything() -> None:
    assert found(
        region="eu-west-1",
        endpoint_url="https://h:9000/base",
        use_fips_endpoint="true",
        use_dualstack_endpoint="TRUE",
        s3_use_arn_region="false",
        s3_disable_express_session_auth="true",
        s3="\naddressing_style = virtual\nuse_accelerate_endpoint = true",
    ) == Settings(
        region="eu-west-1",
        endpoint_url="https://h:9000/base",
        addressing="virtual",
        dual_stack=True,
        fips=True,
        accelerate=True,
        use_arn_region=False,
        express_sessions=False,
    )


def test_aws_region_goes_first() -> None:
    assert found({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, region="c").region == "a"
    assert found({"AWS_DEFAULT_REGION": "b"}, region="c").region == "b"
    assert found({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, region="c").region == "c"


@pytest.mark.parametrize(
    ("environ", "profile", "words"),
    [
        ({"AWS_USE_FIPS_ENDPOINT": "1"}, {}, "AWS_USE_FIPS_ENDPOINT must be true or false, not '1'"),
        ({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "no"}, {}, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS must be"),
        ({}, {"use_dualstack_endpoint": "y"}, r"use_dualstack_endpoint in profile \[default\] must be"),
        ({}, {"s3": "\nuse_accelerate_endpoint = y"}, r"s3, use_accelerate_endpoint in profile \[default\] must be"),
        ({}, {"s3": "\naddressing_style = y"}, r"s3, addressing_style in profile \[default\] must be auto, path"),
        ({}, {"services": "x"}, r"names \[services x\], which is not in"),
        ({"AWS_ENDPOINT_URL_S3": "h:9000"}, {}, "AWS_ENDPOINT_URL_S3: .* must begin with http"),
        ({"AWS_ENDPOINT_URL": "http://"}, {}, "AWS_ENDPOINT_URL: .* no usable host"),
        ({"AWS_ENDPOINT_URL": "s3://bucket"}, {}, "AWS_ENDPOINT_URL: .* must begin with http"),
        ({}, {"endpoint_url": "http://h/?x"}, r"endpoint_url in profile \[default\]: .* no \?query"),
    ],
)
def test_what_makes_no_sense(environ: dict[str, str], profile: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        found(environ, **profile)


def test_what_is_not_needed_need_not_be_in_order() -> None:
    assert found({"AWS_ENDPOINT_URL": "http://h"}, services="x").endpoint_url == "http://h"
    assert found({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "nonsense"}).endpoint_url is None


URLS_WITH_SECRETS = ("http://user:hush@h:9000", "http://hush@h", "http://user:hu/sh@h", "http://user:hush@h:port")


@pytest.mark.anyio
@pytest.mark.parametrize("url", URLS_WITH_SECRETS)
async def test_no_password_shows(url: str, tmp_path: Path) -> None:
    """Neither the one in the URL, nor what else an environment holds: not in the error, nor in any frame of ours."""
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = {url}\naws_secret_access_key = hush\n")
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    for environ in ({"AWS_ENDPOINT_URL": url}, {}):
        with pytest.raises(UsageError, match="endpoint") as caught:
            await read_settings(environ={**files, **environ, "AWS_SECRET_ACCESS_KEY": "hush"})
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        ours = [frame for frame in shown.stack if "handtruck" in frame.filename and "tests" not in frame.filename]
        assert len(ours) > 2
        shown_values = str([value for frame in ours for value in (frame.locals or {}).values()])
        assert not re.search("hush|hu/sh", shown_values + str(caught.value))
        assert caught.value.__context__ is None


@pytest.mark.anyio
async def test_no_environment_shows(tmp_path: Path) -> None:
    """Where it is the file that cannot be read."""
    (tmp_path / "config").write_text("nonsense")
    environ = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SECRET_ACCESS_KEY": "hush"}
    with pytest.raises(UsageError, match="line 1") as caught:
        await read_settings(environ=environ)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "handtruck" in frame.filename and "tests" not in frame.filename]
    assert len(ours) > 2
    assert "hush" not in str([frame.locals for frame in ours])


@pytest.mark.anyio
async def test_files_and_environment(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[profile a]\nregion = ra\n[profile b]\nregion = rb\nendpoint_url = http://b\n")
    files = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    assert await read_settings(environ=files) == Settings()
    assert await read_settings(environ={**files, "AWS_PROFILE": "a"}) == Settings(region="ra")
    assert await read_settings(environ={**files, "AWS_PROFILE": "a"}, profile="b") == Settings(
        region="rb", endpoint_url="http://b"
    )
    assert await read_settings(environ={}, config_path=tmp_path / "config", profile="a") == Settings(region="ra")
    with pytest.raises(UsageError, match=r"no profile \[c\] in"):
        await read_settings(environ=files, profile="c")
    with pytest.raises(UsageError, match="there is no file"):
        await read_settings(environ=files, config_path=tmp_path / "nowhere")


# --- hosts


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [("auto", "auto", "auto"), ("auto", "path", "path"), ("virtual", "path", "virtual"), ("path", "auto", "path")],
)
def test_an_argument_goes_before_files(asked: Addressing, said: Addressing, expected: str) -> None:
    assert hosts_of(Settings(addressing=said), asked) == AwsHosts(addressing=expected)  # type: ignore[arg-type]


def test_hosts_of_a_url() -> None:
    settings = Settings(endpoint_url="https://H:9000/a%20b/", dual_stack=True, fips=True, use_arn_region=False)
    assert hosts_of(settings) == CustomHosts(origin="https://h:9000", path="/a%20b", use_arn_region=False)
    with pytest.raises(UsageError, match="does not go with an endpoint URL"):
        hosts_of(Settings(endpoint_url="https://h", accelerate=True))
    with pytest.raises(UsageError, match="FIPS"):
        hosts_of(Settings(fips=True, accelerate=True))


def test_hosts_of_aws() -> None:
    assert hosts_of(Settings(dual_stack=True, fips=True, express_sessions=False)) == AwsHosts(
        dual_stack=True, fips=True, express_sessions=False
    )


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(sorted({name for names in module._NAMES.values() for name in names[0]})), st.text()
    ),
    st.dictionaries(
        st.sampled_from(sorted({name for names in module._NAMES.values() for name in names[1]})), st.text()
    ),
    st.text(),
    st.text(),
)
def test_any_text_is_a_setting_or_an_error(
    environ: dict[str, str], profile: dict[str, str], block: str, url: str
) -> None:
    profile = {**profile, "s3": f"\n{block}", "endpoint_url": url}
    try:
        hosts = hosts_of(found(environ, **profile))
    except UsageError:
        return
    assert isinstance(hosts, AwsHosts | CustomHosts)


def test_mutation_the_url_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_fault", lambda _: None)
    texts = Texts(url=("AWS_ENDPOINT_URL", Secret("http://user:hush@h")))
    assert "hush" in str(settings_of(texts).endpoint_url)
    with pytest.raises(pytest.fail.Exception):
        test_what_makes_no_sense({"AWS_ENDPOINT_URL_S3": "h:9000"}, {}, "must begin with http")
