"""People hear what their keys did: once, soon, and without anything that could be clicked."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from monitor_world import LogWorld, Monitor, log_answer, log_record, use_record

from placet.core.report import encode_report, parse_report
from placet.core.tlog.log_policy import encode_log_policy
from placet.log.monitor_events import Event
from placet.log.monitor_findings import FindingName, Severity, finding, quote
from placet.log.monitor_telling import (
    Recipient,
    TellingError,
    compose,
    describe,
    parse_recipients,
    tell,
)
from placet.ports.notifier import Notice, NotifierError
from placet.testing.scripted_log import TOKEN, ScriptedLog
from placet.testing.world import ALICE, BOB

ALICES, BOBS = Recipient("person", ALICE, 1, "json://a"), Recipient("person", BOB, 1, "json://b")
TEAM = Recipient("group", "release", 1, "json://team")
OPERATORS = Recipient("operators", "on call", 1, "json://ops")
CALM = Recipient("operators", "calm", 1, "json://calm", Severity.ALARM)
EVERYBODY = (ALICES, BOBS, TEAM, OPERATORS, CALM)


class Post:
    """A notifier that remembers, and fails as often as it is told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.told: list[tuple[str, Notice]] = []
        self.failures = failures
        self.groups = tuple(recipient.key for recipient in EVERYBODY)

    def groups_for(self, *, target: str, gate: str) -> tuple[str, ...]:
        return ()

    async def notify(self, group: str, notice: Notice) -> None:
        if self.failures:
            self.failures -= 1
            raise NotifierError("The group could not be told.")
        self.told.append((group, notice))


@pytest.fixture
def monitor(monitor: Monitor) -> Monitor:
    monitor.recipients = EVERYBODY
    return monitor


def told_after(monitor: Monitor, log: ScriptedLog, post: Post | None = None) -> dict[str, Notice]:
    """Audits and tells; returns who was told what."""
    post = post or Post()
    with log.served() as url:
        monitor.run(url)
    with monitor.store() as store:
        tell(EVERYBODY, store, post, pause=lambda attempt: 0.0)
    assert len({group for group, _ in post.told}) == len(post.told), "one notice each"
    return dict(post.told)


def test_each_person_hears_of_their_own_key_once(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    request = world.request_deploy()
    log_answer(log, world.approve(request, ALICE))
    told = told_after(monitor, log)
    assert set(told) == {ALICES.key, TEAM.key}
    assert told[ALICES.key].title == "placet: your key was used"
    assert told[ALICES.key].body.startswith('Your key approved "Deploy registry·example·app to k8s·prod-eu')
    assert "at 2026-11-23T10:01:00Z on terminal t1, log entry 0." in told[ALICES.key].body
    assert "Was this not you?" in told[ALICES.key].body
    assert told[TEAM.key].body.startswith(f"The key of {ALICE} approved")
    assert told_after(monitor, log) == {}
    log_answer(log, world.deny(world.request_deploy(image=b"b"), BOB))
    told = told_after(monitor, log)
    assert set(told) == {BOBS.key, TEAM.key} and "Your key denied" in told[BOBS.key].body


def test_operators_hear_of_findings_as_bad_as_they_asked_for(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    log.add(b'{"kind":"strange"}', b"{}")
    assert set(told_after(monitor, log)) == {OPERATORS.key}
    log_record(log, use_record("ab" * 32, ["cd" * 32], at=world.now))
    told = told_after(monitor, log)
    assert set(told) == {OPERATORS.key, CALM.key}
    assert told[CALM.key].body.startswith("ALARM use-without-approval: The use")
    assert "placet audit findings" in told[CALM.key].body
    assert told_after(monitor, log) == {}


def test_a_finding_that_comes_back_is_told_again(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    for _ in range(2):
        log.publish(cosigned=False)
        told = told_after(monitor, log)
        assert "not-witnessed" in told[OPERATORS.key].body
        assert told_after(monitor, log) == {}
        log.publish()
        assert told_after(monitor, log) == {}


def test_who_could_not_be_told_is_told_by_the_next_audit(
    world: LogWorld, log: ScriptedLog, monitor: Monitor
) -> None:
    log_answer(log, world.approve(world.request_deploy(), ALICE))
    assert told_after(monitor, log, Post(failures=100)) == {}
    told = told_after(monitor, log)
    assert set(told) == {ALICES.key, TEAM.key}
    # That it failed is known: it is no repetition.
    assert "before" not in told[ALICES.key].body


def test_a_short_trouble_is_tried_again_at_once(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    log_answer(log, world.approve(world.request_deploy(), ALICE))
    assert set(told_after(monitor, log, Post(failures=2))) == {ALICES.key, TEAM.key}


def test_many_decisions_are_one_notice() -> None:
    notice = compose(ALICES, [f"line {i}" for i in range(30)], is_repeated=False)
    assert notice.title == "placet: your key was used 30 times"
    assert "line 9" in notice.body and "line 10" not in notice.body and "and 20 more" in notice.body


def test_nothing_in_a_notice_can_be_clicked() -> None:
    event = Event("log.example", 3, "ab" * 32, "approved", "cd" * 32, ("ef" * 32,), seen_at=1_795_428_000)
    nasty = event._replace(text='See https://evil.example/x or call +1 555 0100 123 "now"', verified=True)
    nasty = nasty._replace(terminal="https://evil.example")
    line = describe(nasty, own=True)
    assert "://" not in line and "evil.example" not in line and "0100 123" not in line
    # Without its record, the entry is named by what the leaf says.
    line = describe(event, own=True)
    assert "the request cdcdcdcdcdcdcdcd before 2026-11-23T10:00:00Z" in line and "not verified" in line


def test_nor_can_it_in_what_operators_are_told(world: LogWorld, log: ScriptedLog, monitor: Monitor) -> None:
    """A record that nobody signed may name any terminal: its words stay in quotation marks, and no link."""
    answer = world.approve(world.request_deploy(), ALICE)
    report = parse_report(answer.report.payload)._replace(terminal_id='x" https://evil.example "')
    log_answer(log, answer._replace(report=answer.report._replace(payload=encode_report(report))))
    with log.served() as url:
        (found,) = monitor.run(url).news
    assert found.name == "key-unknown" and "https://evil.example" in found.message
    told = told_after(monitor, log)
    assert "key-unknown" in told[OPERATORS.key].body and "://" not in told[OPERATORS.key].body


def test_a_finding_moves_no_cursor() -> None:
    said = quote('no" or \u202eyes')
    found = finding(FindingName.DENIED, "x", f"\x1b[2J said {said}")
    assert found.message == '\\u{1b}[2J said "no\' or \\u{202e}yes"'


def test_a_killed_audit_forgets_nobody_and_repeats_only_what_it_must(
    world: LogWorld, log: ScriptedLog
) -> None:
    people = (ALICE, BOB)
    request = world.request_deploy()
    for person in people:
        log_answer(log, world.approve(request, person))
    given = {
        "trust": world.snapshot(),
        "policy": encode_log_policy(log.policy()),
        "people": pickle.dumps(people),
        "now": str(world.now + 200).encode(),
        "token": TOKEN.encode(),
    }
    with log.served() as url:
        script = Path(__file__).with_name("killed_monitor.py")
        done = subprocess.run(
            [sys.executable, script, url], input=pickle.dumps(given), capture_output=True, check=True
        )
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) > 15 and [run["killed"] for run in runs] == [True] * (len(runs) - 1) + [False]
    for run in runs:
        for person in people:
            bodies = [body for group, _, body in run["told"] if group == f"person/{person}/1"]
            assert 1 <= len(bodies) <= 2, run
            # A second notice says that it may be one.
            assert ["may have been told" in body for body in bodies[1:]] == [True] * (len(bodies) - 1), run
    # Only who was told in the very moment hears it twice: once for each of the two.
    assert sum(len(run["told"]) - len(people) for run in runs) <= 2 * len(people)
    assert all("may have been told" not in body for _, _, body in runs[-1]["told"])


GOOD = """
[[person]]
id = "alice@example.com"
urls = ["json://user:secret@here", "json://there"]
[[group]]
name = "release"
urls = ["json://team"]
[[operators]]
name = "on call"
severity = "alarm"
urls = ["json://ops"]
"""


def test_the_file_names_people_groups_and_operators() -> None:
    found = parse_recipients(GOOD.encode())
    assert [recipient.key for recipient in found] == [
        "person/alice@example.com/1",
        "person/alice@example.com/2",
        "group/release/1",
        "operators/on call/1",
    ]
    assert found[-1].severity is Severity.ALARM and not any("secret" in recipient.key for recipient in found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nobody"),
        ("[[person", "Expected"),
        ("\xff", ""),
        ("[[people]]\n", "there is no people"),
        ('[[person]]\nname = "x"\n', "there is no name"),
        ('[[person]]\nid = "x"\n', "urls must name"),
        ('[[person]]\nid = ""\nurls = ["json://secret"]\n', "id must be"),
        ('[[person]]\nid = "x"\nurls = ["json://secret"]\nseverity = "alarm"\n', "there is no severity"),
        ('[[operators]]\nname = "x"\nurls = ["json://secret"]\nseverity = "loud"\n', "severity must be"),
        ('[[group]]\nname = "x"\nurls = ["json://secret"]\n' * 2, "stands there twice"),
        ("person = 3\n", "write [[person]]"),
        ('person = ["x"]\n', "not a table"),
    ],
)
def test_a_malformed_file_is_refused_without_its_secrets(text: str, said: str) -> None:
    with pytest.raises(TellingError) as refused:
        parse_recipients(text.encode("latin-1"))
    assert said in str(refused.value) and "secret" not in str(refused.value)
