"""``handtruck demo``, run as people run it: what it tells, its exit status, and what remains of it.

The demo runs event loops of its own, so these tests are synchronous.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import click
import pytest

from handtruck import S3Client, __version__
from handtruck.cli import demo, main, tour
from handtruck.cli.interrupts import Interrupts
from handtruck.cli.place import Place
from handtruck.cli.sizes import Size
from handtruck.errors import ConnectionFailed, S3Error
from handtruck.transfer.multipart import MultipartUpload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.timeout(60)

SMALL: Final = "--size=24MiB"  # three parts
Run = tuple[int, str, str]
"""Exit status, standard output, standard error."""


@pytest.fixture(name="handtruck")
def _handtruck(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs the command in this process."""

    def run(*args: str) -> Run:
        with pytest.raises(SystemExit) as ended:
            main(args)
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        assert "Traceback" not in told.err
        return ended.value.code, told.out, told.err

    return run


@pytest.fixture(name="temporary")
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary files are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have some."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture(name="keys")
def _keys(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment lets one in to ``server``."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)


on_all = pytest.mark.parametrize("server", ["rclone", "moto", "rgw"], indirect=True)
on_rgw = pytest.mark.parametrize("server", ["rgw"], indirect=True)


def row(out: str, title: str) -> list[str]:
    """The cells of a row of the table."""
    line = next(line for line in reversed(out.splitlines()) if line.strip().startswith(title))
    return line.strip().removeprefix(title).split("  ")


def cells(out: str, title: str) -> list[str]:
    return [cell.strip() for cell in row(out, title) if cell.strip()]


def its_server_listens(out: str) -> bool:
    """The server that the demo has told of is there."""
    port = re.search(r"a temporary rclone at http://127\.0\.0\.1:(\d+)/", out)
    assert port is not None
    try:
        socket.create_connection(("127.0.0.1", int(port[1])), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def demo_buckets(witness: Witness) -> list[str]:
    named: list[str] = [bucket["Name"] for bucket in witness.client.list_buckets()["Buckets"]]
    return [name for name in named if name.startswith("handtruck-demo-")]


# -- What it shows -----------------------------------------------------------------------------------------------------


def test_both_loops_on_a_server_of_its_own(handtruck: Callable[..., Run], temporary: Path) -> None:
    status, out, err = handtruck("demo", SMALL)
    assert (status, err) == (0, "")
    assert cells(out, "SHA-256") == ["equal", "equal"]
    assert cells(out, "listed") == ["24 MiB", "24 MiB"]
    assert cells(out, "upload cancelled at") == ["16 MiB", "16 MiB"]
    for title in ("unfinished uploads left", "objects of it left", "temporary files left"):
        assert cells(out, title) == ["none", "none"]
    for title in ("upload  ", "download  "):
        assert all(speed.endswith(" MiB/s") for speed in cells(out, title))
    assert list(temporary.iterdir()) == []
    assert not its_server_listens(out)


def test_one_loop(handtruck: Callable[..., Run]) -> None:
    status, out, _ = handtruck("demo", SMALL, "--loop=trio", "--workers=2", "--loop=trio")
    assert status == 0
    assert cells(out, "SHA-256") == ["equal"]
    assert "asyncio" not in out


@pytest.mark.parametrize("others", [None, "example.com"])
def test_a_proxy_is_not_asked_for_this_machine(
    handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, others: str | None
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # nobody listens there
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    if others:
        monkeypatch.setenv("no_proxy", others)
    status, _, _ = handtruck("demo", SMALL, "--loop=asyncio")
    assert status == 0
    assert os.environ.get("no_proxy") == others


def test_plain_lines_where_nobody_can_see_bars_move(handtruck: Callable[..., Run]) -> None:
    _, out, _ = handtruck("demo", SMALL, "--loop=asyncio")
    steps = [line for line in out.splitlines() if "24 MiB of 24 MiB" in line or "16 MiB of 24 MiB" in line]
    titles = ["a file to send", "asyncio: upload", "asyncio: download", "asyncio: cancelled upload"]
    assert [line[:26].strip() for line in steps] == titles
    assert "\x1b[?25l" not in out


def test_bars_on_a_terminal(handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    status, out, _ = handtruck("demo", SMALL, "--loop=trio")
    assert status == 0
    assert "\x1b[?25l" in out  # the cursor is hidden while they move
    assert "\x1b[?25h" in out  # … and is back
    assert cells(out, "SHA-256") == ["equal"]


# -- Servers of one's own ----------------------------------------------------------------------------------------------


@on_all
@pytest.mark.usefixtures("keys")
def test_a_fresh_bucket_is_removed(handtruck: Callable[..., Run], server: Server, witness: Witness) -> None:
    status, out, err = handtruck("demo", SMALL, "--endpoint", server.url)
    assert (status, err) == (0, "")
    assert cells(out, "unfinished uploads left") == ["none", "none"]
    assert demo_buckets(witness) == []


@on_rgw
@pytest.mark.usefixtures("keys")
def test_a_bucket_keeps_what_it_had(
    handtruck: Callable[..., Run], server: Server, witness: Witness, bucket: str
) -> None:
    witness.put(bucket, "theirs", b"theirs")
    theirs = witness.client.create_multipart_upload(Bucket=bucket, Key="theirs")["UploadId"]
    status, out, err = handtruck("demo", SMALL, "--endpoint", server.url, "--bucket", bucket)
    assert (status, err) == (0, "")
    assert f"{server.url}/{bucket}/handtruck-demo-" in out
    assert [found["Key"] for found in witness.client.list_objects_v2(Bucket=bucket)["Contents"]] == ["theirs"]
    uploads = witness.client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["UploadId"] for upload in uploads] == [theirs]


@on_rgw
def test_the_url_may_have_keys_and_the_bucket(
    handtruck: Callable[..., Run], server: Server, witness: Witness, bucket: str
) -> None:
    user = f"{server.access_key_id}:{server.secret_access_key}@"
    url = f"http://{user}{urlsplit(server.url).netloc}/{bucket}"
    status, out, err = handtruck("demo", SMALL, "--loop=trio", "--endpoint", url)
    assert (status, err) == (0, "")
    assert server.secret_access_key not in out
    assert witness.client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@on_rgw
@pytest.mark.usefixtures("keys")
def test_no_versions_remain(handtruck: Callable[..., Run], server: Server, witness: Witness, bucket: str) -> None:
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert handtruck("demo", SMALL, "--endpoint", server.url, "--bucket", bucket)[0] == 0
    listed = witness.client.list_object_versions(Bucket=bucket)
    assert "Versions" not in listed
    assert "DeleteMarkers" not in listed


# -- Promises that are not kept ----------------------------------------------------------------------------------------


async def _undo_nothing(_self: MultipartUpload, _error: BaseException) -> None:
    """The mutation: what was begun is left."""


def test_an_upload_that_is_left_is_seen(handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MultipartUpload, "undo", _undo_nothing)
    status, out, err = handtruck("demo", SMALL)
    assert status == 1
    assert cells(out, "unfinished uploads left") == ["1", "2"]  # all that are in the bucket
    assert "asyncio: unfinished uploads left: 1" in err
    assert "SHA-256" not in err


@on_rgw
@pytest.mark.usefixtures("keys")
def test_an_upload_that_is_left_is_removed(
    handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, server: Server, witness: Witness, bucket: str
) -> None:
    monkeypatch.setattr(MultipartUpload, "undo", _undo_nothing)
    status, _, err = handtruck("demo", SMALL, "--loop=asyncio", "--endpoint", server.url, "--bucket", bucket)
    assert status == 1
    assert "asyncio: unfinished uploads left: 1" in err
    assert "Uploads" not in witness.client.list_multipart_uploads(Bucket=bucket)


def _without_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = S3Client.put_file_multipart

    async def put(self: S3Client, name: str, path: Path, *, workers_count: int, progress: object) -> Any:
        return await upload(self, name, path, workers_count=workers_count)

    monkeypatch.setattr(S3Client, "put_file_multipart", put)


def _with_litter(monkeypatch: pytest.MonkeyPatch) -> None:
    download = S3Client.get_file_parallel

    async def get(self: S3Client, name: str, path: Path, **options: Any) -> Any:
        path.with_name("copy.bin.0123456789ab.part").touch()
        return await download(self, name, path, **options)

    monkeypatch.setattr(S3Client, "get_file_parallel", get)


def _with_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tour, "_hash_of", lambda _: "0" * 64)


def _without_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: Place, _s3: S3Client) -> list[object]:
        return []

    monkeypatch.setattr(Place, "objects", nothing)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_without_progress, "trio: upload cancelled at: 0 MiB; trio: objects of it left: 1"),
        (_with_litter, "trio: temporary files left: 1"),
        (_with_another_hash, "trio: SHA-256: different"),
        (_without_listing, "trio: listed: nothing"),
    ],
)
def test_every_broken_promise_is_named(
    handtruck: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
    complaint: str,
) -> None:
    spoil(monkeypatch)
    status, _, err = handtruck("demo", SMALL, "--loop=trio")
    assert (status, err) == (1, f"handtruck demo: this should not be: {complaint}\n")


# -- What may go wrong -------------------------------------------------------------------------------------------------


def only_line(err: str) -> str:
    assert err.count("\n") == 1
    return err


async def _refuse(*_: object) -> None:
    raise S3Error("no: 403", status=403)


def test_nobody_listens(handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    status, out, err = handtruck("demo", "--endpoint", "http://127.0.0.1:1")
    assert (status, out) == (1, "")
    assert "at 127.0.0.1:1: Connect" in only_line(err)


def test_no_credentials(handtruck: Callable[..., Run]) -> None:
    status, _, err = handtruck("demo", "--endpoint", "http://127.0.0.1:1")
    assert status == 1
    assert "no credentials" in only_line(err)


@on_rgw
def test_wrong_credentials(handtruck: Callable[..., Run], server: Server) -> None:
    url = server.url.replace("//", f"//{server.access_key_id}:wrong@")
    status, _, err = handtruck("demo", "--endpoint", url)
    assert status == 1
    assert "cannot make the bucket" in err
    assert "SignatureDoesNotMatch" in only_line(err)


@on_rgw
@pytest.mark.usefixtures("keys")
def test_no_such_bucket(handtruck: Callable[..., Run], server: Server) -> None:
    status, _, err = handtruck("demo", SMALL, "--endpoint", server.url, "--bucket", "nobodys")
    assert status == 1
    assert "ListObjectsV2 nobodys" in err
    assert "NoSuchBucket" in only_line(err)


@on_all
@pytest.mark.usefixtures("keys")
def test_what_cannot_be_removed_is_told(
    handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, server: Server, bucket: str
) -> None:
    monkeypatch.setattr(Place, "clear", _refuse)
    status, _, err = handtruck("demo", SMALL, "--loop=trio", "--endpoint", server.url, "--bucket", bucket)
    assert status == 1
    what, left = err.splitlines()
    assert what == "handtruck demo: no: 403"
    assert re.fullmatch(rf"handtruck demo: what the demo made in {bucket}/handtruck-demo-\w+/ may remain", left)


@on_rgw
@pytest.mark.usefixtures("keys")
def test_the_first_error_is_told_first(
    handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, server: Server, bucket: str
) -> None:
    async def fail(_: tour.Tour) -> None:
        raise ConnectionFailed("gone")

    monkeypatch.setattr(tour.Tour, "download", fail)
    monkeypatch.setattr(Place, "clear", _refuse)
    status, _, err = handtruck("demo", SMALL, "--loop=asyncio", "--endpoint", server.url, "--bucket", bucket)
    assert status == 1
    what, left = err.splitlines()
    assert what == "handtruck demo: gone"
    assert left.endswith("/ may remain: no: 403")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--size=15M"], "'15M' is too small: at least 16 MiB"),
        (["--size=many"], "'many' is no size"),
        (["--workers=0"], "--workers"),
        (["--loop=curio"], "--loop"),
        (["--bucket=mine"], "--endpoint"),
    ],
)
def test_nonsense(handtruck: Callable[..., Run], args: list[str], complaint: str) -> None:
    status, _, err = handtruck("demo", *args)
    assert status == 2
    assert complaint in err


@pytest.mark.parametrize("url", ["ftp://host", "http://127.0.0.1:1/bucket"])
def test_an_endpoint_that_makes_no_sense(handtruck: Callable[..., Run], url: str) -> None:
    status, _, err = handtruck("demo", "--endpoint", url, "--bucket", "another")
    assert status == 1
    assert "endpoint URL" in only_line(err)


def test_without_trio(handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    status, _, err = handtruck("demo", SMALL)
    assert status == 1
    assert "pip install 'handtruck[demo]'" in only_line(err)
    assert handtruck("demo", SMALL, "--loop=asyncio")[0] == 0


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a single process")
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("after", ["", "a file to send", "upload"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, loop: str, after: str) -> None:
    command = "from handtruck.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "demo", "--size=128MiB", f"--loop={loop}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with process:
        assert process.stdout is not None
        headline = process.stdout.readline()
        assert its_server_listens(headline)
        if after:
            next(line for line in process.stdout if after in line[:26])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "handtruck demo: interrupted\n")
    assert not its_server_listens(headline)
    assert list(tmp_path.iterdir()) == []


@on_rgw
@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_ctrl_c_clears_the_server(
    handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, server: Server, witness: Witness, loop: str
) -> None:
    async def interrupt(_: tour.Tour) -> None:
        assert demo_buckets(witness) != []
        raise KeyboardInterrupt

    monkeypatch.setattr(tour.Tour, "download", interrupt)
    status, _, err = handtruck("demo", SMALL, "--endpoint", server.url, f"--loop={loop}")
    assert (status, err) == (130, "handtruck demo: interrupted\n")
    assert demo_buckets(witness) == []


async def _never() -> None:
    await anyio.sleep_forever()


def _press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
class TestInterrupts:
    def test_it_cancels_what_runs(self, loop: str) -> None:
        seen: list[str] = []

        async def job() -> None:
            try:
                _press()
                seen.append("not torn apart")
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
                seen.append("cleaned up")

        with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
            interrupts.run(job, backend=loop)
        assert seen == ["not torn apart", "cleaned up"]

    def test_it_waits_for_a_check(self, loop: str) -> None:
        with Interrupts() as interrupts:
            _press()
            _press()
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
            interrupts.check()

    def test_it_cancels_what_is_run_next(self, loop: str) -> None:
        with Interrupts() as interrupts:
            _press()
            with pytest.raises(KeyboardInterrupt):
                interrupts.run(_never, backend=loop)
            interrupts.check()

    def test_but_no_clean_up(self, loop: str) -> None:
        async def job() -> str:
            await anyio.lowlevel.checkpoint()
            return "clean"

        with Interrupts() as interrupts:
            _press()
            assert interrupts.run(job, backend=loop, cleaning=True) == "clean"
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()

    def test_unless_it_is_pressed_again(self, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(*args: Any, **options: Any) -> None:
            _press()  # while the loop is being made
            start(*args, **options)

        start = anyio.run
        monkeypatch.setattr(anyio, "run", run)
        with Interrupts() as interrupts:
            _press()
            with pytest.raises(KeyboardInterrupt):
                interrupts.run(_never, backend=loop, cleaning=True)
            interrupts.check()

    def test_errors_are_not_hidden(self, loop: str) -> None:
        async def fail() -> None:
            raise ConnectionFailed("gone")

        with Interrupts() as interrupts, pytest.raises(ConnectionFailed, match="gone"):
            interrupts.run(fail, backend=loop)

    def test_afterwards_it_is_as_it_was(self, loop: str) -> None:
        before = signal.getsignal(signal.SIGINT)
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) != before
        assert signal.getsignal(signal.SIGINT) == before


# -- The command itself ------------------------------------------------------------------------------------------------


def test_the_version(handtruck: Callable[..., Run]) -> None:
    assert handtruck("--version") == (0, f"handtruck, version {__version__}\n", "")


def test_the_help_lists_the_demo(handtruck: Callable[..., Run]) -> None:
    status, out, _ = handtruck("--help")
    assert status == 0
    assert "  demo  Send a file" in out


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extras(handtruck: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in list(sys.modules):
        if name.startswith("handtruck.cli."):
            monkeypatch.delitem(sys.modules, name)
        elif name.partition(".")[0] == missing:
            monkeypatch.setitem(sys.modules, name, None)
    status, out, err = handtruck("demo")
    assert (status, out) == (2, "")
    assert only_line(err).startswith(f"handtruck: the command needs {missing}")
    assert "pip install 'handtruck[cli]'" in err


def test_other_missing_modules_are_no_news_about_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "handtruck.cli.command", raising=False)
    monkeypatch.setitem(sys.modules, "handtruck.cli.demo", None)
    with pytest.raises(ModuleNotFoundError, match=r"handtruck\.cli\.demo"):
        main([])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("2k", 2048),
        ("64M", 64 << 20),
        ("64mb", 64 << 20),
        ("256MiB", 256 << 20),
        (" 1 GiB ", 1 << 30),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert Size(least=0).convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "1PiB", "1e3", "٣M", "9" * 16])
def test_no_sizes(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Size(least=0).convert(text, None, None)
