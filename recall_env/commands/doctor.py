"""recall-env doctor: what this machine can jail."""

import json

import typer

from recall_env.commands.options import AsJson


def doctor(as_json: AsJson = False) -> None:
    """What this machine can jail, and how to fix what it cannot. Example: recall-env doctor"""
    from recall_env.sandbox import diagnose

    checks = diagnose()
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=1))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.text}")
            if check.fix:
                print(f"      fix: {check.fix}")
    if not checks[-1].ok:  # the last one starts a jail; the others say why it may not
        raise typer.Exit(1)
