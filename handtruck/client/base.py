"""What the families of methods share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..errors import UsageError
from ..protocol import options
from ..protocol.checksums import ALGORITHM_HEADER, of_a_body
from . import arguments

if TYPE_CHECKING:
    from .._session import Session
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers
    from ..protocol.options import ReadOptions, WriteOptions
    from .arguments import HeaderTypes, ObjectName

_KEPT: Final = frozenset({"retention_mode", "legal_hold"})


class Family:
    """Some methods of :class:`handtruck.S3Client`."""

    _session: Session

    def _locate(self, object_name: ObjectName) -> Location:
        return self._session.endpoint.locate(arguments.object_name(object_name))

    def _writing(self, headers: HeaderTypes | None, given: WriteOptions) -> Headers:
        """All headers of a request that writes; what stands in ``headers`` goes as it is."""
        if not given:
            return arguments.headers_of(headers)
        said = options.write_headers(given)
        if self._session.quirks.unquoted_if_match:
            said = tuple((name, value.strip('"') if name == "If-Match" else value) for name, value in said)
        return arguments.merged(headers, said, self._session.endpoint)

    def _sending(
        self, headers: HeaderTypes | None, given: WriteOptions, location: Location, *, whole: bool = True
    ) -> Headers:
        """All headers of a request, or an upload, that brings an object's bytes along.

        With the checksum of the server's quirks, where nothing is said of one: on AWS. Elsewhere servers refuse, ignore
        or garble it; but what is to be kept (a retention, a legal hold) nobody takes without. Only of a ``whole``
        object: S3 refuses it with a part of an upload that was begun without.

        Raises:
            UsageError: two of them are given.
        """
        sent = self._writing(headers, given)
        endpoint, usual = self._session.endpoint, self._session.quirks.checksum
        if "checksum" in given or usual is not None or not _KEPT.isdisjoint(given):
            said = of_a_body(sent)
            if len(said) > 1 and given.get("checksum") is not None:
                raise UsageError(f"checksum= is given, and in headers= {' and '.join(said[:-1])}: leave one out")
            an_object = whole and location.key and (location.bucket or endpoint.fixed)
            if an_object and not said and "checksum" not in given:
                return (*sent, (ALGORITHM_HEADER, usual or "CRC32"))
        return sent

    def _reading(self, headers: HeaderTypes | None, given: ReadOptions) -> tuple[Headers, Query]:
        """All headers of a request that reads, and its query parameters."""
        if not given:
            return arguments.headers_of(headers), ()
        more, query = options.read_request(given)
        return arguments.merged(headers, more, self._session.endpoint), query
