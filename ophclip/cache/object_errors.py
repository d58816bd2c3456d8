# SPDX-License-Identifier: Apache-2.0
"""What an object store answers when it does not do what it was asked, and what the user can do about it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ophclip.errors import StorageError, UsageError

# Without a key in the environment, obstore asks the machine's metadata service for one.
NO_CREDENTIALS = ("Missing AccessKeyId", "Missing SecretAccessKey", "169.254.169.254", "169.254.170.2")

GO_ON = "then run the same command again: it goes on"


class RangeError(Exception):
    """A range of bytes that an object does not have."""


@contextmanager
def explained(bucket: str, key: str) -> Iterator[None]:
    """Turn the errors of obstore within the block into ours.

    Raises:
        FileNotFoundError: there is no such object.
        RangeError: it has no such bytes.
        UsageError: there is no such bucket.
        NotImplementedError: the store does not know what it was asked.
        StorageError: it cannot be reached, refuses, or fails.
    """
    try:
        yield
    except (FileNotFoundError, StorageError, UsageError, RangeError) as error:
        if "NoSuchBucket" in str(error):
            raise _no_bucket(bucket) from error
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(2, "no such object", f"s3://{bucket}/{key}") from error
        raise
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        raise _explanation(bucket, key, error) from error


def _explanation(bucket: str, key: str, error: Exception) -> Exception:
    text, short, url = str(error), short_form(error), f"s3://{bucket}/{key}"
    if "NoSuchBucket" in text:
        return _no_bucket(bucket)
    if "InvalidRange" in text or "416 Range Not Satisfiable" in text:
        return RangeError(short)
    if "NotImplemented" in text or type(error).__name__ == "NotSupportedError":
        return NotImplementedError(short)
    if any(sign in text for sign in NO_CREDENTIALS):
        return no_credentials(url)
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return StorageError(
            f"{url}: access denied: {short}",
            remedy="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and what they may do "
            f"with the bucket, {GO_ON}",
        )
    if "PermanentRedirect" in text or "redirect without LOCATION" in text:
        return StorageError(f"{url}: the bucket is in another region", remedy=f"set AWS_REGION, {GO_ON}")
    return StorageError(
        f"{url}: no answer that helps: {short}",
        remedy=f"check the network and AWS_ENDPOINT_URL ({_endpoint()}), {GO_ON}",
    )


def no_credentials(url: str) -> StorageError:
    """Return the error of a machine that knows no key."""
    return StorageError(
        f"{url}: no credentials were found",
        remedy=f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, {GO_ON}",
    )


def _no_bucket(bucket: str) -> UsageError:
    return UsageError(
        f"there is no bucket {bucket!r} at {_endpoint()}", remedy="create it, or check its name"
    )


def _endpoint() -> str:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return endpoint or "the AWS endpoint, which is the default"


def short_form(error: Exception) -> str:
    """Return what an S3 error says, in one line: code and message where the server gives them."""
    text = str(error)
    said = [re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("Code", "Message")]
    if any(said):
        return ": ".join(match[1].strip() for match in said if match)
    return " ".join(text.partition("Debug source:")[0].split())[:300]
