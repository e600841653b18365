"""``placet lab``: real attacks, run against the real frameworks and against the gate."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

from placet.core.errors import visible
from placet.lab.scenario import Act, Scenario, Side

_WIDTH = 96
_NAME = 24
SCENARIOS = ("A1", "A2", "A5", "A13")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.epilog = (
        "Keys, people and the Sigstore are made for each run and thrown away. The people's keys are "
        "software: they stand in for hardware and never exceed INTENT_LEVEL_1."
    )
    commands = parser.add_subparsers(dest="lab_command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="list the attacks")
    run_parser = commands.add_parser("run", help="run attacks, and print what each verifier answered")
    run_parser.add_argument(
        "attack", nargs="*", metavar="ATTACK", help=f"such as A2 (default: {' '.join(SCENARIOS)})"
    )
    run_parser.add_argument("--json", action="store_true", help="print one JSON object an act")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns 0 where the gate answered as people approved, 1 where it did not."""
    try:
        scenarios = load_scenarios()
    except ModuleNotFoundError as e:
        print(
            f"placet: the lab runs the frameworks themselves, and {e.name} is not installed here.\n"
            "  Install it with: pip install 'placet[lab]'",
            file=sys.stderr,
        )
        return 2
    if args.lab_command == "list":
        for scenario in scenarios.values():
            print(f"{scenario.id:<5}{scenario.title}{f' ({scenario.after})' if scenario.after else ''}")
        return 0
    unknown = [name for name in args.attack if name.upper() not in scenarios]
    if unknown:
        print(
            f"placet: there is no attack {visible(unknown[0])!r} here.\n  There are: {', '.join(scenarios)}.",
            file=sys.stderr,
        )
        return 2
    chosen = [scenarios[name.upper()] for name in args.attack] or list(scenarios.values())
    say = _say_json if args.json else _say
    held = True
    for scenario in chosen:
        held &= say(scenario, play(scenario))
    if not args.json:
        print(
            "In every act the gate answered as people had approved."
            if held
            else "The gate did not answer as people had approved. Please report this."
        )
    return 0 if held else 1


def load_scenarios() -> dict[str, Scenario]:
    """Returns the scenarios by their names."""
    _quiet_libraries()
    from placet.lab.approval_attacks import A5, A13
    from placet.lab.build_attacks import A1, A2

    return {scenario.id: scenario for scenario in (A1, A2, A5, A13)}


def play(scenario: Scenario) -> Iterator[Act]:
    """Plays a scenario on a stage of its own."""
    from placet.lab.stage import Stage

    with tempfile.TemporaryDirectory(prefix="placet-lab-") as folder:
        stage = Stage(Path(folder))
        try:
            yield from scenario.play(stage)
        finally:
            stage.close()


def _quiet_libraries() -> None:
    # in-toto and sigstore log every refusal; here each is told once, in place.
    import logging

    logging.getLogger("in_toto").setLevel(logging.CRITICAL)
    logging.getLogger("sigstore").setLevel(logging.CRITICAL)


def _say(scenario: Scenario, acts: Iterator[Act]) -> bool:
    bold, green, red, plain = _colours()
    print(f"{bold}{scenario.id}  {scenario.title}{plain}")
    if scenario.after:
        print(f"    after {scenario.after}")
    print(textwrap.fill(scenario.story, _WIDTH, initial_indent="    ", subsequent_indent="    "))
    held = True
    for act in acts:
        held &= act.holds
        print(f"\n  {bold}{act.title}{plain}")
        for answer in act.answers:
            word = f"{green}accepts{plain}" if answer.accepted else f"{red}refuses{plain}"
            reason = f" [{answer.reason}]" if answer.reason else ""
            if answer.side is Side.GATE:
                word = f"{bold}{word}"
            said = textwrap.wrap(visible(answer.said.replace("\n", " ")) + reason, _WIDTH - _NAME - 12)
            print(f"    {answer.asked:<{_NAME}}{word}  {said[0] if said else ''}")
            for line in said[1:]:
                print(f"{'':<{_NAME + 13}}{line}")
        if not act.holds:
            print(f"    {red}The gate's answer is wrong.{plain}")
    print()
    return held


def _say_json(scenario: Scenario, acts: Iterator[Act]) -> bool:
    held = True
    for act in acts:
        held &= act.holds
        answers = [answer._asdict() for answer in act.answers]
        told = {"attack": scenario.id, "act": act.title, "approved": act.approved, "answers": answers}
        print(json.dumps(told | {"holds": act.holds}))
    return held


def _colours() -> tuple[str, str, str, str]:
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return "", "", "", ""
    return "\033[1m", "\033[32m", "\033[31m", "\033[0m"
