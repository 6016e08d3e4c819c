"""How a call to a Chatwoot can fail, an error a cause, so that each can be told and acted upon.

`again` says whether the same call may succeed later.
"""

from __future__ import annotations

from typing import ClassVar

from relay_protocol.errors import RelayError


class ChatwootError(RelayError, code="chatwoot_error", status=502):
    """Chatwoot refused a call for a reason that has no name of its own here.

    Args:
        where: Its address.
        what: Was asked for, such as `POST webhooks`.
        why: It failed.

    Attributes:
        retry_after_s: Chatwoot asks not to be called for so many seconds; 0 where it does not say.
    """

    again: ClassVar[bool] = False
    retry_after_s: float = 0.0
    message = "Chatwoot's answer to {1} is {2}"

    def __init__(self, where: str, what: str, why: str) -> None:
        super().__init__(where, what, why)


class ChatwootUnreachable(ChatwootError, code="chatwoot_unreachable"):
    """Chatwoot gave no answer, or one of those that pass: 429 and 5xx."""

    again = True
    message = "{0} did not answer {1}: {2}"
    hint = "Check the address, and that this host reaches it; curl ADDRESS/api shows its version."

    def __init__(self, where: str, what: str, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(where, what, why)
        self.retry_after_s = retry_after_s


class NotChatwoot(ChatwootError, code="not_chatwoot"):
    """Something answers at the address that is no Chatwoot, or leads elsewhere, for now perhaps.

    A proxy before it may, such as while a Chatwoot is deployed.
    """

    again = True
    message = "{0} does not answer as a Chatwoot does: {2}"
    hint = "Give the address that people open in their browser, without a path: https://chat.example.com"


class ChatwootTokenUnseen(ChatwootError, code="chatwoot_token_unseen"):
    """The token did not come through to Chatwoot."""

    message = "Chatwoot saw no access token with {1}"
    hint = (
        "A proxy before it drops header fields with underscores. For nginx, put"
        " underscores_in_headers on; into its server block."
    )


class ChatwootTokenRefused(ChatwootError, code="chatwoot_token_refused"):
    """Chatwoot knows no such access token."""

    message = "Chatwoot does not know the access token"
    hint = (
        "An administrator copies it from Chatwoot's Profile settings, at the bottom: Access token."
    )


class NotForBots(ChatwootError, code="chatwoot_not_for_bots"):
    """The token is an agent bot's, and may not make this call."""

    message = "an agent bot's access token is not good for {1}"
    hint = "An administrator's own token is; handing over with a bot's needs Chatwoot 4.14.2."


class NotAdministrator(ChatwootError, code="chatwoot_not_administrator"):
    """The token is an agent's, and the call is for administrators."""

    message = "the access token's owner is no administrator of the account"
    hint = "Webhooks, bots and inboxes are for administrators: take the token of one."


class NotInAccount(ChatwootError, code="chatwoot_not_in_account"):
    """The account is another one's, suspended, or not there."""

    message = "the access token is not good for the account: {2}"
    hint = "The number of an account is in Chatwoot's address bar: /app/accounts/2/."


class ChatwootApiOff(ChatwootError, code="chatwoot_api_off"):
    """The account's plan has no API."""

    message = "the account has neither API nor webhooks by its plan (on the cloud, since 4.16.0)"
    hint = "Choose another plan, or host Chatwoot yourself, where both are always on."


class GoneFromChatwoot(ChatwootError, code="chatwoot_gone"):
    """What a call was about is not there, or not any more."""

    message = "Chatwoot has nothing at {1}"
    hint = "Somebody deleted it meanwhile, or this Chatwoot is too old to have it."


class ChatwootInvalid(ChatwootError, code="chatwoot_invalid"):
    """Chatwoot does not take a value, such as a message that is too long."""

    message = "Chatwoot does not take what {1} gave it: {2}"
