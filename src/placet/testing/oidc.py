"""A small OIDC issuer on this machine's loopback: discovery document, keys, tokens.

with SoftIssuer() as issuer:
    token = issuer.token({"actor_id": "4711", "aud": "placet:request:…"})
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey


class SoftIssuer:
    """An issuer whose keys are software and whose word counts nowhere but in tests and labs.

    Attributes:
        keys: what it publishes and signs with; the first one signs.
        discovery: members that replace those of the discovery document.
        broken: whether it answers every question with an error.
    """

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.keys: list[RSAKey | ECKey | OKPKey] = [self.make_key("1")]
        self.discovery: dict[str, Any] = {}
        self.broken = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def make_key(self, kid: str) -> RSAKey | ECKey | OKPKey:
        """Returns a fresh key for this issuer's algorithm."""
        if self.algorithm.startswith("ES"):
            return ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})
        if self.algorithm == "Ed25519":
            return OKPKey.generate_key("Ed25519", {"kid": kid, "use": "sig"})
        return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})

    @property
    def address(self) -> str:
        """The issuer, as it stands in its tokens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def token(
        self, claims: dict[str, Any], *, now: float | None = None, header: dict[str, Any] | None = None
    ) -> str:
        """Returns a token valid for five minutes; `claims` replace ours, and None takes one away."""
        at = int(time.time() if now is None else now)
        said = {"iss": self.address, "sub": "job", "iat": at, "nbf": at, "exp": at + 300} | claims
        members = {name: value for name, value in said.items() if value is not None}
        return self.sign(json.dumps(members).encode(), header=header)

    def sign(self, payload: bytes, *, header: dict[str, Any] | None = None) -> str:
        """Returns a compact JWS over any bytes, with the first key."""
        members = {"alg": self.algorithm, "kid": self.keys[0].kid} | (header or {})
        return jws.serialize_compact(members, payload, self.keys[0], [self.algorithm])

    def jwks(self) -> dict[str, Any]:
        """Returns the public keys as they are published."""
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(issuer: SoftIssuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            documents = {
                "/.well-known/openid-configuration": {
                    "issuer": issuer.address,
                    "jwks_uri": f"{issuer.address}/keys",
                }
                | issuer.discovery,
                "/keys": issuer.jwks(),
            }
            found = documents.get(self.path)
            body = json.dumps(found).encode()
            self.send_response(500 if issuer.broken else 404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Says nothing."""

    return Handler
