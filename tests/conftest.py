"""Fixtures for every test: the three event loops, the three servers, and the guard against blocking calls.

Async tests ask for the loops with ``pytestmark = pytest.mark.anyio``. Servers start when the first test asks for
them, once in each xdist worker. ``--through=httpx`` takes httpx's own road in place of ours.
"""

from __future__ import annotations

import gc
import itertools
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests import blocking, roads
from tests.loops import LOOPS, share_servers
from tests.servers import faults, moto, rclone, rgw
from tests.servers.admin import Witness
from tests.servers.model import NotInstalled, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

_NUMBERS: Final = itertools.count(1)
_WORKER: Final = os.environ.get("PYTEST_XDIST_WORKER", "main")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--through``: see :mod:`tests.roads`."""
    roads.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker of :mod:`tests.roads`; and forget who runs the tests, and where."""
    roads.add_marker(config)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CONFIG_FILE": os.devnull,
    }


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what has nothing to do with the road, where that is not ours."""
    return roads.is_left_out(collection_path, config)


@pytest.hookimpl(tryfirst=True)  # before marks are selected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Expect failures where only our own transport can keep a promise; not everything with everybody."""
    roads.expect_failures(config, items)
    share_servers(items)


def pytest_collection_finish() -> None:
    """Some tests collect garbage again and again; what is here by now, a hundred modules and their tests, stays."""
    import hypothesis  # noqa: F401 - its first import asks who refers to what, which is not told of frozen objects

    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure coverage on trio, and where no loop is: to be watched takes as long again; asyncio tells little new."""
    if "asyncio" not in item.name:
        return (yield)
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session", autouse=True)
def _road(request: pytest.FixtureRequest) -> Iterator[None]:
    """What every S3Client without ``client=`` sends through."""
    with roads.taken(request.config):
        yield


@pytest.fixture(scope="module", params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The event loop of an async test: anyio's plugin takes the backend and its options from here."""
    return request.param


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail tests on event loops in which handtruck blocks the loop, even where the error was swallowed."""
    if "anyio_backend" not in request.fixturenames:
        yield
        return
    with blocking.guard() as calls:
        yield
    if calls:
        pytest.fail("handtruck blocked the event loop:\n" + "\n".join(map(str, calls)), pytrace=False)


def _running(start: Callable[[], AbstractContextManager[Server]], *, optional: bool = False) -> Iterator[Server]:
    """The server while the session lasts. Only an optional one may be missing, and not in CI."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except NotInstalled as error:
            if optional and not os.environ.get("CI"):
                pytest.skip(str(error))
            pytest.fail(str(error), pytrace=False)
        yield server


@pytest.fixture(scope="session", name="rclone")
def _rclone() -> Iterator[Server]:
    """A ``rclone serve s3``."""
    yield from _running(rclone.start)


@pytest.fixture(scope="session", name="moto")
def _moto() -> Iterator[Server]:
    """A server of moto's."""
    yield from _running(moto.start)


@pytest.fixture(scope="session", name="rgw")
def _rgw() -> Iterator[Server]:
    """Ceph's object gateway; skipped where Ceph is not installed, but not in CI."""
    yield from _running(rgw.start, optional=True)


@pytest.fixture(scope="session", params=faults.SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers in turn; ``parametrize("server", ["rgw"], indirect=True)`` for fewer."""
    running: Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture(scope="session")
def _witnesses() -> Iterator[dict[str, Witness]]:
    """One for each server, for good: tests take the servers in turns, and to make a client takes 0.1 s."""
    made: dict[str, Witness] = {}
    yield made
    for each in made.values():
        each.close()


@pytest.fixture(scope="session")
def witness(server: Server, _witnesses: dict[str, Witness]) -> Witness:
    """Tells what is really on ``server``: botocore."""
    if server.url not in _witnesses:
        _witnesses[server.url] = Witness(server)
    return _witnesses[server.url]


@pytest.fixture
def bucket(witness: Witness) -> Iterator[str]:
    """A new bucket on ``server``, emptied after the test."""
    name = f"{_WORKER}-{next(_NUMBERS):05}"
    witness.create_bucket(name)
    yield name
    witness.discard(name)
