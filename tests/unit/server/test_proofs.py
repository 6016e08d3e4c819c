"""The secrets that a channel's sender signs with, taken and let go of one by one."""

from __future__ import annotations

import asyncio
import json

import pytest

from relay_server.configs import HmacAuth
from relay_server.errors import Forbidden, InvalidValue
from relay_server.operations import Caller
from relay_server.operations.proofs import NewSecret, add_secret, remove_secret, secrets_of
from relay_server.signing import SCHEMES
from relay_server.validity import MAX_SECRETS
from relay_server.values import Scope
from tests.unit.server.asking import Asking
from tests.unit.server.support import Served


async def signed(served: Served, scheme: str = "chatwoot", secrets: int = 1) -> Caller:
    """An operator of a channel that is signed so."""
    sealed = tuple(served.context.sealer.seal(b"secret%d" % n) for n in range(secrets))
    await served.configure(hmac=HmacAuth(scheme, sealed))
    return Caller(served.context)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_secret_that_is_made_here_is_one_of_its_scheme(scheme: str, served: Served) -> None:
    who = await signed(served, scheme)
    made = await add_secret(who, "chatwoot", NewSecret())
    assert SCHEMES[scheme].key(made.secret.encode())
    hmac = served.store.catalog.channels["chatwoot"].config.hmac
    assert hmac is not None
    assert served.context.sealer.open(hmac.secrets[1]) == made.secret.encode()
    assert len(secrets_of(who, "chatwoot")) == 2


async def test_two_who_add_at_once_have_both(served: Served) -> None:
    who = await signed(served)
    await asyncio.gather(*(add_secret(who, "chatwoot", NewSecret(one)) for one in ("a", "b")))
    assert len(secrets_of(who, "chatwoot")) == 3


async def test_what_cannot_be_is_refused_and_changes_nothing(served: Served) -> None:
    who = Caller(served.context)
    with pytest.raises(InvalidValue, match="nobody signs"):
        await add_secret(who, "chatwoot", NewSecret())
    who = await signed(served, "standard-webhooks")
    with pytest.raises(InvalidValue, match="base64"):
        await add_secret(who, "chatwoot", NewSecret("whsec_!"))
    [only] = secrets_of(who, "chatwoot")
    with pytest.raises(InvalidValue, match="only secret"):
        await remove_secret(who, "chatwoot", only.id)
    who = await signed(served, secrets=MAX_SECRETS)
    with pytest.raises(InvalidValue, match="at most"):
        await add_secret(who, "chatwoot", NewSecret())
    assert len(secrets_of(who, "chatwoot")) == MAX_SECRETS

    await served.make_token("ana", Scope.SUBSCRIBE)
    ana = next(token for token in served.store.catalog.tokens.values() if token.name == "ana")
    with pytest.raises(Forbidden):
        await add_secret(Caller(served.context, ana), "chatwoot", NewSecret())


async def test_the_api_rotates_them(served: Served, admin: Asking, ana: Asking) -> None:
    await signed(served)
    path = "channels/chatwoot/secrets"
    made = await admin.ok("POST", path, {})
    given = await admin.ok("POST", path, {"secret": "mine"})
    [old, *_] = listed = (await admin.ok("GET", path))["secrets"]
    assert [one["id"] for one in listed] == [old["id"], made["id"], given["id"]]
    assert made["secret"] not in json.dumps(listed)
    for again in ("mine", " secret0 "):
        assert await admin.refused("POST", path, {"secret": again}) == (422, "invalid_value")
    await admin.ok("DELETE", f"{path}/{old['id']}")
    assert await admin.refused("DELETE", f"{path}/{old['id']}") == (404, "secret_not_found")
    hmac = served.store.catalog.channels["chatwoot"].config.hmac
    assert hmac is not None
    taken = [served.context.sealer.open(one).decode() for one in hmac.secrets]
    assert taken == [made["secret"], "mine"]
    for method, where in (("GET", path), ("POST", path), ("DELETE", f"{path}/{made['id']}")):
        body: object = {} if method == "POST" else None
        assert await ana.refused(method, where, body) == (403, "forbidden")
