"""This file knows how something is told to somebody: by apprise to people, by a signed POST to programs.

Addresses and secrets are read from their files each time: a new one counts at once, none is kept or shown. A sender
returns "" when the receiver has taken it, else why not, in words without any secret.
"""

import hashlib
import hmac
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from aggregator.settings import ChannelSettings, WebhookSettings
from schemas.errors import SecretMissing
from schemas.settings import is_loopback, read_secret

SIGNATURE, TIMESTAMP, IDEMPOTENCY = "Undertone-Signature", "Undertone-Timestamp", "Idempotency-Key"


def tell_people(channel: ChannelSettings, title: str, body: str, *, timeout_s: float) -> str:
    """Send a message by apprise."""
    import apprise

    try:
        address = read_secret(channel.url_file)
    except SecretMissing as error:
        return str(error)
    # No pictures: receivers would fetch them from the internet.
    asset = apprise.AppriseAsset(
        app_id="Undertone", app_desc="Undertone", app_url="", async_mode=False, image_url_mask="", image_url_logo="",
        theme=None,
    )  # fmt: skip
    ways = apprise.Apprise(asset=asset)
    if not ways.add(address):
        return f"{channel.url_file} holds no address that apprise understands"
    for way in ways:
        way.socket_connect_timeout = way.socket_read_timeout = timeout_s
    try:
        taken = ways.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT)
    except TypeError as error:  # apprise: nothing to send, or no way loaded
        return f"apprise refused it: {error}"
    return "" if taken else "the receiver did not take it or cannot be reached; the log says more"


def tell_program(
    webhook: WebhookSettings, body: Mapping[str, Any], *, key: str, timestamp_s: int, timeout_s: float
) -> str:
    """POST a JSON body, signed over its time and itself, to a webhook. Redirects are not followed."""
    try:
        address, secret = read_secret(webhook.url_file), read_secret(webhook.secret_file)
    except SecretMissing as error:
        return str(error)
    parts = urllib.parse.urlsplit(address)
    plaintext_allowed = webhook.allow_plaintext or is_loopback(parts.hostname or "")
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        return f"{webhook.url_file} holds no address that begins with https://"
    if parts.scheme == "http" and not plaintext_allowed:
        return f"{webhook.url_file} is http:// to another machine: use https://, or set allow_plaintext = true"
    content = json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
    request = urllib.request.Request(  # noqa: S310 the scheme is checked above
        address, data=content, method="POST",
        headers={
            "Content-Type": "application/json; charset=utf-8", "User-Agent": "undertone", IDEMPOTENCY: key,
            TIMESTAMP: str(timestamp_s), SIGNATURE: signature(secret, timestamp_s, content),
        },
    )  # fmt: skip
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return f"the receiver answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None)
        return f"the receiver cannot be reached: {type(reason or error).__name__}"


def signature(secret: str, timestamp_s: int, content: bytes) -> str:
    """What the header carries: `sha256=` and the HMAC of `timestamp.content` in hex."""
    digest = hmac.new(secret.encode(), f"{timestamp_s}.".encode() + content, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        """Follow none: where a signed body goes is decided in the settings."""
