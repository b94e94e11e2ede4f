"""``credential_process``: real programs, started, read, timed, killed."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.credentials import process as process_module
from handtruck.credentials.process import ProcessCredentials, parse_output, split_command
from handtruck.errors import UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import SECRET, START, TOKEN, Clock
from tests.leaks import assert_clean

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import Process

pytestmark = pytest.mark.anyio

MARKERS: Final = (SECRET, TOKEN, "marker-argument")
HOUR: Final = START + timedelta(hours=1)


def document(**changes: object) -> str:
    whole: dict[str, object] = {
        "Version": 1,
        "AccessKeyId": "ASIA",
        "SecretAccessKey": SECRET,
        "SessionToken": TOKEN,
        "Expiration": HOUR.isoformat(),
    }
    return json.dumps({name: value for name, value in (whole | changes).items() if value is not ...})


def shell(script: str) -> str:
    """A command that runs a shell's script: cheaper to start than Python."""
    return f"sh -c {shlex.quote(script)}"


def printing(text: str) -> str:
    return f"printf %s {shlex.quote(text)}"


def source_of(command: str, **given: Any) -> ProcessCredentials:
    return ProcessCredentials(command, **({"clock": Clock()} | given))


def assert_redacted(error: BaseException) -> None:
    """No secret shows, nor does a local on the error's way show one."""
    assert_clean(error, MARKERS)


async def test_what_it_prints() -> None:
    assert await source_of(printing(document())).get() == Credentials(
        access_key_id="ASIA", secret_access_key=SECRET, session_token=TOKEN, expires_at=HOUR
    )


async def test_keys_without_an_end_are_kept_until_rejected(tmp_path: Path) -> None:
    clock = Clock()
    once = tmp_path / "runs"
    script = f"echo >> {once}; {printing(document(Expiration=..., SessionToken=None))}"
    source = source_of(shell(script), clock=clock)
    found = await source.get()
    assert found == Credentials(access_key_id="ASIA", secret_access_key=SECRET)
    clock.advance(days=9999)
    assert await source.get() is found
    assert once.read_text() == "\n"
    await source.get(rejected=found)
    assert once.read_text() == "\n\n"


async def test_run_again_ahead_of_the_end(tmp_path: Path) -> None:
    clock = Clock()
    answer = tmp_path / "answer"
    answer.write_text(document())
    source = source_of(f"cat {answer}", clock=clock)
    old = await source.get()
    answer.write_text(document(AccessKeyId="NEW", Expiration=(HOUR + timedelta(hours=1)).isoformat()))
    clock.advance(minutes=44)
    assert await source.get() is old
    clock.advance(minutes=1)
    assert (await source.load()).access_key_id == "NEW"
    answer.unlink()
    clock.advance(minutes=59)
    assert (await source.load()).access_key_id == "NEW", "an early refresh that fails spoils good keys"
    clock.advance(hours=1)
    with pytest.raises(UsageError, match="ended with status 1"):
        await source.get()


async def test_twenty_at_once_run_it_once(tmp_path: Path) -> None:
    once = tmp_path / "runs"
    source = source_of(shell(f"echo >> {once}; {printing(document())}"))
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(source.get)
    assert once.read_text() == "\n"


async def test_no_shell_and_nothing_to_read(tmp_path: Path) -> None:
    hostile = f"; touch {tmp_path}/harm $(touch {tmp_path}/harm) `touch {tmp_path}/harm`"
    with pytest.raises(UsageError, match="printed something else"):
        await source_of(f"printf %s {hostile}").get()
    assert list(tmp_path.iterdir()) == []
    assert await source_of(shell(f"cat; {printing(document())}")).get() is not None


async def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'printf \'{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "s"}\' "$HANDTRUCK_TEST"'
    monkeypatch.setenv("HANDTRUCK_TEST", "ours")
    assert (await source_of(shell(script)).load()).access_key_id == "ours"
    given = {"HANDTRUCK_TEST": "given", "PATH": os.environ["PATH"]}
    assert (await source_of(shell(script), environ=given).load()).access_key_id == "given"


# What goes wrong.


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/no/such/program marker-argument", "credential_process program cannot be started: No such file"),
        ("no-such-program marker-argument", "credential_process no-such-program cannot be started"),
        (shell(f"{printing(document())}; exit 3"), "credential_process sh ended with status 3"),
        (shell(f"{printing(document())}; kill -9 $$"), "credential_process sh ended with status -9"),
        (printing(""), "credential_process printf printed something else"),
        (printing(document()[:-1]), "printed something else"),
        (printing(document(Version=2)), "printed something else"),
        (printing(document(SecretAccessKey=SECRET + "\n")), "printed something else"),
        ("cat /dev/zero", "more than 65536 bytes"),
    ],
)
async def test_what_is_no_keys(command: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        await source_of(command).get()
    assert_redacted(raised.value)
    assert raised.value.__context__ is None


async def test_a_program_that_may_not_be_run(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("")
    with pytest.raises(UsageError, match="program cannot be started: Permission denied"):
        await source_of(f"{tmp_path}/program").get()


async def test_what_it_says_to_its_user_is_not_ours(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as raised:
        await source_of(shell(f"echo {SECRET} >&2; exit 1")).get()
    assert_redacted(raised.value)
    assert capfd.readouterr().err == f"{SECRET}\n"


def waiting(folder: Path) -> str:
    """A command that says who it is, and waits."""
    os.mkfifo(folder / "pid")
    return shell(f"echo $$ > {folder}/pid; exec sleep 100")


async def pid_in(folder: Path) -> int:
    """Waits until it has started."""
    async with await anyio.open_file(folder / "pid") as pid:
        return int(await pid.read())


def is_gone(pid: int) -> bool:
    """Killed and waited for, not only a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_killed_when_cancelled(tmp_path: Path) -> None:
    source = source_of(waiting(tmp_path))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.get)
        pid = await pid_in(tmp_path)
        assert not is_gone(pid)
        tasks.cancel_scope.cancel()
    assert is_gone(pid)


def test_killed_when_natively_cancelled(tmp_path: Path) -> None:
    async def cancel() -> int:
        task = asyncio.create_task(source_of(waiting(tmp_path)).get())
        pid = await pid_in(tmp_path)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    assert is_gone(asyncio.run(cancel()))


async def test_killed_when_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Process] = []
    start = anyio.open_process

    async def noted(*args: Any, **given: Any) -> Process:
        started.append(await start(*args, **given))
        return started[0]

    monkeypatch.setattr(anyio, "open_process", noted)
    with pytest.raises(UsageError, match=r"sleep did not end within 0\.2 s, and was killed") as raised:
        await source_of("sleep 100", timeout=0.2).get()
    assert raised.value.__context__ is None
    assert is_gone(started[0].pid)


async def test_mutation_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it left alone, the tests above would see it."""
    end = process_module._end
    left: list[Any] = []

    async def left_alone(process: object) -> None:
        left.append(process)

    monkeypatch.setattr(process_module, "_end", left_alone)
    source = source_of(waiting(tmp_path))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.get)
        pid = await pid_in(tmp_path)
        tasks.cancel_scope.cancel()
    assert not is_gone(pid)
    await end(left[0])
    assert is_gone(pid)


# The pure half.


@pytest.mark.parametrize("command", ["", "  ", "'open", 'a "b', "a \\"])
def test_a_command_that_is_none(command: str) -> None:
    with pytest.raises(UsageError, match="credential_process is blank"):
        ProcessCredentials(command)


@pytest.mark.parametrize(
    ("command", "windows", "words"),
    [
        ("a b  'c d' \"e\" f\\ g", False, ["a", "b", "c d", "e", "f g"]),
        ("a '' \"\"", False, ["a", "", ""]),
        (r'"C:\Program Files\a.exe" --b C:\c "d"', True, [r"C:\Program Files\a.exe", "--b", r"C:\c", "d"]),
    ],
)
def test_words(command: str, windows: bool, words: list[str]) -> None:
    assert split_command(command, windows=windows) == words


def test_the_command_is_not_shown() -> None:
    source = ProcessCredentials("/usr/bin/get-keys marker-argument")
    assert source.where == "credential_process get-keys"
    assert "marker-argument" not in f"{source!r} {source.__dict__}"


@pytest.mark.skipif(sys.platform == "win32", reason="shlex speaks POSIX")
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_what_is_quoted_comes_back(words: list[str]) -> None:
    assert split_command(shlex.join(words)) == words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "1",
        "{}",
        document(Version="1"),
        document(Version=True),
        document(Version=...),
        document(AccessKeyId=...),
        document(AccessKeyId=7),
        document(AccessKeyId=""),
        document(SecretAccessKey=[SECRET]),
        document(SessionToken=7),
        document(SessionToken="a\r\nb"),
        document(Expiration="tomorrow"),
        document(Expiration=7),
        document() + "x",
        "[" * 60000,
    ],
)
def test_malformed_output(text: str) -> None:
    assert parse_output(text.encode()) is None


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.just(1) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"]), inner
        )
    ),
)


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_keys_or_none(output: bytes) -> None:
    found = parse_output(output)
    assert found is None or found.complete


@given(st.text("!#aZ9+/=", min_size=1), st.none() | st.text("aZ9+/=", min_size=1), st.none() | st.datetimes())
def test_what_is_printed_comes_back(secret: str, token: str | None, end: datetime | None) -> None:
    text = document(SecretAccessKey=secret, SessionToken=token, Expiration=end and end.isoformat() + "Z")
    found = parse_output(text.encode())
    assert found is not None
    assert (found.secret_access_key, found.session_token) == (secret, token)
    assert (found.expires_at and found.expires_at.replace(tzinfo=None)) == end
