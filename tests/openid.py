"""An OpenID provider for tests: it takes everybody for whom the test says, without a question."""

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, CLIENT_SECRET = "neuronxa", "the-client's-own-secret"


class Provider:
    """address: where it answers. claims: of whoever signs in next; None: they refuse. ended: sign-outs so far."""

    def __init__(self) -> None:
        self.claims: dict[str, object] | None = {}
        self.ended = 0
        self._key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})
        self._asked: dict[str, tuple[dict[str, str], dict[str, object]]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                answers = {
                    "/.well-known/openid-configuration": provider._metadata,
                    "/jwks": lambda: {"keys": [provider._key.as_dict(private=False)]},
                }
                if url.path == "/authorize":
                    self._redirect(provider._authorized(query))
                elif url.path == "/logout":
                    provider.ended += 1
                    self._redirect(query["post_logout_redirect_uri"])
                elif url.path in answers:
                    self._answer(200, answers[url.path]())
                else:
                    self._answer(404, {})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._answer(*provider._token(form, self.headers.get("Authorization", "")))

            def _redirect(self, where):
                self.send_response(302)
                self.send_header("Location", where)
                self.end_headers()

            def _answer(self, status, document):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Tests read their own server's log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://localhost:{self.server.server_port}"

    def _metadata(self) -> dict[str, object]:
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks",
            "end_session_endpoint": f"{self.address}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _authorized(self, query: dict[str, str]) -> str:
        assert query["client_id"] == CLIENT
        assert query["response_type"] == "code"
        assert "openid" in query["scope"].split()
        answer = {"state": query["state"]}
        if self.claims is None:
            answer["error"] = "access_denied"
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self._asked[answer["code"]] = (query, dict(self.claims))
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, object]]:
        client = form.get("client_id"), form.get("client_secret")
        if authorization.startswith("Basic "):
            client = tuple(base64.b64decode(authorization[6:]).decode().split(":", 1))
        asked = self._asked.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if client != (CLIENT, CLIENT_SECRET) or asked is None:
            return 401, {"error": "invalid_client"}
        query, claims = asked
        if challenge.rstrip(b"=").decode() != query["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        told = {"iss": self.address, "aud": CLIENT, "iat": now, "exp": now + 3600, "nonce": query["nonce"], **claims}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, told, self._key)
        return 200, {"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600, "id_token": token}

    def secrets_toml(self, port: int, below: str = "") -> str:
        """What the app's secrets say of it, for an app at this port."""
        return "\n".join(
            [
                "[auth]",
                f'redirect_uri = "http://localhost:{port}{below}/oauth2callback"',
                f'cookie_secret = "{secrets.token_urlsafe(48)}"',
                f'client_id = "{CLIENT}"',
                f'client_secret = "{CLIENT_SECRET}"',
                f'server_metadata_url = "{self.address}/.well-known/openid-configuration"',
            ]
        )


@contextlib.contextmanager
def provided():
    """A provider, until the block ends."""
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        provider.server.server_close()
