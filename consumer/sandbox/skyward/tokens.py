"""The token endpoint: OAuth 2 client credentials, as Skyward's Secured Users have them."""

import base64
import binascii
import secrets
import time
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote_plus

from consumer.sandbox.skyward.behaviour import Settings, Version

SCOPE_PREFIX: dict[Version, str] = {
    "1.1": "https://purl.imsglobal.org/spec/or/v1p1/scope/",
    "1.2": "https://purl.imsglobal.org/spec/or/v1p2/scope/",
}
_ENDS = {
    "roster.readonly",
    "roster-core.readonly",
    "roster-demographics.readonly",
    "gradebook.readonly",
    "gradebook-core.readonly",
    "gradebook.createput",
    "gradebook.createpost",
    "gradebook.delete",
}
KNOWN_SCOPES = frozenset(prefix + end for prefix in SCOPE_PREFIX.values() for end in _ENDS)


class TokenError(Exception):
    """A token is not given; `code` is OAuth's word, `status` the answer's."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True)
class Token:
    """What a bearer may do, until `expires` on the monotonic clock; `number` is from 1."""

    number: int
    scopes: frozenset[str]
    expires: float


class TokenDesk:
    """One district's credentials and the tokens given out for them."""

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self._tokens: dict[str, Token] = {}
        self.issued = 0

    def regenerate_secret(self, *, revoke: bool) -> str:
        """A new secret in the place of the old one; with `revoke`, tokens end at once too."""
        self.client_secret = secrets.token_urlsafe(24)
        if revoke:
            self.expire_all()
        return self.client_secret

    def expire_all(self) -> None:
        """Every token given out so far is answered with 401 from now on."""
        self._tokens.clear()

    def token(self, authorization: str | None) -> Token | None:
        """The token of an Authorization header; None when missing, unknown or expired."""
        if authorization is None or authorization[:7].lower() != "bearer ":
            return None
        token = self._tokens.get(authorization[7:])
        if token is None or token.expires <= time.monotonic():
            return None
        return token

    def grant(
        self, authorization: str | None, body: bytes, settings: Settings
    ) -> dict[str, object]:
        """The answer to a token request; TokenError when there is none to give."""
        try:
            form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        except UnicodeDecodeError as error:
            raise TokenError(400, "invalid_request", "the form is not UTF-8") from error
        self._check_client(authorization, form, settings)
        if form.get("grant_type") != "client_credentials":
            raise TokenError(400, "unsupported_grant_type", "grant_type must be client_credentials")
        asked = form.get("scope", "").split() or sorted(KNOWN_SCOPES)
        for scope in asked:
            if scope not in KNOWN_SCOPES:
                raise TokenError(400, "invalid_scope", f"scope {scope} is unknown")
        granted = [scope for scope in asked if not scope.endswith(settings.withheld_scopes)]
        access_token = secrets.token_urlsafe(24)
        self.issued += 1
        self._tokens[access_token] = Token(
            self.issued, frozenset(granted), time.monotonic() + settings.token_expires_in
        )
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": int(settings.token_expires_in),
            "scope": " ".join(granted),
        }

    def _check_client(
        self, authorization: str | None, form: dict[str, str], settings: Settings
    ) -> None:
        if authorization is not None and authorization[:6].lower() == "basic ":
            way, client = "basic", _basic_client(authorization[6:])
        else:
            way, client = "body", (form.get("client_id", ""), form.get("client_secret", ""))
        if way not in settings.client_auth:
            raise TokenError(401, "invalid_client", f"clients may not authenticate by {way} here")
        expected = (self.client_id, self.client_secret)
        # RFC 6749 wants both parts form-encoded inside Basic; many clients send them bare.
        decoded = client and (unquote_plus(client[0]), unquote_plus(client[1]))
        if expected not in (client, decoded):
            raise TokenError(401, "invalid_client", "the key or the secret is wrong")


def _basic_client(credentials: str) -> tuple[str, str] | None:
    try:
        key, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return key, secret
