"""A peer on a real loopback socket, inside the test's own event loop, that says exactly what a test scripts.

::

    async with store() as (s3, tiny):                                # a small S3 in memory, and a client of it
        tiny.on("UploadPart", error(503, "SlowDown"), nth=2)
        await s3.put_multipart("b/k", …)
        assert tiny.names == ["CreateMultipartUpload", "UploadPart", …]

    async with serve(handler) as peer, client(peer) as s3:           # whatever `async def handler(request)` answers
        …

:mod:`tests.scripted.peer` is the socket half, :mod:`tests.scripted.tiny` is the small S3.
"""

from tests.scripted.peer import RESET, SILENCE, Handler, Peer, Reply, Request, drip, replies, serve, truncated
from tests.scripted.tiny import TinyS3, client, completed_in_200, error, etag_of, quick, store, xml

__all__ = (
    "RESET",
    "SILENCE",
    "Handler",
    "Peer",
    "Reply",
    "Request",
    "TinyS3",
    "client",
    "completed_in_200",
    "drip",
    "error",
    "etag_of",
    "quick",
    "replies",
    "serve",
    "store",
    "truncated",
    "xml",
)
