"""The command `completion`: it prints what has a shell complete a program, and changes no file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from relay_protocol.text import one_of
from relay_terminal.console import Console
from relay_terminal.usage import App
from relay_terminal.words import _

# What each shell is told once, to complete in each of its sessions.
HOW = {
    "bash": """echo 'eval "$({program} completion bash)"' >> ~/.bashrc""",
    "zsh": """echo 'eval "$({program} completion zsh)"' >> ~/.zshrc""",
    "fish": "{program} completion fish > ~/.config/fish/completions/{program}.fish",
    "powershell": "{program} completion powershell | Out-String | Invoke-Expression",
}


def add_completion(app: App, program: str) -> None:
    @app.command()
    def completion(
        shell: Annotated[
            str, typer.Argument(help="bash, zsh, fish or powershell. (default: the one you use)")
        ] = "",
    ) -> None:
        """Print what has your shell complete commands and options, and how to have it do so."""
        name = _chosen(shell)
        console = Console.of_process()
        console.line(_script(program, name))
        if console.is_terminal:
            console.note("")
            console.note(_("To have it in each session:"))
            console.note("  " + HOW[name].format(program=program))


def _chosen(shell: str) -> str:
    try:
        return one_of(shell or Path(os.environ.get("SHELL", "bash")).name, [*HOW])
    except ValueError as exc:
        raise typer.BadParameter(f"SHELL: {exc}") from exc


def _script(program: str, shell: str) -> str:
    from typer._completion_shared import get_completion_script

    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    return get_completion_script(prog_name=program, complete_var=variable, shell=shell)
