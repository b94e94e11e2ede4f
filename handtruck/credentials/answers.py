"""Keys in the JSON that services on the machine, or close to it, answer with.

Nothing here raises: a traceback would hold the document. What is wrong with one is told in words that quote nothing.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, cast

from .whole import date_of, is_plain, whole_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models import Credentials

_CODE: Final = re.compile(r"[A-Za-z]{1,64}")
_NEEDED: Final = ("AccessKeyId", "SecretAccessKey", "Token")


def object_in(body: bytes) -> Mapping[str, object] | None:
    """The JSON object that a body is; None if it is something else."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", document) if isinstance(document, dict) else None


def keys_in(body: bytes) -> Credentials | str:
    """The temporary keys in an answer of the metadata service or of a container's; or what is wrong with it.

    ::

        {"Code": "Success", "AccessKeyId": …, "SecretAccessKey": …, "Token": …, "Expiration": "2025-03-01T12:00:00Z"}
    """
    document = object_in(body)
    if document is None:
        return "its credentials are not a JSON object"
    code = document.get("Code", "Success")
    if code != "Success":
        return "it has no keys: " + word(code)
    for name in _NEEDED:
        if not is_plain(document.get(name)):
            return f"{name} is missing or not plain text"
    end = document.get("Expiration")
    if date_of(end) is None:
        return "Expiration is missing or not a date"
    key_id, secret, token = (document[name] for name in _NEEDED)
    found = whole_keys(key_id, secret, token, end, temporary=True)
    return "its credentials are not whole" if found is None else found


def word(code: object) -> str:
    """An error's code, if it looks like one: it may be anything."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "an unreadable code"


def region_in(body: bytes) -> str | None:
    """The region in an instance identity document."""
    region = (object_in(body) or {}).get("region")
    return region if is_plain(region) else None
