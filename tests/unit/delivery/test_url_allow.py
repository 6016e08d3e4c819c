"""Where forwards may go: a table of addresses and spellings, and what holds for all of them."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_http.target import Target
from relay_server.delivery.url.allow import (
    MAX_ENTRIES,
    MAX_URL_CHARS,
    SETTING,
    Allowlist,
    ForwardNotAllowed,
    read_url,
)
from relay_server.errors import InvalidValue
from tests.support.pushes import allowing

# Never reached by a name alone, each with the word that the reason has for it.
SPECIAL = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("::1", "loopback"),
    ("0.0.0.0", "unspecified"),
    ("::", "unspecified"),
    ("255.255.255.255", "broadcast"),
    ("169.254.0.1", "link-local"),
    ("169.254.255.255", "link-local"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("febf::1", "link-local"),
    ("169.254.169.254", "metadata"),
    ("169.254.170.2", "metadata"),
    ("100.100.100.200", "metadata"),
    ("168.63.129.16", "metadata"),
    ("192.0.0.192", "metadata"),
    ("fd00:ec2::254", "metadata"),
    ("fd20:ce::254", "metadata"),
    ("fd00:42::42", "metadata"),
    ("fe80::a9fe:a9fe", "metadata"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("ff02::1", "multicast"),
    ("0.1.2.3", "reserved"),
    ("192.0.0.8", "reserved"),
    ("192.0.2.1", "reserved"),
    ("192.88.99.1", "reserved"),
    ("198.18.0.1", "reserved"),
    ("198.51.100.1", "reserved"),
    ("203.0.113.1", "reserved"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.254", "reserved"),
    ("2001:db8::1", "reserved"),
    ("3fff::1", "reserved"),
    ("fec0::1", "reserved"),
    ("fe00::1", "reserved"),
    ("4000::1", "reserved"),
    ("e000::1", "reserved"),
    ("100::1", "reserved"),
    ("64:ff9b:1::a00:1", "reserved"),
    ("::a00:1", "reserved"),
    ("::ffff:0:a00:1", "reserved"),
    # IPv4 inside IPv6 is judged by what is inside.
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:a9fe:a9fe", "metadata"),
    ("::ffff:0.0.0.0", "unspecified"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::169.254.169.254", "metadata"),
    ("2002:7f00:1::1", "loopback"),
    ("2002:a9fe:a9fe::", "metadata"),
    ("2001:0:7f00:1::", "loopback"),
    ("2001:0:808:808:0:0:80ff:fffe", "loopback"),
    ("2606:4700::5efe:127.0.0.1", "loopback"),
    ("2606:4700::200:5efe:a9fe:a9fe", "metadata"),
]
ORDINARY = [
    "1.1.1.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.201",
    "2606:4700::1",
    "fd12:3456::1",
    "fc00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::1",
    "2606:4700::5efe:10.0.0.1",
]
BY_NAME = allowing("bot, example.com")


@pytest.mark.parametrize(("address", "kind"), SPECIAL)
def test_a_name_alone_never_leads_to_a_special_address(address: str, kind: str) -> None:
    """The reason names the address, what it is, and the setting."""
    reason = BY_NAME.refusal("bot", address)

    assert kind in reason
    assert address in reason
    assert SETTING in reason


@pytest.mark.parametrize("address", ORDINARY)
def test_a_listed_name_may_lead_to_any_ordinary_address(address: str) -> None:
    """Whichever case it is written in; a name that is not listed may not."""
    assert BY_NAME.refusal("bot", address) == ""
    assert BY_NAME.refusal("BOT.", address) == ""
    assert SETTING in BY_NAME.refusal("bots", address)
    assert SETTING in BY_NAME.refusal("evil.bot", address)
    assert SETTING in Allowlist().refusal("bot", address)


@pytest.mark.parametrize(("address", "_"), SPECIAL)
def test_nothing_is_special_enough_for_an_operator_who_allows_everything(
    address: str, _: str
) -> None:
    """A network that holds all kinds of addresses names none of the special ones."""
    everything = allowing("0.0.0.0/0, ::/0, bot, localhost")

    assert everything.refusal("bot", address)


@pytest.mark.parametrize("address", ORDINARY)
def test_a_network_allows_its_addresses_whatever_name_led_there(address: str) -> None:
    """That is what it is for."""
    assert allowing("0.0.0.0/0, ::/0").refusal("anything", address) == ""


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.9.9.9"),
        ("::1", "::1"),
        ("169.254.169.254", "169.254.169.254"),
        ("169.254.0.0/16", "169.254.169.254"),
        ("169.254.10.0/24", "169.254.10.7"),
        ("fe80::/10", "fe80::1"),
        ("fe80::/64", "fe80::1%eth0"),
        ("fd00:ec2::254", "fd00:ec2::254"),
        ("100.100.100.200", "100.100.100.200"),
        ("203.0.113.0/24", "203.0.113.9"),
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("127.0.0.1", "64:ff9b::7f00:1"),
        ("10.0.0.0/8", "2002:a00:1::1"),
    ],
)
def test_a_special_address_may_be_named(entry: str, address: str) -> None:
    """By itself, or by a network of its kind."""
    allowlist = allowing(entry)

    assert allowlist.refusal("whatever", address) == ""
    assert allowlist.refusal("whatever", "8.8.8.8")


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("10.0.0.1", "10.0.0.2"),
        ("10.0.0.0/8", "11.0.0.1"),
        ("100.64.0.0/10", "100.100.100.200"),
        ("fd00::/8", "fd00:ec2::254"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", "::1"),
        ("2606:4700::/32", "2606:4700::5efe:127.0.0.1"),
        ("10.0.0.0/8", "2606:4700::5efe:10.0.0.1"),
        ("::/8", "::ffff:127.0.0.1"),
    ],
)
def test_a_network_allows_nothing_beside_it(entry: str, address: str) -> None:
    """And none of the special ones that a wider network happens to hold."""
    assert allowing(entry).refusal("bot", address)


def test_localhost_by_name_is_the_loopback_and_no_more() -> None:
    """The one name whose meaning is a special address."""
    local = allowing("LocalHost.")

    assert [local.refusal("localhost", a) for a in ("127.0.0.1", "::1", "127.0.0.2")] == [""] * 3
    assert local.refusal("localhost", "::ffff:127.0.0.1") == ""
    assert local.refusal("localhost", "169.254.169.254")
    assert local.refusal("other", "127.0.0.1")
    assert allowing("a.localhost").refusal("a.localhost", "127.0.0.1")


@pytest.mark.parametrize("junk", ["", "x", "1.2.3", "1.2.3.4.5", "0x7f.1", "2130706433", "::1::"])
def test_what_is_no_address_is_never_allowed(junk: str) -> None:
    """A resolver that gives such a thing is not believed."""
    assert "no address" in allowing("bot, 0.0.0.0/0, ::/0, ::, 0.0.0.0").refusal("bot", junk)


@given(st.ip_addresses(), st.sampled_from(["bot", "BOT", "other"]))
def test_an_empty_list_allows_nothing(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, host: str
) -> None:
    """That is the default: no forwards."""
    assert Allowlist().refusal(host, str(address))


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    """In every form that a resolver may give."""
    number = int(address)
    bare = BY_NAME.refusal("bot", str(address)) == ""
    for form in (
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    ):
        assert (BY_NAME.refusal("bot", str(form)) == "") == bare, form
        assert (BY_NAME.refusal("bot", form.exploded) == "") == bare, form


@given(st.ip_addresses())
def test_an_allowed_address_is_global_or_private_and_nothing_else(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """As Python's own registry says it."""
    if "5efe" not in address.exploded and BY_NAME.refusal("bot", str(address)) == "":
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_multicast
        assert not address.is_unspecified
        assert not address.is_reserved or address in ipaddress.ip_network("64:ff9b::/96")


@given(st.ip_addresses())
def test_an_address_allows_itself_alone(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Its neighbours stay out of reach."""
    try:
        allowlist = allowing(str(address))
    except InvalidValue:
        return  # IPv4 inside IPv6
    neighbour = type(address)(int(address) ^ 1)

    assert allowlist.refusal("x", str(neighbour))
    if not isinstance(address, ipaddress.IPv6Address) or "5efe" not in address.exploded:
        assert allowlist.refusal("x", str(address)) == ""


@pytest.mark.parametrize(
    "entry",
    [
        "http://bot",
        "bot:8001",
        "bot/webhook",
        "*.example.com",
        "user@bot",
        "a..b",
        ".bot",
        "bot..",
        "-bot",
        "bot-",
        "b" * 64,
        ".".join(["b" * 60] * 5),
        "bot bot",
        "café",
        "１２７.0.0.1",  # noqa: RUF001
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "256.0.0.1",
        "bot.123",
        "bot.0x",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "[::1]",
        "fe80::1%eth0",
        "::ffff:10.0.0.0/104",
        "::ffff:127.0.0.1",
        "64:ff9b::/96",
        "2002::/16",
        "2001:0:1::/48",
    ],
)
def test_what_cannot_be_an_entry_is_named(entry: str) -> None:
    """So that the server says at its start what is wrong."""
    with pytest.raises(InvalidValue) as caught:
        allowing(f"bot, {entry}")
    assert repr(entry) in str(caught.value)


def test_entries_are_read_in_any_spelling_that_is_clear() -> None:
    allowlist = Allowlist.of(["Bot.", "my_bot.internal", "10.0.0.0/8", "FD00::/8"])

    assert allowlist.names == {"bot", "my_bot.internal"}
    assert [str(network) for network in allowlist.networks] == ["10.0.0.0/8", "fd00::/8"]
    assert Allowlist.of([]) == Allowlist()


def test_there_are_not_endlessly_many() -> None:
    """Each is looked at for each connection."""
    entries = [f"bot{n}" for n in range(MAX_ENTRIES)]
    assert len(Allowlist.of(entries).names) == MAX_ENTRIES
    with pytest.raises(InvalidValue, match="more than"):
        Allowlist.of([*entries, "one-more"])


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://bot", Target("bot", 80)),
        ("http://bot/", Target("bot", 80)),
        ("HTTP://BOT.:8001/Web%2Fhook/", Target("bot", 8001, "/Web%2Fhook/")),
        (
            "http://chatwootai_webhook_server:8001/webhook",
            Target("chatwootai_webhook_server", 8001, "/webhook"),
        ),
        ("https://example.com/in", Target("example.com", 443, "/in", secure=True)),
        ("https://example.com:8443", Target("example.com", 8443, secure=True)),
        ("http://10.0.0.5:1", Target("10.0.0.5", 1)),
        ("http://10.0.0.5.:1", Target("10.0.0.5", 1)),
        ("http://[FD00:0::5]:80/x", Target("fd00::5", 80, "/x")),
    ],
)
def test_a_url_is_read(url: str, target: Target) -> None:
    """In one spelling of its host."""
    assert read_url(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bot:8001/webhook",
        "//bot/webhook",
        "ftp://bot/",
        "file:///etc/passwd",
        "gopher://bot/",
        "http:/bot",
        "http:///webhook",
        "http://",
        "http://:80/",
        "http://bot:/",
        "http://bot:0/",
        "http://bot:65536/",
        "http://bot:80:80/",
        "http://bot:8o/",
        "http://user@bot/",
        "http://user:password@bot/",
        "http://bot@evil/",
        "http://bot#@evil/",
        "http://bot\\@evil/",
        "http://bot\\evil/",
        "http://bot/?token=1",
        "http://bot?x",
        "http://bot/#x",
        "http://bot#",
        "http://bot/../x",
        "http://bot/%2e%2E/x",
        "http://bot/a\\b",
        "http://bot/a b",
        "http://bo t/",
        "http://bot/\r\nX: y",
        "http://bot\t/",
        " http://bot/",
        "http://bot/\n",
        "http://café/",
        "http://bot/café",
        "http://%62ot/",
        "http://127.0.0.1%2f@bot/",
        "http://[::1%25lo]/",
        "http://[fe80::1%eth0]/",
        "http://[127.0.0.1]/",
        "http://[v1.x]/",
        "http://[::1/",
        "http://::1/",
        "http://[]/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://127.0.0.1../",
        "http://256.1.1.1/",
        "http://1.2.3/",
        "http://１２７.0.0.1/",  # noqa: RUF001
        "http://127。0。0。1/",
        "http://①②⑦.0.0.1/",
        "http://bot.0x7f/",
        "http://a..b/",
        "http://" + "b" * 64 + "/",
        "http://bot/" + "a" * 2048,
    ],
)
def test_a_url_that_could_mean_something_else_is_refused(url: str) -> None:
    """Whatever is allowed."""
    with pytest.raises(InvalidValue):
        allowing("bot, evil, 0.0.0.0/0, ::/0, 127.0.0.0/8, ::1, localhost").check_url(url)


def test_a_password_in_a_url_is_not_repeated() -> None:
    """The message may end up in a log."""
    with pytest.raises(InvalidValue) as caught:
        read_url("http://user:hunter2@bot/")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("", "http://bot/"),
        ("bot", "http://bots/"),
        ("bot", "http://x.bot/"),
        ("bot", "http://10.0.0.1/"),
        ("10.0.0.0/8", "http://11.0.0.1/"),
        ("10.0.0.0/8", "http://localhost/"),
        ("bot", "http://localhost/"),
        ("localhost", "http://127.0.0.1/"),
        ("0.0.0.0/0,::/0", "http://127.0.0.1/"),
        ("0.0.0.0/0,::/0", "http://localhost/"),
        ("0.0.0.0/0,::/0", "http://169.254.169.254/latest/meta-data/"),
        ("0.0.0.0/0,::/0", "http://[::ffff:169.254.169.254]/"),
        ("0.0.0.0/0,::/0", "http://[::ffff:a9fe:a9fe]/"),
        ("0.0.0.0/0,::/0", "http://[64:ff9b::a9fe:a9fe]/"),
        ("0.0.0.0/0,::/0", "http://[fd00:ec2::254]/"),
        ("0.0.0.0/0,::/0", "http://0.0.0.0/"),
        ("0.0.0.0/0,::/0", "http://[::]/"),
    ],
)
def test_what_can_never_be_allowed_is_refused_at_once(allow: str, url: str) -> None:
    """The hint names the setting."""
    with pytest.raises(ForwardNotAllowed) as caught:
        allowing(allow).check_url(url)
    assert SETTING in caught.value.hint


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("bot", "http://BOT.:8001/webhook"),
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("10.0.0.0/8", "http://whatever/"),
        ("localhost", "http://localhost:8000/"),
        ("::1", "http://localhost:8000/"),
        ("127.0.0.1", "http://localhost:8000/"),
        ("127.0.0.1", "http://127.0.0.1/"),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
        ("169.254.169.254", "http://169.254.169.254/"),
    ],
)
def test_what_may_be_allowed_is_judged_when_it_connects(allow: str, url: str) -> None:
    """A name may lead into an allowed network."""
    assert allowing(allow).check_url(url) == read_url(url)


@given(st.text(max_size=60))
def test_no_text_is_taken_for_a_url_of_another_host(text: str) -> None:
    """What is taken is written with its own host in front."""
    try:
        target = read_url(f"http://bot{text}")
    except InvalidValue:
        return
    assert target.host.startswith("bot")
    assert text.lower().startswith(target.host.removeprefix("bot"))


@given(st.from_regex(r"[0-9a-fx.]{1,16}", fullmatch=True))
def test_a_number_is_an_address_in_four_parts_or_nothing(host: str) -> None:
    """inet_aton reads more than that, and names that it reads must not be names here."""
    try:
        target = read_url(f"http://{host}/")
    except InvalidValue:
        return
    last = target.host.rpartition(".")[2]
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        assert str(ipaddress.IPv4Address(target.host)) == target.host


def test_a_url_is_so_long_and_no_longer() -> None:
    longest = "http://bot:8001/".ljust(MAX_URL_CHARS, "x")

    assert read_url(longest).host == "bot"
    with pytest.raises(InvalidValue, match="at most"):
        read_url(longest + "x")
