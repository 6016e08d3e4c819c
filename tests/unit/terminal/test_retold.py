"""What was said in English elsewhere is shown in the reader's language, whoever kept it so long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from relay_protocol.errors import RelayError
from relay_server.errors import ChannelNotFound, InvalidValue
from relay_terminal.retold import retold, told
from relay_terminal.words import speak


@pytest.fixture(autouse=True)
def portuguese() -> Iterator[None]:
    """Spoken in one test alone."""
    speak("pt-BR")
    yield
    speak("")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("paused by hand", "pausada à mão"),
        ("the target answered 503", "o destino respondeu 503"),
        ("localhost:8000 does not take connections", "localhost:8000 não aceita conexões"),
        # The template with more of it counts, and what fills a field is looked up, too.
        (
            "bot leads to 127.0.0.1, a loopback address that RELAY_X does not name",
            "bot leva a 127.0.0.1, um endereço de loopback que RELAY_X não nomeia",
        ),
        (
            "it does not fit the channel's secret: it is another one, or the body was changed",
            "ela não combina com o segredo do canal: o segredo é outro, ou o corpo foi alterado",
        ),
        ("RELAY_SERVER_PORT: must be a number", "RELAY_SERVER_PORT: precisa ser um número"),
        ("sender: must be a, b or c, not 'd or e'", "sender: precisa ser a, b ou c, não 'd or e'"),
        ("the token is not for the channel none", "o token não é para o canal none"),
        # Braces of whoever is named are no fields.
        ("'{x}' is no forward", "'{x}' não é um forward"),
        # A target's own words, and another version's, stay.
        ("something that nobody here says", "something that nobody here says"),
        ("", ""),
        ("the target answered 503" + "!" * 1_000, "the target answered 503" + "!" * 1_000),
    ],
)
def test_a_sentence_in_the_readers_language(text: str, shown: str) -> None:
    assert retold(text) == shown


def test_english_stays_as_it_is() -> None:
    speak("en")
    assert retold("the target answered 503") == "the target answered 503"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ChannelNotFound("a {b}"), "nenhum canal tem o nome 'a {b}'"),
        (ChannelNotFound("none"), "nenhum canal tem o nome 'none'"),
        (InvalidValue("a channel needs a name"), "um canal precisa de um nome"),
        (InvalidValue("'x' is no network such as 203.0.113.0/24"), "'x' não é uma rede como "),
    ],
)
def test_an_error(error: RelayError, said: str) -> None:
    assert told(error)[0].startswith(said)
