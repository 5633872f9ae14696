"""What SDK, keystoneauth and requests raise, in the user's words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests
from keystoneauth1 import exceptions as ksa
from openstack import exceptions as sdk

from netorder.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what SDK, keystoneauth and requests raise into a CloudError."""
    try:
        yield
    except (sdk.SDKException, ksa.ClientException, requests.RequestException) as error:
        raise CloudError(explain(error)) from error


def explain(error: BaseException) -> str:  # noqa: PLR0911 (one line for each kind of error)
    """Return one line: what failed, and how to fix it where that is known."""
    match error:
        case CloudError():
            return "; ".join(error.problems)
        case ksa.Unauthorized() | sdk.HttpException(status_code=401):
            return (
                "The cloud refused the credentials: user, password or token is wrong or has expired. "
                "Correct the entry of clouds.yaml that OS_CLOUD names, or the OS_* variables."
            )
        case sdk.ConfigException() | ksa.AuthPluginException() | ksa.MissingAuthMethods():
            return (
                f"No usable cloud: {one_line(error)}. Set OS_CLOUD to an entry of clouds.yaml, or the OS_* variables "
                "of a downloaded RC file (`make cloud-up` starts a local one)."
            )
        case ksa.SSLError():
            return f"The cloud's certificate was refused: {one_line(error)}. Name its authority: cacert in clouds.yaml."
        case ksa.ConnectionError() | requests.RequestException() if not isinstance(error, sdk.HttpException):
            return f"Nothing answers: {one_line(error)}. Is the cloud up, and auth_url (OS_AUTH_URL) right?"
        case ksa.EndpointNotFound() | ksa.DiscoveryFailure() | sdk.ServiceDiscoveryException() | sdk.NotSupported():
            return (
                f"The cloud's catalog has no such service: {one_line(error)}. Check region_name in the entry of "
                "clouds.yaml that OS_CLOUD names; without OS_CLOUD, OS_REGION_NAME."
            )
        case sdk.HttpException():
            details = " ".join((error.details or error.message or "").split()).rstrip(".")
            return f"{details} (HTTP {error.status_code} to {error.method} {error.url!s}).{_fix(error.status_code)}"
        case ksa.HttpError():
            return f"{one_line(error)} ({error.method} {error.url}).{_fix(error.http_status)}"
        case _:
            return f"{type(error).__name__}: {one_line(error)}"


def _fix(status: int | None) -> str:
    """Return what to do about a status that says little; the service's own words are before it."""
    match status:
        case 409 | 412:
            return " Something else was at it at the same time, or holds it: run again."
        case 429:
            return " The cloud limits the rate of requests: wait, then run again."
        case int() if status >= 500:  # noqa: PLR2004 (server errors)
            return " The cloud failed, not the request: run again; if it stays so, its operator's logs tell why."
        case _:
            return ""


def one_line(error: BaseException) -> str:
    """Return what an error says, on one line and without its full stop."""
    return " ".join(str(error).split()).rstrip(".")
