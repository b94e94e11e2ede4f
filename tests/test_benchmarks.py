"""The benchmarks' sums, marks and pictures, and the endpoint that they run against. Nothing here is timed."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest

from benchmarks import arena, catalogue, endpoints, plots, report, run, targets
from benchmarks.catalogue import GIB, MIB
from benchmarks.results import Results, collect

if TYPE_CHECKING:
    from collections.abc import Iterator

MACHINE: Final = {
    "processor": "Abacus",
    "cores": 2,
    "memory": 24 * GIB,
    "kernel": "Linux 6",
    "python": "3.11.7",
    "revision": "abc",
}


def line(
    client: str, work: str, wall: float, cpu: float, peak: int = 50, number: int = 0, **more: Any
) -> dict[str, Any]:
    """What a run of the works of one GiB, or of 4 000 small objects, leaves in the file."""
    known = catalogue.works()[work]
    return {
        "client": client,
        "work": work,
        "title": known.title,
        "endpoint": "nginx-http",
        "round": number,
        "unit": known.unit,
        "amount": known.amount,
        "date": "2026-07-01T12:00:00+00:00",
        "machine": MACHINE,
        "wall": wall,
        "user": cpu / 2,
        "system": cpu / 2,
        "peak_rss": peak * MIB,
        "versions": {client: "1"},
    } | more


def unable(client: str, work: str, **why: str) -> dict[str, Any]:
    whole = line(client, work, 0, 0)
    return {name: value for name, value in whole.items() if name not in {"wall", "user", "system", "peak_rss"}} | why


LINES: Final = [
    line("handtruck-asyncio", "upload", 1.0, 0.9, 100, payload="sha256"),
    line("handtruck-asyncio", "upload", 3.0, 0.9, 100, number=1, payload="sha256"),
    line("handtruck-asyncio", "upload", 1.2, 0.9, 100, number=2, payload="sha256"),
    line("handtruck-trio", "upload", 0.8, 0.7, 120),
    line("obstore", "upload", 1.0, 1.0, 200),
    line("s5cmd", "upload", 2.0, 3.0, 20, start={"wall": 0.25, "user": 0.1, "system": 0.05}),
    unable("httpx", "upload", unsupported="no <multipart>"),
    unable("boto3", "upload", error="Traceback …\nValueError: it broke"),
    *(line("handtruck-asyncio", f"get-4k@{at_once}", 1.0, 0.001 * at_once) for at_once in catalogue.AT_ONCE),
    *(line("obstore", f"get-4k@{at_once}", 1.5, 1.0) for at_once in catalogue.AT_ONCE),
]


@pytest.fixture
def results() -> Results:
    return collect(json.loads(json.dumps(LINES)))


def test_medians_spread_and_rates(results: Results) -> None:
    cell = results.rows["nginx-http", "upload"].cells["handtruck-asyncio"]
    assert (cell.wall, cell.spread, cell.cpu, cell.peak) == (1.2, (1.0, 3.0), 0.9, 100 * MIB)
    small = results.rows["nginx-http", "get-4k@32"].cells["obstore"]
    assert (round(small.rate), round(small.cpu * 1e6)) == (2667, 250)
    assert results.rounds == 3


def test_order_and_who_is_left_out(results: Results) -> None:
    row = results.rows["nginx-http", "upload"]
    assert [cell.client for cell in row.measured] == ["handtruck-trio", "obstore", "handtruck-asyncio", "s5cmd"]
    assert row.get("httpx") is row.get("boto3") is row.get("nobody") is None


def test_targets_missed_and_met(results: Results) -> None:
    found = {(each.client, each.what): (round(each.figure, 2), each.limit, each.met) for each in targets.check(results)}
    assert found["handtruck-asyncio", "wall, × obstore"] == (0.67, 1.0, True)  # the last: 32 at a time
    assert found["handtruck-asyncio", "CPU, × obstore"] == (0.03, 0.75, True)
    assert found["handtruck-trio", "CPU, × obstore"] == (0.7, 0.8, True)
    assert found["handtruck-trio", "peak RSS, MiB"] == (120, 110, False)
    assert found["handtruck-asyncio", "wall, × handtruck-trio"] == (1.5, 1.25, False)
    grown = found["handtruck-asyncio", "CPU a unit, × its smallest"]
    assert grown == (64.0, 1.25, False)
    assert targets.missed(targets.check(results)) == {
        ("nginx-http", "upload", "handtruck-asyncio", "wall"),
        ("nginx-http", "upload", "handtruck-asyncio", "cpu"),
        ("nginx-http", "upload", "handtruck-trio", "peak"),
        ("nginx-http", "get-4k@256", "handtruck-asyncio", "cpu"),
    }


def test_https_may_take_a_tenth_longer() -> None:
    pair = [line("handtruck-trio", "upload", 1.05, 1.0), line("obstore", "upload", 1.0, 1.0)]
    secure = [each | {"endpoint": "nginx-https"} for each in pair]
    assert targets.missed(targets.check(collect(pair))) == {
        ("nginx-http", "upload", "handtruck-trio", "wall"),
        ("nginx-http", "upload", "handtruck-trio", "cpu"),
    }
    assert targets.missed(targets.check(collect(secure))) == set()


def test_table_marks_losses_and_the_best(results: Results) -> None:
    text = report.markdown(results)
    rows = {row.split(" | ")[0]: row for row in text.splitlines() if row.startswith("| ") and "(" in row}
    ours = next(row for row in text.splitlines() if row.startswith("| handtruck-asyncio | 1.200"))
    assert ours == "| handtruck-asyncio | 1.200 ✗ (1.000–3.000) | 853 | 1.00 | 0.90 ✗ | 1.00 | 100 | sha256 |"
    assert rows["| handtruck-trio"].startswith(
        "| handtruck-trio | **0.800** (0.800–0.800) | 1 280 | 0.67 | **0.70** | "
    )
    assert "| 120 ✗ |" in rows["| handtruck-trio"]
    assert "| ✗ | nginx-http | upload | handtruck-trio | peak RSS, MiB | 120.00 | ≤ 110.00 |" in text
    assert "s5cmd 0.250 s (0.150 s CPU)" in text
    assert "✗ boto3 failed 1 times: ValueError: it broke" in text
    assert "Not here: httpx (no <multipart>)." in text
    assert "handtruck at abc" in text


def test_a_busy_machine_is_told() -> None:
    quiet, busy = ([line("obstore", "upload", 1.0, 1.0, others=others)] for others in (0.02, 1.25))
    assert "not idle" not in report.markdown(collect(quiet))
    assert "**The machine was not idle: 1.2 processors were busy with something else.**" in report.markdown(
        collect(busy)
    )


def test_every_run_has_a_line_of_its_own() -> None:
    said = [report.one_line(each) for each in LINES]
    assert all(len(each.splitlines()) == 1 for each in said)
    assert "no <multipart>" in said[6]
    assert said[7].endswith("FAILED: ValueError: it broke")


def test_plots_are_well_formed_and_name_everybody(results: Results, tmp_path: Path) -> None:
    drawn = {path.name: path for path in plots.draw(results, tmp_path / "plots")}
    assert set(drawn) == {"nginx-http-upload.svg", "nginx-http-get-4k-32.svg", "nginx-http-get-4k.svg"}
    for path in drawn.values():
        words = [element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - ours
        assert "handtruck-asyncio" in words
        assert "obstore" in words
        assert "prefers-color-scheme: dark" in path.read_text()


def test_revisions_are_compared_each_with_its_own() -> None:
    lines = [
        line("handtruck-trio@v1", "upload", 2.0, 2.0),
        line("handtruck-uvloop@v1", "upload", 4.0, 2.0),
        line("handtruck-trio@.", "upload", 1.0, 2.0),
        line("handtruck-uvloop@.", "upload", 3.0, 2.0),
    ]
    text = report.markdown(collect(lines), base="@v1")
    assert "| handtruck-trio@. | **1.000** (1.000–1.000) | 1 024 | 0.50 |" in text
    assert "| handtruck-uvloop@. | 3.000 (3.000–3.000) | 341 | 0.75 |" in text


def test_arguments() -> None:
    some = run.arguments(["--works", "get-4k,upload", "--clients", "obstore,s5cmd", "--endpoint", "rgw-http"])
    assert [work.name for work in some.works] == ["get-4k@1", "get-4k@8", "get-4k@32", "get-4k@256", "upload"]
    assert [client.name for client in some.clients] == ["obstore", "s5cmd"]
    assert (some.rounds, some.endpoint, list(run.plan(some))) == (5, ["rgw-http"], ["rgw-http"])
    quick = run.arguments(["--quick", "--works", "upload"])
    assert (quick.works[0].size, quick.rounds, list(run.plan(quick))) == (256 * MIB, 3, ["nginx-http"])
    everything = run.plan(run.arguments([]))
    assert [work.name for work in everything["nginx-https"]] == ["download-tmpfs", "upload", "upload-unsigned"]
    assert "list-100k" not in [work.name for work in everything["rgw-http"]]
    assert "get-4k@32" in [work.name for work in everything["rgw-http"]]


def names_of(line: list[str], work: str, endpoint: str = "nginx-http") -> list[str]:
    """Who takes part in a work, by that command line."""
    options = run.arguments(line)
    return [client.name for client in run.clients_of(options, catalogue.works()[work], endpoint)]


def test_who_takes_part() -> None:
    """Everybody somewhere, and the fastest everywhere, unless somebody says who."""
    assert names_of([], "upload") == names_of([], "get-4k@32") == list(catalogue.CLIENTS)
    assert names_of([], "upload", "rgw-http") == names_of([], "upload", "nginx-https") == list(catalogue.FASTEST)
    assert set(names_of([], "get-4k@256")) < set(catalogue.CLIENTS) > set(names_of([], "scaling@1GiB"))
    assert names_of(["--clients", "rclone"], "get-4k@256") == ["rclone"]
    assert names_of(["--quick"], "upload") == list(catalogue.QUICK_CLIENTS)
    compared = names_of(["--compare", "HEAD", "."], "upload", "rgw-http")
    assert compared == [f"{name}@{revision}" for name in catalogue.OURS for revision in ("HEAD", ".")]


@pytest.mark.parametrize("given", [["--works", "nope"], ["--clients", "nope"], ["--endpoint", "nope"]])
def test_names_that_nobody_has(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.arguments(given)
    assert "'nope'; there are: " in capsys.readouterr().err


@pytest.mark.parametrize("count", range(1, 12))
def test_nobody_always_comes_after_the_same_client(count: int) -> None:
    """What a client leaves behind, such as memory that is gone to the host, is not always the same one's burden."""
    names = [f"client-{number}" for number in range(count)]
    rounds = [catalogue.in_turn(names, number) for number in range(2 * count)]
    assert all(sorted(each) == sorted(names) for each in rounds)
    assert sorted(each[0] for each in rounds[:count]) == sorted(names)
    followers = Counter(pair for each in rounds for pair in pairwise(each))
    assert followers == dict.fromkeys(permutations(names, 2), 2)


def test_a_download_finds_memory_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as it needs, written and deleted at once before it."""
    deleted: list[int] = []
    monkeypatch.setattr(Path, "unlink", lambda path: deleted.append(path.stat().st_size))
    monkeypatch.setattr(os, "sync", lambda: None)  # the whole machine's
    arena.warm(tmp_path / "target", 5 * MIB + 1)
    assert deleted == [5 * MIB + 1]


def test_what_nginx_received_is_judged() -> None:
    part = f"8389000 content={'0' * 64} md5=- trailer=- checksum-sha256=-\n"
    unsigned = part.replace("0" * 64, "UNSIGNED-PAYLOAD").replace("md5=-", "md5=x==")
    assert arena.parts_arrived(part * 2, 16 * MIB, hashed=True)["payload"] == "sha256"
    assert arena.parts_arrived(unsigned * 2, 16 * MIB, hashed=False)["payload"] == "UNSIGNED-PAYLOAD + md5"
    for log, size, hashed, why in (
        (part * 2, 24 * MIB, True, "bytes of"),
        (part * 3, 16 * MIB, True, "3 parts were sent instead of 2"),
        (part * 2, 16 * MIB, False, "the payload's hash was sha256"),
    ):
        with pytest.raises(arena.Wrong, match=why):
            arena.parts_arrived(log, size, hashed=hashed)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[endpoints.Endpoint, endpoints.Endpoint]]:
    """The endpoint as the benchmarks run it; skipped where it is not installed, but not in CI."""
    try:
        program = endpoints.find_nginx()
    except endpoints.NotInstalled as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    checked = tmp_path / "checked"
    checked.mkdir()
    first, second = endpoints.free_ports(2)
    configuration = endpoints.configure_nginx(checked, http=first, https=second)
    command = [program, "-t", "-q", "-p", str(checked), "-c", str(configuration), "-e", str(checked / "error.log")]
    tested = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (tested.returncode, tested.stderr) == (0, "")
    directory = tmp_path / "served"
    directory.mkdir()
    with endpoints.serve(directory) as both:
        yield both


def ask(
    endpoint: endpoints.Endpoint, method: str, target: str, body: bytes = b"", **headers: str
) -> tuple[int, Any, bytes]:
    host = urlsplit(endpoint.url)
    if endpoint.ca is None:
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=10)
    else:
        context = ssl.create_default_context(cafile=str(endpoint.ca))
        connection = http.client.HTTPSConnection(host.hostname or "", host.port, timeout=10, context=context)
    try:
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def test_nginx_answers_as_s3_does(served: tuple[endpoints.Endpoint, endpoints.Endpoint]) -> None:
    for endpoint in served:
        assert endpoint.objects is not None
        endpoint.objects.joinpath("object").write_bytes(bytes(range(256)))
        status, headers, body = ask(endpoint, "GET", "/bench/object", Range="bytes=2-4")
        assert (status, body, headers["Content-Range"]) == (206, b"\x02\x03\x04", "bytes 2-4/256")
        etag = headers["ETag"]
        assert ask(endpoint, "GET", "/bench/object", If_Match=etag)[0] == 200
        assert ask(endpoint, "GET", "/bench/object", If_Match='"other"')[0] == 412
        assert ask(endpoint, "HEAD", "/bench/object")[1]["Content-Length"] == "256"
        assert ask(endpoint, "HEAD", "/bench/none")[0] == 404
        assert ask(endpoint, "PUT", "/bench/put", b"x" * 100_000)[1]["ETag"].startswith('"')
        assert b"<UploadId>upload</UploadId>" in ask(endpoint, "POST", "/bench/put?uploads=1")[2]
        assert b"<ETag>" in ask(endpoint, "POST", "/bench/put?uploadId=upload", b"<x/>")[2]
        assert ask(endpoint, "DELETE", "/bench/put")[0] == 204


def test_nginx_reads_a_part_to_its_end_and_says_so(served: tuple[endpoints.Endpoint, endpoints.Endpoint]) -> None:
    plain, _ = served
    assert plain.parts_log is not None
    status, headers, body = ask(
        plain, "PUT", "/bench/put?x=1&partNumber=7&uploadId=upload", b"x" * 9 * MIB, x_amz_content_sha256="0" * 64
    )
    assert (status, body, headers["ETag"][0]) == (200, b"", '"')
    ask(plain, "GET", "/bench/")  # nginx writes a request's line when it has answered, and before it takes the next
    length, *rest = plain.parts_log.read_text().split()
    assert 9 * MIB < int(length) < 9 * MIB + 1000
    assert rest == [f"content={'0' * 64}", "md5=-", "trailer=-", "checksum-sha256=-"]
    assert list(plain.parts_log.with_name("body").iterdir()) == []


def test_nginx_lists_every_key_once(served: tuple[endpoints.Endpoint, endpoints.Endpoint]) -> None:
    keys: list[str] = []
    token, name = "", "{http://s3.amazonaws.com/doc/2006-03-01/}"
    while True:
        query = "list-type=2" + (f"&continuation-token={token}&max-keys=1000" if token else "")
        status, headers, body = ask(served[0], "GET", f"/bench/?{query}")
        assert (status, headers["Content-Type"]) == (200, "application/xml")
        page = ET.fromstring(body)  # noqa: S314 - ours
        keys += [key.text or "" for key in page.iter(f"{name}Key")]
        token = page.findtext(f"{name}NextContinuationToken") or ""
        if not token:
            break
    assert page.findtext(f"{name}IsTruncated") == "false"
    assert len(keys) == len(set(keys)) == 100_000
    assert keys == sorted(keys)


def test_missing_nginx_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(endpoints.NotInstalled, match=r"apt-get install .* nginx"):
        endpoints.find_nginx()
