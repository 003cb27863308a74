"""A plant's provider of identities for tests: discovery, authorisation without asking, signed identity tokens."""

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT_ID, CLIENT_SECRET = "undertone", "only for tests"


@dataclass
class Provider:
    """Who signs in next, and with what; changed by tests while it runs.

    Attributes:
        claims: Of whoever signs in next.
        age_s: How old the identity token says it is.
        forged: Whether the token is signed by a key that is not the published one.
    """

    address: str
    claims: dict[str, Any] = field(default_factory=dict)
    age_s: float = 0.0
    forged: bool = False
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    nonces: dict[str, str] = field(default_factory=dict)

    @property
    def metadata_url(self) -> str:
        return f"{self.address}/.well-known/openid-configuration"

    def token(self, code: str) -> str:
        now_s = int(time.time() - self.age_s)
        said = {
            "iss": self.address, "aud": CLIENT_ID, "sub": self.claims.get("preferred_username", "x"), "iat": now_s,
            "exp": int(time.time()) + 600, "nonce": self.nonces.pop(code), **self.claims,
        }  # fmt: skip
        signed = f"{_json({'alg': 'RS256', 'typ': 'JWT', 'kid': 'one'})}.{_json(said)}"
        key = rsa.generate_private_key(65537, 2048) if self.forged else self.key
        return f"{signed}.{_encode(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def keys(self) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        modulus, exponent = (value.to_bytes((value.bit_length() + 7) // 8) for value in (numbers.n, numbers.e))
        entry = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": "one",
            "n": _encode(modulus),
            "e": _encode(exponent),
        }
        return {"keys": [entry]}

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.address, "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token", "jwks_uri": f"{self.address}/keys",
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
        }  # fmt: skip


@contextmanager
def provider() -> Iterator[Provider]:
    """Serve one while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, asked = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if path == "/authorize":
                code = secrets.token_urlsafe(8)
                made.nonces[code] = asked["nonce"][0]
                self.send_response(302)
                back = urlencode({"code": code, "state": asked["state"][0]})
                self.send_header("Location", f"{asked['redirect_uri'][0]}?{back}")
                self.end_headers()
                return
            self._say(made.keys() if path == "/keys" else made.metadata())

        def do_POST(self) -> None:
            sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._say({"access_token": "a", "token_type": "Bearer", "id_token": made.token(sent["code"][0])})

        def log_message(self, *_: object) -> None: ...

        def _say(self, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, name="provider", daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _json(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value).encode())
