"""Where answers go: to Chatwoot's API, or to the screen."""

from __future__ import annotations

import aiohttp

from examples.chatwoot_bot.events import Conversation
from examples.chatwoot_bot.text import one_line

TIMEOUT_S = 20


class ChatwootError(Exception):
    """Chatwoot did not take an answer."""


class ChatwootApi:
    """Sends answers as messages of the user or agent bot that the token belongs to."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"api_access_token": token}

    async def send(self, conversation: Conversation, text: str) -> str:
        """Post an answer.

        Raises:
            ChatwootError: It was refused, or nobody knows whether it arrived.
        """
        try:
            await self._post(conversation, text)
        except (aiohttp.ClientError, TimeoutError) as exc:
            reason = str(exc) or f"no answer within {TIMEOUT_S} s"
            raise ChatwootError(f"cannot reach Chatwoot at {self._url}: {reason}") from exc
        return f"answered {conversation.customer}: {one_line(text)}"

    async def _post(self, conversation: Conversation, text: str) -> None:
        path = (
            f"/api/v1/accounts/{conversation.account_id}/conversations/{conversation.id}/messages"
        )
        async with self._session.post(
            self._url + path,
            json={"content": text, "message_type": "outgoing", "private": False},
            headers=self._headers,
            allow_redirects=False,  # the token would follow to wherever it leads
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as response:
            if not 200 <= response.status < 300:
                raise ChatwootError(await _refusal(response))


class PrintedAnswers:
    """Stands in for Chatwoot as long as there is no access to it."""

    async def send(self, conversation: Conversation, text: str) -> str:
        """Only tell what would have been sent."""
        return f"would answer {conversation.customer}: {one_line(text)}"


async def _refusal(response: aiohttp.ClientResponse) -> str:
    if 300 <= response.status < 400:
        return f"Chatwoot redirects to {response.headers.get('Location')}: set CHATWOOT_URL to that"
    hint = {
        401: " (check CHATWOOT_TOKEN)",
        403: " (the token's owner has no access to this conversation)",
        404: " (no such conversation, or the token's owner is not in this account)",
    }.get(response.status, "")
    detail = (await response.content.read(1000)).decode(errors="replace")
    return f"Chatwoot answered {response.status}{hint}: {one_line(detail)}"
