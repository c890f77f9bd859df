"""API tokens: JSON Web Tokens signed with HS256, by PyJWT."""

from __future__ import annotations

import secrets
from typing import Any, Protocol

import jwt

from api.keys import Keys, SigningKey
from core import request_phrases as say
from core.access import IssuedToken, Role
from core.errors import AccessDenied

ALGORITHM = "HS256"
ISSUER = "comfyui-cache-keeper"
AUDIENCE = "comfyui-cache-keeper-api"
REQUIRED_CLAIMS = ("exp", "iat", "sub", "jti", "aud", "iss")
LONGEST_SECONDS = 366 * 86400.0

# PyJWT by default only warns about a short key, and would take the list of algorithms from wherever it is told.
_jwt = jwt.PyJWT(
    options={
        "require": list(REQUIRED_CLAIMS),
        "strict_aud": True,
        "verify_exp": True,
        "verify_iat": True,
        "verify_nbf": True,
        "verify_sub": True,
        "verify_jti": True,
        "enforce_minimum_key_length": True,
    }
)


class Register(Protocol):
    """Where it is written down which tokens were given out and revoked; see store/issued_tokens.py."""

    def add(self, token: IssuedToken) -> None: ...
    def is_revoked(self, token_id: str) -> bool: ...


class Tokens:
    """Gives out tokens and judges them."""

    def __init__(self, keys: Keys, register: Register) -> None:
        self._keys = keys
        self._register = register

    def issue(self, user: str, role: Role, seconds: float, now: float) -> tuple[str, IssuedToken]:
        """Return a token that lasts ``seconds`` from ``now`` (UTC), and its entry in the register.

        Raises KeysUnusable, StoreError.
        """
        issued = IssuedToken(secrets.token_hex(8), user, role, int(now), int(now + seconds))
        token = sign(self._keys.live()[0], issued)
        self._register.add(issued)
        return token, issued

    def judge(self, token: str) -> IssuedToken:
        """Return what a token says, once it is found good; raises AccessDenied (401), KeysUnusable, StoreError.

        Beyond *expired* and *revoked* nobody is told why it is not good: whoever forges one would learn from it.
        """
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next((key for key in self._keys.live() if key.kid == kid), None)
            if key is None:
                raise AccessDenied(say.TOKEN_NOT_VALID(), 401)
            claims = _jwt.decode(token, key.secret, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER)
            issued = _read(claims)
        except jwt.ExpiredSignatureError:
            raise AccessDenied(say.TOKEN_EXPIRED(), 401) from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise AccessDenied(say.TOKEN_NOT_VALID(), 401) from None
        if self._register.is_revoked(issued.id):
            raise AccessDenied(say.TOKEN_REVOKED(), 401)
        return issued


def sign(key: SigningKey, token: IssuedToken) -> str:
    """Return the token for an entry, signed; nothing is written down."""
    claims = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": token.user, "role": token.role.value, "jti": token.id,
        "iat": int(token.issued_at), "exp": int(token.expires_at),
    }  # fmt: skip
    return _jwt.encode(claims, key.secret, algorithm=ALGORITHM, headers={"kid": key.kid})


def _read(claims: dict[str, Any]) -> IssuedToken:
    """Raises ValueError for claims that PyJWT lets pass and that are none of ours."""
    user, token_id = claims["sub"], claims["jti"]
    if not user or not token_id or len(user) > 200 or len(token_id) > 200 or not (user + token_id).isprintable():
        raise ValueError("sub and jti must be short texts")
    return IssuedToken(token_id, user, Role(claims.get("role", "")), claims["iat"], claims["exp"])
