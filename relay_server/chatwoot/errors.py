"""Why a Chatwoot and a channel cannot be set to each other, beyond a call that fails."""

from __future__ import annotations

from relay_chatwoot.errors import ChatwootError


class ChatwootVersion(ChatwootError, code="chatwoot_version"):
    """This version of Chatwoot cannot do what is asked for."""

    message = "Chatwoot {0} cannot do it: {2}"
    hint = "Nothing was changed. Upgrade Chatwoot first."


class InboxTaken(ChatwootError, code="chatwoot_inbox_taken"):
    """Another bot answers in the inbox."""

    message = "the inbox {0} has a bot already: {2}"
    hint = (
        "Nothing was changed. Take it off in Chatwoot first, under the inbox's Bot configuration."
    )


class NoSuchInbox(ChatwootError, code="chatwoot_no_inbox"):
    """The account has no inbox of this number, or none was named."""

    message = "which inbox does the bot answer in? The account has {2}"
    hint = "Nothing was changed. Name one by its number: --inbox 4"


class AddressNotPublic(ChatwootError, code="chatwoot_address_not_public"):
    """Chatwoot would refuse to post to the relay's address."""

    message = "Chatwoot does not post to {0}: {2}"
    hint = (
        "Nothing was changed. --relay-url says how Chatwoot reaches the relay; --private-address,"
        " that its SAFE_FETCH_ALLOW_PRIVATE_NETWORK is true."
    )


class ChatwootStopped(ChatwootError, code="chatwoot_stopped"):
    """Some of it was done; the rest was not."""

    message = "it stopped at “{0}”: {2}. Done before that: {1}"
    hint = "Run it once more: it does what is left, and nothing twice."
