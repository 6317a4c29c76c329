"""A small OpenID Connect provider on loopback for tests: discovery, authorize, token with PKCE, keys; honest or not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from typing import Annotated, Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from running import free_port, wait_until

CLIENT, SECRET = "schoolpulse-test", "client-secret-of-the-test"


class OidcServer:
    """Everybody who comes is ``person``. ``lies`` replaces parts of what it says; ``issued``: all codes and tokens."""

    def __init__(self) -> None:
        self.issuer = f"http://127.0.0.1:{free_port()}"
        self.person: dict[str, Any] = {"sub": "42", "preferred_username": "Lan", "name": "Nguyễn Thị Lan"}
        self.lies: dict[str, Any] = {}
        self.issued: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.key, self.other = (RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"}) for _ in range(2))
        config = uvicorn.Config(self._app(), port=int(self.issuer.rpartition(":")[2]), log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_until(lambda: self._server.started, 10, "the provider listens")

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def discovery() -> dict[str, Any]:
            at = {name: f"{self.issuer}/{path}" for name, path in ENDPOINTS.items()}
            return {"issuer": self.issuer, **at, **self.lies.get("discovery", {})}

        @app.get("/keys")
        def keys() -> dict[str, Any]:
            return dict(KeySet([self.key, ECKey.generate_key("P-256")]).as_dict())

        @app.get("/authorize")
        def authorize(request: Request) -> Response:
            asked = dict(request.query_params)
            assert (asked["client_id"], asked["response_type"], asked["scope"].split()[0]) == (CLIENT, "code", "openid")
            assert asked["code_challenge_method"] == "S256"
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            self.issued.append(code)
            answer = {"code": code, "state": asked["state"], **self.lies.get("answer", {})}
            return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303)

        @app.post("/token")
        def token(
            request: Request,
            code: Annotated[str, Form()],
            code_verifier: Annotated[str, Form()],
            redirect_uri: Annotated[str, Form()],
        ) -> Response:
            asked = self._codes.pop(code, None)  # once only
            basic = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            made = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
            if not asked or made != asked["code_challenge"] or redirect_uri != asked["redirect_uri"]:
                return JSONResponse({"error": "invalid_grant"}, 400)
            if request.headers.get("authorization") != basic:
                return JSONResponse({"error": "invalid_client"}, 401)
            return JSONResponse(
                {"token_type": "Bearer", "access_token": "at", "id_token": self._id_token(asked["nonce"])}
            )

        return app

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.person}
        claims = {name: value for name, value in {**claims, **self.lies.get("claims", {})}.items() if value is not None}
        how = self.lies.get("signed", "well")
        if how == "with our public key as a shared one":
            made = _signed({"alg": "HS256", "kid": "k1"}, claims, self.key.as_pem(private=False))
        elif how == "not at all":
            made = _signed({"alg": "none"}, claims, None)
        else:
            made = jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self.key if how == "well" else self.other)
        self.issued.append(made)
        return made


ENDPOINTS = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}


def _signed(header: dict[str, str], claims: dict[str, Any], secret: bytes | None) -> str:
    """As no library would."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    made = hmac.digest(secret, b".".join(parts), "sha256") if secret else b""
    return b".".join([*parts, base64.urlsafe_b64encode(made).rstrip(b"=")]).decode()
