"""Tokens as an attacker makes them: forged, expired, of another audience, unsigned; revoked and rotated ones."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from api.keys import FileKeys, KeysUnusable, SettingsKeys
from api.tokens import AUDIENCE, ISSUER, Tokens
from core.access import Role
from core.errors import AccessDenied
from core.secret import Secret
from store.issued_tokens import IssuedTokens

NOT_VALID = "the token is not valid"


class Office:
    """Keys and a register of their own, and the means to sign whatever claims."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "api_keys.json"
        self.keys = FileKeys(self.path)
        self.keys.ensure()
        self.register = IssuedTokens(directory / "tokens.sqlite3")
        self.tokens = Tokens(self.keys, self.register)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "eve",
            "role": "admin",
            "jti": "1",
            "iat": now,
            "exp": now + 60,
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def signed(self, claims: dict[str, Any], *, key: str = "", kid: Any = "", algorithm: str = "HS256") -> str:
        signing = self.keys.live()[0]
        # Not by PyJWT's encode, which refuses some of what an attacker would write.
        head = {"alg": algorithm, "typ": "JWT", "kid": kid or signing.kid}
        content = f"{encoded(head)}.{encoded(claims)}"
        digest = jwt.get_algorithm_by_name("HS256").sign(content.encode(), (key or signing.secret).encode())
        return f"{content}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    def refusal(self, token: str) -> str:
        with pytest.raises(AccessDenied) as refused:
            self.tokens.judge(token)
        assert refused.value.status == 401
        return str(refused.value)


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.register.close()


def test_a_token_that_was_given_out_says_who_and_what_role(office: Office) -> None:
    now = time.time()
    token, issued = office.tokens.issue("alice", Role.OPERATOR, 3600, now)
    judged = office.tokens.judge(token)
    assert judged == issued
    assert (judged.user, judged.role, judged.expires_at) == ("alice", Role.OPERATOR, int(now + 3600))
    assert [each.id for each in office.register.all()] == [issued.id]
    assert token not in Path(office.path.parent / "tokens.sqlite3").read_bytes().decode("latin-1")


def test_our_own_signing_passes_so_that_the_refusals_below_mean_something(office: Office) -> None:
    assert office.tokens.judge(office.signed(office.claims())).user == "eve"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another-service"}, {"aud": [AUDIENCE, "another-service"]}, {"iss": "somebody-else"}, {"sub": 1},
        {"sub": ""}, {"sub": "x" * 201}, {"sub": "a\nb"}, {"role": "root"}, {"role": None}, {"role": ["admin"]},
        {"exp": None}, {"iat": None}, {"sub": None}, {"jti": None}, {"aud": None}, {"iss": None}, {"jti": 7},
        {"jti": ""}, {"exp": "soon"}, {"nbf": 2**40}, {"iat": 2**40}, {"exp": 2**70},
        {"iat": "x"}, {"exp": float("inf")},
    ],
    ids=str,
)  # fmt: skip
def test_claims_that_are_not_ours_are_refused_though_well_signed(office: Office, changes: dict[str, Any]) -> None:
    claims = office.claims() | changes
    if changes == {"exp": 2**70}:
        assert office.tokens.judge(office.signed(claims)).user == "eve", "far away, and no overflow"
        return
    assert (
        office.refusal(office.signed({name: value for name, value in claims.items() if value is not None})) == NOT_VALID
    )


def test_an_expired_token_is_refused_and_says_so(office: Office) -> None:
    token, _ = office.tokens.issue("alice", Role.ADMIN, 60, time.time() - 61)
    assert office.refusal(token) == "the token has expired"


def test_an_unsigned_token_and_other_algorithms_are_refused(office: Office) -> None:
    for algorithm in ("none", "None", "NONE", "HS512", "RS256", "hs256"):
        assert office.refusal(office.signed(office.claims(), algorithm=algorithm)) == NOT_VALID, algorithm
    unsigned = jwt.encode(office.claims(), "", algorithm="none", headers={"kid": office.keys.live()[0].kid})
    assert office.refusal(unsigned) == NOT_VALID
    whole = office.signed(office.claims())
    assert office.refusal(whole.rpartition(".")[0] + ".") == NOT_VALID


def test_a_forged_signature_and_a_swapped_payload_are_refused(office: Office) -> None:
    assert office.refusal(office.signed(office.claims(), key="another key of more than thirty-two bytes")) == NOT_VALID
    good, _ = office.tokens.issue("alice", Role.VIEWER, 3600, time.time())
    head, _, signature = good.split(".")
    assert office.refusal(f"{head}.{encoded(office.claims())}.{signature}") == NOT_VALID


@pytest.mark.parametrize("kid", ["another", 1, ["x"], {"a": 1}, "../../../etc/passwd", "' OR 1=1 --"], ids=str)
def test_a_key_that_we_do_not_have_is_refused(office: Office, kid: Any) -> None:
    assert office.refusal(office.signed(office.claims(), kid=kid)) == NOT_VALID


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "é.é.é", "eyJ" * 5000, "a.b", "\x00", "[" * 3000 + ".x.y"])
def test_what_is_no_token_at_all_is_refused(office: Office, token: str) -> None:
    assert office.refusal(token) == NOT_VALID


def test_a_revoked_token_is_refused_at_once_by_whoever_has_the_register_open(office: Office) -> None:
    token, issued = office.tokens.issue("alice", Role.ADMIN, 3600, time.time())
    kept, _ = office.tokens.issue("alice", Role.ADMIN, 3600, time.time())
    office.tokens.judge(token)
    elsewhere = IssuedTokens(office.path.parent / "tokens.sqlite3")
    revoked = elsewhere.revoke(issued.id, 1000.0)
    assert revoked is not None
    assert revoked.state(0) == "revoked"
    again = elsewhere.revoke(issued.id, 2000.0)
    assert again is not None
    assert again.revoked_at == 1000.0, "revoked once, the first time counts"
    assert elsewhere.revoke("nobody's", 1000.0) is None
    elsewhere.close()
    assert office.refusal(token) == "the token has been revoked"
    assert office.tokens.judge(kept).user == "alice"


def test_after_a_rotation_the_former_key_verifies_and_the_one_before_it_no_more(office: Office) -> None:
    first, _ = office.tokens.issue("alice", Role.ADMIN, 3600, time.time())
    other_process = FileKeys(office.path)
    other_process.rotate()
    second, _ = office.tokens.issue("alice", Role.ADMIN, 3600, time.time())
    assert jwt.get_unverified_header(first)["kid"] != jwt.get_unverified_header(second)["kid"]
    assert office.tokens.judge(first).user == office.tokens.judge(second).user == "alice"
    other_process.rotate()
    assert office.refusal(first) == NOT_VALID
    assert office.tokens.judge(second).user == "alice"


def test_rotations_at_the_same_time_leave_two_keys_and_a_whole_file(office: Office) -> None:
    threads = [threading.Thread(target=FileKeys(office.path).rotate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.kid for key in office.keys.live()}) == 2
    assert sorted(path.name for path in office.path.parent.glob("api_keys*")) == ["api_keys.json", "api_keys.json.lock"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_key_file_is_its_owners_alone_and_refused_when_others_may_read_it(office: Office) -> None:
    assert office.path.stat().st_mode & 0o777 == 0o600
    secret = office.keys.live()[0].secret
    for mode in (0o640, 0o604, 0o620, 0o644):
        office.path.chmod(mode)
        with pytest.raises(KeysUnusable, match=r"chmod 600") as refused:
            office.keys.live()
        assert secret not in str(refused.value)
    office.path.chmod(0o600)
    assert office.keys.live()[0].secret == secret


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"keys": []}', '{"keys": [{"kid": "a"}]}', '{"keys": {"a": 1}}', "é"]
)
def test_a_damaged_key_file_is_an_error_and_not_new_keys(office: Office, content: str) -> None:
    office.path.write_text(content, encoding="utf-8")
    with pytest.raises(KeysUnusable, match="delete it"):
        office.keys.ensure()
    assert office.path.read_text(encoding="utf-8") == content


def test_no_key_is_seen_where_keys_are_printed(office: Office) -> None:
    (key,) = office.keys.live()
    assert key.secret not in repr(key)
    assert key.secret not in str(office.keys.live())


def test_a_secret_of_the_settings_signs_and_the_former_one_still_verifies(office: Office) -> None:
    former, new = "q0Zr7vN2xK8mW4tJ6yB1cF5hD9gL3pSaEu", "wT5nB8kR2vX6mQ9zJ3yH7cL1fD4gPsAoIu"
    before = Tokens(SettingsKeys(Secret(former)), office.register)
    token, _ = before.issue("alice", Role.ADMIN, 3600, time.time())
    both = Tokens(SettingsKeys(Secret(f"{new}, {former}")), office.register)
    assert both.judge(token).user == "alice"
    assert Tokens(SettingsKeys(Secret(new)), office.register).judge(both.issue("b", Role.VIEWER, 60, time.time())[0])
    with pytest.raises(AccessDenied):
        Tokens(SettingsKeys(Secret(new)), office.register).judge(token)


def test_tokens_that_ended_long_ago_are_forgotten(office: Office) -> None:
    office.tokens.issue("old", Role.VIEWER, 60, 1000.0)
    office.tokens.issue("new", Role.VIEWER, 60, time.time())
    assert office.register.forget_before(time.time() - 86400) == 1
    assert [each.user for each in office.register.all()] == ["new"]
