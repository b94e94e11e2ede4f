"""The S3 in memory, with listings and batch deletes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.transfer.memory_s3 import Call, MemoryS3

if TYPE_CHECKING:
    import httpx

    from tests.transfer.memory_s3 import _Reply

BUCKET: Final = "/bucket/"


@dataclass
class ListingS3(MemoryS3):
    """Where requests end that list a bucket, and delete.

    Attributes:
        most: keys that a page has at most.
        refused: of a batch delete: an error code for each of these keys, as often as it says.
        forgotten: of a batch delete: keys that the answer does not name, and that stay.
        strange: prefixes that every listing with a delimiter has, too.
        deleted: how often each key was deleted.
        lost: tokens whose key was not there any more when they came.
    """

    most: int = 2
    refused: dict[str, list[str]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    strange: tuple[str, ...] = ()
    deleted: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def fill(self, *keys: str) -> None:
        """Objects that are there already."""
        for key in keys:
            self.put(BUCKET + key, b"")

    @property
    def keys(self) -> list[str]:
        """Of the objects that are there, in order."""
        return sorted(path.removeprefix(BUCKET) for path in self.objects)

    def sent(self, operation: str) -> list[Call]:
        """The requests of one operation."""
        return [call for call in self.calls if call.operation == operation]

    def _call(self, request: httpx.Request) -> Call:
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode(), True).items()}
        operation = {"list-type": "ListObjectsV2", "delete": "DeleteObjects"}.get(
            next(iter(query.keys() & {"list-type", "delete"}), "")
        )
        if operation is None:
            return super()._call(request)
        call = Call(len(self.calls) + 1, operation, request.url.path, query, request.headers)
        self.calls.append(call)
        return call

    def _carry_out(self, call: Call, body: bytes, *, refused: bool) -> _Reply:
        if not refused and call.operation == "ListObjectsV2":
            self.done[call.operation] += 1
            return self._reply(200, {}, self._listed(call.query).encode())
        if not refused and call.operation == "DeleteObjects":
            self.done[call.operation] += 1
            return self._reply(200, {}, self._delete_all(body).encode())
        if call.operation == "DeleteObject":
            self.deleted[unquote(call.path.removeprefix(BUCKET))] += not refused
        return super()._carry_out(call, body, refused=refused)

    def _listed(self, query: dict[str, str]) -> str:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        found: dict[str, bool] = dict.fromkeys(self.strange if delimiter else (), True)
        for key in self.keys:
            if key.startswith(prefix):
                head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
                found[prefix + head + cut if cut else key] = bool(cut)
        after = unquote(query.get("continuation-token", ""))
        self.lost += [after] if after and after not in found else []
        left = [name for name in sorted(found) if name > after]
        page = left[: self.most]
        rows = "".join(
            f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>"
            if found[name]
            else f"<Contents><Key>{quote(name)}</Key></Contents>"
            for name in page
        )
        more = len(page) < len(left)
        token = f"<NextContinuationToken>{quote(page[-1])}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        return f"<ListBucketResult><EncodingType>url</EncodingType>{truncated}{rows}</ListBucketResult>"

    def _delete_all(self, body: bytes) -> str:
        rows = []
        document = ET.fromstring(body)  # noqa: S314 - our own client wrote it
        quiet = any(found.tag.endswith("Quiet") for found in document)
        for key in [found.text or "" for found in document.iter() if found.tag.endswith("Key")]:
            if codes := self.refused.get(key):
                rows.append(f"<Error><Key>{escape(key)}</Key><Code>{codes.pop(0)}</Code></Error>")
            elif key not in self.forgotten:
                self.objects.pop(BUCKET + key, None)
                self.deleted[key] += 1
                rows.append("" if quiet else f"<Deleted><Key>{escape(key)}</Key></Deleted>")
        return f"<DeleteResult>{''.join(rows)}</DeleteResult>"
