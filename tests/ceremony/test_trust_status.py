"""Dates of a trust root: when warnings begin, who must act, and what cron is told."""

import pytest

from placet.ceremony.trust_status import (
    ATTENTION,
    DAY,
    EXPIRED,
    OK,
    judge_trust,
    status_lines,
    status_object,
    summary_line,
    time_left,
)
from placet.documents.role_dates import RoleDates, read_role_dates
from placet.testing.world import NOW, World

VALID = {"root": 365, "targets": 90, "snapshot": 30, "timestamp": 7}


def roles(now: int = NOW, **days: float) -> list[RoleDates]:
    left = VALID | days
    return [RoleDates(role.replace("_", "-"), 1, now + int(count * DAY)) for role, count in left.items()]


def state(**days: float) -> str:
    return judge_trust("demo", roles(**days), (), now=NOW, at_gate=False).state


@pytest.mark.parametrize(("role", "whole"), [*VALID.items(), ("scope_production", 30)])
def test_warnings_begin_when_half_of_a_role_s_time_has_passed(role: str, whole: int) -> None:
    assert state(**{role: whole / 2}) == OK
    assert state(**{role: whole / 2 - 0.001}) == ATTENTION
    assert state(**{role: 0.001}) == ATTENTION


@pytest.mark.parametrize("role", VALID)
def test_an_expired_role_stops_all_gates(role: str) -> None:
    assert state(**{role: 0}) == EXPIRED
    assert state(**{role: -3}) == EXPIRED


def test_an_expired_scope_closes_that_scope_alone() -> None:
    status = judge_trust("demo", roles(scope_production=-1), (), now=NOW, at_gate=False)
    assert status.state == ATTENTION
    assert "gates refuse everything in that scope" in status.warnings[0]
    assert "renew-scope production" in status.warnings[0]
    assert "6 days left" not in summary_line(status, now=NOW)


def test_half_the_time_is_half_of_what_the_role_was_signed_for() -> None:
    short = RoleDates("timestamp", 9, NOW + DAY, issued_at=NOW - DAY // 2)
    assert judge_trust("demo", [short], (), now=NOW, at_gate=False).state == OK
    late = short._replace(issued_at=NOW - 2 * DAY)
    assert judge_trust("demo", [late], (), now=NOW, at_gate=False).state == ATTENTION


def test_soon_can_be_said_otherwise() -> None:
    week = judge_trust("demo", roles(), (), now=NOW, at_gate=False, soon=8 * DAY)
    assert [item.state for item in week.roles] == [OK, OK, OK, ATTENTION]


def test_each_warning_names_who_must_act() -> None:
    status = judge_trust(
        "demo", roles(root=1, targets=1, snapshot=1, timestamp=1), (), now=NOW, at_gate=False
    )
    assert ["--renew" in warning for warning in status.warnings] == [True, True, False, False]
    assert "keep-fresh" in status.warnings[3]
    gate = judge_trust("demo", roles(timestamp=1), (), now=NOW, at_gate=True)
    assert "placet trust refresh" in gate.warnings[0]


def test_the_last_key_of_a_person_is_warned_about_and_no_other() -> None:
    (alice, *_) = World().trust().people
    (credential, *_) = alice.credentials
    ending = credential._replace(not_after=NOW + 29 * DAY)
    lasting = credential._replace(not_after=NOW + 31 * DAY)
    for credentials, warned in (
        ((ending,), True),
        ((lasting,), False),
        ((ending, lasting), False),
        ((), False),
    ):
        person = alice._replace(credentials=credentials)
        status = judge_trust("demo", roles(), [person], now=NOW, at_gate=False)
        assert (status.state == ATTENTION) is warned
    assert (
        "replace-key alice@example.com"
        in judge_trust(
            "demo", roles(), [alice._replace(credentials=(ending,))], now=NOW, at_gate=False
        ).warnings[0]
    )


def test_the_first_line_says_it_all() -> None:
    for days, said in (
        ({}, "All is well: the trust root of demo is valid; first to expire: timestamp, 7 days left."),
        ({"targets": 9}, "ATTENTION: one thing needs somebody soon."),
        ({"targets": 9, "root": 9}, "ATTENTION: 2 things need somebody soon."),
        (
            {"snapshot": -2},
            "EXPIRED: gates decide nothing by the trust root of demo (snapshot, expired 2 days",
        ),
    ):
        status = judge_trust("demo", roles(**days), (), now=NOW, at_gate=False)
        assert summary_line(status, now=NOW).startswith(said)
    nothing = judge_trust("demo", [], (), now=NOW, at_gate=False)
    assert (nothing.state, summary_line(nothing, now=NOW)) == (
        ATTENTION,
        "The trust root of demo is not published yet.",
    )


def test_lines_and_json_hold_every_role_and_every_warning() -> None:
    status = judge_trust("demo", roles(targets=9, timestamp=-1), (), now=NOW, at_gate=False)
    lines = status_lines(status, now=NOW)
    assert [line[0] for line in lines] == [" ", "!", " ", "X", "!", "!"]
    value = status_object(status, now=NOW)
    assert value["state"] == EXPIRED
    assert [role["state"] for role in value["roles"]] == [OK, ATTENTION, OK, EXPIRED]
    assert value["roles"][1]["secondsLeft"] == 9 * DAY
    assert value["warnings"] == list(status.warnings)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (7 * DAY, "7 days left"),
        (DAY, "1 day left"),
        (DAY - 1, "23 hours left"),
        (60, "1 minute left"),
        (1, "less than a minute left"),
        (0, "expired less than a minute ago"),
        (-2 * DAY, "expired 2 days ago"),
    ],
)
def test_time_is_said_in_the_unit_in_which_people_think(seconds: int, said: str) -> None:
    assert time_left(NOW + seconds, NOW) == said


def test_a_date_of_signing_that_is_no_date_is_as_none() -> None:
    for value, issued in (("2026-11-23T10:00:00Z", NOW), ("yesterday", None), (3, None), (None, None)):
        assert read_role_dates("root", {"version": 1, "issuedAt": value}, NOW).issued_at == issued
    assert read_role_dates("root", {"version": "1"}, NOW) == RoleDates("root", 0, NOW)


def test_the_name_of_a_scope_breaks_no_column() -> None:
    status = judge_trust("demo", roles(scope_production_europe=20), (), now=NOW, at_gate=False)
    lines = status_lines(status, now=NOW)[: len(VALID) + 1]
    assert len({line.index(" version ") for line in lines}) == 1
    assert any("scope-production-europe version" in line for line in lines)
