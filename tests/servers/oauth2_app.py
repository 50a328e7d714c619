"""An OAuth2 server for client credentials, with Authlib's own validation. Runs in the test servers' environment.

Beside `/token` and `/introspect` there are `/revoke`, which ends every token there is, and
`/issued`, which counts them.
"""

from __future__ import annotations

import os
import secrets
import sys
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # it is on loopback

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
from flask import Flask, request
from werkzeug.serving import make_server

PORT, CLIENT, SECRET, METHOD, LIFETIME = int(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])
app = Flask(__name__)
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": LIFETIME}
tokens: dict[str, float] = {}
issued: list[str] = []


class Client(ClientMixin):
    def get_client_id(self):
        return CLIENT

    def get_allowed_scope(self, scope):
        return " ".join(one for one in (scope or "").split() if one in {"read", "write"})

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(client_secret, SECRET)

    def check_endpoint_auth_method(self, method, endpoint):
        return method == METHOD

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (METHOD,)


def save(token, _):
    tokens[token["access_token"]] = time.monotonic() + token["expires_in"]
    issued.append(f"{request.form.get('scope', '')} {request.form.get('audience', '')}")


server = AuthorizationServer(app, query_client={CLIENT: Client()}.get, save_token=save)
server.register_grant(Grant)


@app.post("/token")
def token():
    return server.create_token_response()


@app.get("/introspect")
def introspect():
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return ("", 204) if kind == "Bearer" and tokens.get(value, 0) > time.monotonic() else ("", 401)


@app.post("/revoke")
def revoke():
    tokens.clear()
    return "", 204


@app.get("/issued")
def count():
    return issued


if __name__ == "__main__":
    make_server("127.0.0.1", PORT, app, threaded=True).serve_forever()
