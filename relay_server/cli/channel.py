"""`relay-server channel …`: its commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relay_server.cli.options import (
    AsJson,
    HoldFailures,
    HoldS,
    Name,
    OtherTries,
    RetryDelays,
    StrictOrder,
    printed,
)

app = typer.Typer(help="Named inboxes, each with its own URL and rules.", no_args_is_help=True)


@app.command("list")
def channel_list(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the channels."""
    from relay_server.commands.calls import call
    from relay_server.show import channels as show

    printed(call(ctx.obj, "GET", "channels"), show.channels, as_json=as_json)


@app.command("show")
def channel_show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a channel and its rules."""
    from relay_server.commands.calls import call
    from relay_server.show import channels as show

    printed(call(ctx.obj, "GET", "channels", name), show.channel, as_json=as_json)


Sender = Annotated[str | None, typer.Option(help="Who posts to it: chatwoot or other.")]
TokenRule = Annotated[
    bool | None, typer.Option("--token/--no-token", help="Its sender must show a send token.")
]
HmacSecretFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--hmac-secret-file",
        help="File with a secret that its sender signs with; '-' reads a line. Repeat to rotate.",
    ),
]
HmacLogOnly = Annotated[
    bool | None,
    typer.Option("--hmac-log-only/--hmac-enforce", help="Log wrong signatures, or refuse them."),
]
NoHmac = Annotated[bool, typer.Option("--no-hmac", help="Ask for no signature.")]
AllowFrom = Annotated[
    list[str] | None,
    typer.Option(help="Network of its sender, e.g. 203.0.113.0/24. Repeat for more; '' for any."),
]
KeyPointer = Annotated[
    str | None, typer.Option(help="JSON pointer to what keeps order, e.g. /ticket/id.")
]
MaxBodyBytes = Annotated[int | None, typer.Option(help="Largest body; 0 for the server's.")]
RetentionDays = Annotated[float | None, typer.Option(help="Days that delivered events are kept.")]
DeadDays = Annotated[float | None, typer.Option(help="Days that dead deliveries are kept.")]
MaxBytes = Annotated[
    str | None,
    typer.Option(
        help="What its events may take, e.g. 500M or 2G; 0 for no limit.", metavar="BYTES"
    ),
]
RatePerS = Annotated[
    float | None, typer.Option(help="Webhooks a second that are taken; 0 for any number.")
]
DropOldest = Annotated[
    bool | None,
    typer.Option(
        "--drop-oldest/--refuse-when-full",
        help="When it is full: delete its oldest events, delivered or not, or refuse new ones.",
    ),
]


@app.command("create")
def channel_create(
    ctx: typer.Context,
    name: Name,
    sender: Sender = None,
    token: TokenRule = None,
    hmac_secret_file: HmacSecretFiles = None,
    hmac_log_only: HmacLogOnly = None,
    allow_from: AllowFrom = None,
    key_pointer: KeyPointer = None,
    max_body_bytes: MaxBodyBytes = None,
    retention_days: RetentionDays = None,
    dead_days: DeadDays = None,
    max_bytes: MaxBytes = None,
    drop_oldest: DropOldest = None,
    rate_per_s: RatePerS = None,
    retry_delays: RetryDelays = None,
    other_tries: OtherTries = None,
    hold_failures: HoldFailures = None,
    hold_s: HoldS = None,
    strict_order: StrictOrder = None,
    as_json: AsJson = False,
) -> None:
    """Make a channel."""
    from relay_server.commands.calls import call
    from relay_server.commands.channels import channel_fields
    from relay_server.commands.policies import policy_fields
    from relay_server.show import channels as show

    body = channel_fields(
        name=name,
        sender=sender,
        token=token,
        hmac_secret_files=hmac_secret_file,
        hmac_log_only=hmac_log_only,
        allow_from=allow_from,
        key_pointer=key_pointer,
        max_body_bytes=max_body_bytes,
        retention_days=retention_days,
        dead_days=dead_days,
        max_bytes=max_bytes,
        drop_oldest=drop_oldest,
        rate_per_s=rate_per_s,
        policy=policy_fields(
            retry_delays,
            other_tries=other_tries,
            hold_failures=hold_failures,
            hold_s=hold_s,
            strict_order=strict_order,
        ),
    )
    printed(call(ctx.obj, "POST", "channels", body=body), show.channel, as_json=as_json)


@app.command("set")
def channel_set(
    ctx: typer.Context,
    name: Name,
    sender: Sender = None,
    token: TokenRule = None,
    hmac_secret_file: HmacSecretFiles = None,
    hmac_log_only: HmacLogOnly = None,
    no_hmac: NoHmac = False,
    allow_from: AllowFrom = None,
    key_pointer: KeyPointer = None,
    max_body_bytes: MaxBodyBytes = None,
    retention_days: RetentionDays = None,
    dead_days: DeadDays = None,
    max_bytes: MaxBytes = None,
    drop_oldest: DropOldest = None,
    rate_per_s: RatePerS = None,
    retry_delays: RetryDelays = None,
    other_tries: OtherTries = None,
    hold_failures: HoldFailures = None,
    hold_s: HoldS = None,
    strict_order: StrictOrder = None,
    as_json: AsJson = False,
) -> None:
    """Change a channel's rules; what is not named stays."""
    from relay_server.commands.calls import call
    from relay_server.commands.channels import channel_fields
    from relay_server.commands.policies import policy_fields
    from relay_server.show import channels as show

    body = channel_fields(
        sender=sender,
        token=token,
        hmac_secret_files=[] if no_hmac else hmac_secret_file,
        hmac_log_only=hmac_log_only,
        allow_from=allow_from,
        key_pointer=key_pointer,
        max_body_bytes=max_body_bytes,
        retention_days=retention_days,
        dead_days=dead_days,
        max_bytes=max_bytes,
        drop_oldest=drop_oldest,
        rate_per_s=rate_per_s,
        policy=policy_fields(
            retry_delays,
            other_tries=other_tries,
            hold_failures=hold_failures,
            hold_s=hold_s,
            strict_order=strict_order,
        ),
    )
    result = call(ctx.obj, "PATCH", "channels", name, body=body)
    printed(result, show.channel, as_json=as_json)


@app.command("delete")
def channel_delete(
    ctx: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a channel with its events and readers."""
    from relay_server.commands.calls import call

    if not yes:
        typer.confirm(f"Delete {name} with all its events?", abort=True, err=True)
    call(ctx.obj, "DELETE", "channels", name)
    typer.echo(f"Deleted {name}.")
