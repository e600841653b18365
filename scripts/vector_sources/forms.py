"""Admission, statement, actions and display."""

# ruff: noqa: E501, PLR0915 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

import json
from typing import Any

from placet.core.encoding import encode_canonical
from placet.core.statement import action_subject
from placet.testing.world import artifact, shipped_actions
from vector_sources.book import REMOVED, Book, altered, b64, run_request, world

REQUEST = "/predicate/request"
DISPLAY = "/predicate/display"
ACTION = "/predicate/action"


def admission() -> Book:
    """What may be shown or signed at all."""
    book = Book("admission")

    def ok(name: str, ids: str, description: str, data: bytes | str) -> None:
        book.accept("admission", name, ids, description, {"payload": b64(data)})

    def no(name: str, ids: str, description: str, data: bytes | str, reason: str, **more: Any) -> None:
        book.refuse("admission", name, ids, description, {"payload": b64(data)}, reason, **more)

    every = "ADM-01 ADM-02 ADM-03 ADM-04 ADM-05 ADM-06 ADM-07 ADM-08 ADM-09 ADM-10 INV-2"
    ok("plain", every, "A small document in RFC 8785 form.", '{"a":"b","c":[1,true,null,{"d":"e"}]}')
    ok("every-script", "ADM-02 ADM-08 ADM-10", "Letters of many scripts, in NFC.", '{"name":"Zoë Łukasz 田中 👍"}')
    ok("largest-integer", "ADM-06", "The largest integer.", '{"n":[9007199254740991,-9007199254740991]}')
    ok("deepest", "ADM-03", "Sixteen levels.", "[" * 16 + "]" * 16)
    ok("largest", "ADM-01", "Exactly 64 KiB.", '["' + "x" * (65536 - 4) + '"]')
    no("one-byte-too-large", "ADM-01", "64 KiB and one byte.", '["' + "x" * (65536 - 3) + '"]', "too-large")
    no("not-utf-8", "ADM-02", "A lone continuation byte.", b'["\x80"]', "not-utf8")
    no("overlong-utf-8", "ADM-02", "An overlong slash.", b'["\xc0\xaf"]', "not-utf8")
    no("byte-order-mark", "ADM-02", "A byte order mark before the document.", "\ufeff{}", "not-json")
    no("not-json", "ADM-02", "Text after the document.", "{}x", "not-json")
    no("too-deep", "ADM-03", "Seventeen levels.", "[" * 17 + "]" * 17, "too-deep")
    no(
        "brackets-in-strings",
        "ADM-03",
        "Deep nesting whose brackets are cancelled by brackets inside strings.",
        '["]",' * 40 + '"e"' + ',"["]' * 40,
        "too-deep",
    )
    no("very-deep", "ADM-03", "Deeper than any parser's stack.", "[" * 30000 + "]" * 30000, "too-deep")
    no("duplicate-member", "ADM-04", "Two members of one name.", '{"a":"x","a":"y"}', "duplicate-member")
    no("float", "ADM-05", "A number with a fraction.", '{"n":1.5}', "number-not-allowed")
    no("exponent", "ADM-05", "A number with an exponent.", '{"n":1e3}', "number-not-allowed")
    no("not-a-number", "ADM-05", "NaN, which no JSON has.", '{"n":NaN}', "number-not-allowed")
    no("integer-too-large", "ADM-06", "2^53.", '{"n":9007199254740992}', "number-not-allowed")
    no("integer-endless", "ADM-06", "An integer of 5000 digits.", '{"n":' + "9" * 5000 + "}", "number-not-allowed")
    no("member-name", "ADM-07", "A Cyrillic letter in a member name.", '{"\u0430":"x"}', "member-name")
    no("member-name-control", "ADM-07", "A delete character in a name.", '{"a\x7f":"x"}', "member-name")
    hidden = {
        "bidi-override": "\u202e",
        "zero-width-space": "\u200b",
        "tag-character": "\U000e0041",
        "soft-hyphen": "\u00ad",
        "line-separator": "\u2028",
        "no-break-space": "\u00a0",
        "private-use": "\ue000",
        "unassigned-in-unicode-14": "\U0001fae8",
        "delete": "\x7f",
    }
    for name, character in hidden.items():
        text = f'{{"a":["x{character}y"]}}'
        no(name, "ADM-08 INV-2", f"U+{ord(character):04X} in a value.", text, "text-not-allowed", path="/a/0")
    no("terminal-escape", "ADM-08", "An escape sequence.", r'{"a":"\u001b[2J"}', "text-not-allowed", path="/a")
    no("lone-surrogate", "ADM-08", "Half of a surrogate pair.", r'{"a":"\ud800"}', "text-not-allowed")
    no("white-space", "ADM-09", "A space after a colon.", '{"a": "b"}', "not-canonical")
    no("member-order", "ADM-09", "Members out of order.", '{"b":"x","a":"y"}', "not-canonical")
    no("needless-escape", "ADM-09", "A slash that is escaped.", r'{"a":"\/"}', "not-canonical")
    no("trailing-newline", "ADM-09", "A newline at the end, as editors add.", '{"a":"b"}\n', "not-canonical")
    no("minus-zero", "ADM-09", "Zero with a sign.", '{"a":-0}', "not-canonical")
    no("not-nfc", "ADM-10", "An e and a combining accent.", '{"a":"e\u0301"}', "not-nfc", path="/a")
    return book


def statements() -> Book:
    """Statement and action."""
    book = Book("statement")
    run, deploy = run_request(world()).payload, world().request_deploy().payload
    files = world().request_run(
        argv=["/usr/bin/true"], executable=b"a program", inputs=[artifact("in/app.whl", b"wheel")]
    )

    def ok(name: str, ids: str, description: str, payload: bytes, **facts: Any) -> None:
        book.accept("statement", name, ids, description, {"payload": b64(payload), "trust": "default"}, **facts)

    def no(
        name: str, ids: str, description: str, base: bytes, changes: Any, reason: str, path: str = "", **more: Any
    ) -> None:
        inputs = {"payload": b64(altered(base, changes)), "trust": "default"}
        book.refuse("statement", name, ids, description, inputs, reason, path=path, **more)

    every = "STM-01 STM-02 STM-03 STM-04 STM-05 STM-06 STM-07 STM-08 STM-09 STM-11 STM-12 STM-13 ACT-02 ACT-04"
    ok("run", f"{every} STM-10", "A command without input files.", run, decision="approve", subjects=1)
    ok("deploy", f"{every} ACT-05 DSP-03", "A deployment of one image.", deploy, decision="approve", subjects=1)
    ok("run-with-files", "ACT-03 ACT-05", "A command with one input file.", files.payload, subjects=1)
    elsewhere = world().request_run(argv=["/usr/bin/true"], executable=b"a program", working_directory="/srv").payload
    ok("run-elsewhere", "ACT-03 STM-10", "A command without input files may start anywhere.", elsewhere, subjects=1)
    registry = altered(deploy, {"/subject/0/name": "registry.example:5000//app"})
    named = altered(registry, {f"{DISPLAY}/text": _text(deploy).replace("registry.example/app", "registry.example:5000//app")})
    ok("artifact-name", "ACT-03", "An artifact's name is no path.", named, subjects=1)
    two = world().request_release({"a.whl": b"a", "b.whl": b"b"}).payload
    ok("release", "STM-06 STM-05", "A release of two files.", two, subjects=2)
    denial = {"/predicate/decision": "deny", f"{DISPLAY}/text": "Deny: " + _text(run)}
    ok("denial", "STM-03 DSP-07", "The denial of the same request.", altered(run, denial), decision="deny")

    no("other-type", "STM-01", "In-toto v0.1.", run, {"/_type": "https://in-toto.io/Statement/v0.1"}, "bad-value", "/_type")
    no("other-predicate", "STM-01", "Provenance.", run, {"/predicateType": "https://slsa.dev/provenance/v1"}, "bad-value", "/predicateType")
    no("unknown-member", "STM-02 INV-2", "A member that no terminal would show.", run, {f"{REQUEST}/note": "x"}, "unknown-member", REQUEST)
    no("missing-member", "STM-02", "No evidence list.", run, {"/predicate/evidence": REMOVED}, "missing-member", "/predicate")
    no("wrong-type", "STM-02", "A list where an object belongs.", run, {"/predicate/policy": []}, "wrong-type", "/predicate/policy")
    no("decision", "STM-03", "Neither approve nor deny.", run, {"/predicate/decision": "maybe"}, "bad-value", "/predicate/decision")
    no("language", "STM-04", "A language whose summaries nobody defined.", run, {f"{DISPLAY}/lang": "de"}, "bad-value", f"{DISPLAY}/lang")
    no("long-text", "STM-04", "A summary of 513 characters.", run, {f"{DISPLAY}/text": "x" * 513}, "bad-value", f"{DISPLAY}/text")
    no("two-algorithms", "STM-05", "Two digests of one artifact.", deploy, {"/subject/0/digest/sha512": "0" * 128}, "bad-digest", "/subject/0/digest")
    no("unknown-algorithm", "STM-05", "MD5.", deploy, {"/subject/0/digest": {"md5": "0" * 32}}, "bad-digest", "/subject/0/digest")
    no("short-digest", "STM-05", "A digest cut short.", deploy, {"/subject/0/digest/sha256": "0" * 63}, "bad-digest", "/subject/0/digest")
    no("upper-case-digest", "STM-05", "A digest in upper case.", deploy, {"/subject/0/digest/sha256": "A" * 64}, "bad-digest", "/subject/0/digest")
    no("no-subject", "STM-06", "Nothing is approved.", deploy, {"/subject": []}, "bad-value", "/subject")
    no("same-digest-twice", "STM-06", "One artifact under two names.", deploy, {"/subject/-": {"name": "other", "digest": _subject(deploy)["digest"]}}, "duplicate-value", "/subject")
    no("same-name-twice", "STM-06", "Two artifacts of one name.", deploy, {"/subject/-": {"name": _subject(deploy)["name"], "digest": {"sha256": "0" * 64}}}, "duplicate-value", "/subject")
    many = [{"name": str(i), "digest": {"sha256": f"{i:064x}"}} for i in range(65)]
    no("too-many-subjects", "STM-06", "65 artifacts.", deploy, {"/subject": many}, "too-many", "/subject")
    no("short-nonce", "STM-07", "A nonce of 15 bytes.", run, {f"{REQUEST}/nonce": b64(bytes(15))}, "bad-value", f"{REQUEST}/nonce")
    no("long-nonce", "STM-07", "A nonce of 65 bytes.", run, {f"{REQUEST}/nonce": b64(bytes(65))}, "bad-value", f"{REQUEST}/nonce")
    no("uuid-version-4", "STM-07", "A random UUID.", run, {f"{REQUEST}/id": "018f3e9e-8c2b-4cc0-9b5e-000000000000"}, "bad-value", f"{REQUEST}/id")
    no("uuid-number", "STM-07", "A number.", run, {f"{REQUEST}/id": 7}, "wrong-type", f"{REQUEST}/id")
    no("uuid-upper-case", "STM-07", "A UUID in upper case.", run, {f"{REQUEST}/id": "018F3E9E-8c2b-7cc0-9b5e-000000000000"}, "bad-value", f"{REQUEST}/id")
    no("uuid-variant", "STM-07", "Another variant.", run, {f"{REQUEST}/id": "018f3e9e-8c2b-7cc0-cb5e-000000000000"}, "bad-value", f"{REQUEST}/id")
    for name, text in (
        ("offset", "2026-11-23T11:00:00+01:00"),
        ("fraction", "2026-11-23T10:00:00.5Z"),
        ("no-such-day", "2026-02-29T10:00:00Z"),
        ("leap-second", "2026-12-31T23:59:60Z"),
        ("lower-case", "2026-11-23t10:00:00z"),
        ("month-zero", "2026-00-23T10:00:00Z"),
        ("hour-24", "2026-11-23T24:00:00Z"),
    ):
        no(f"time-{name}", "STM-08", f"The time {text}.", run, {f"{REQUEST}/expiresAt": text}, "bad-time", f"{REQUEST}/expiresAt")
    no("expires-before-valid", "STM-08 INV-4", "An empty window.", run, {f"{REQUEST}/notBefore": "2026-11-23T11:00:00Z"}, "bad-time", REQUEST)
    no("valid-before-issued", "STM-08", "Valid before it was issued.", run, {f"{REQUEST}/notBefore": "2026-11-23T09:59:59Z"}, "bad-time", REQUEST)
    for name, uses in (("zero", "0"), ("leading-zero", "01"), ("many", "1001"), ("plus", "+1"), ("other-digits", "١")):
        no(f"uses-{name}", "STM-09", f"The number {uses!r}.", run, {f"{REQUEST}/maxUses": uses}, "bad-value", f"{REQUEST}/maxUses")
    no("uses-number", "STM-09", "A JSON number.", run, {f"{REQUEST}/maxUses": 1}, "wrong-type", f"{REQUEST}/maxUses")
    no("action-subject-of-another", "STM-10", "The digest of another action.", run, {f"{ACTION}/parameters/workingDirectory": "/tmp"}, "subject-mismatch", "/subject")
    no("action-subject-in-company", "STM-10", "The action beside an artifact.", run, {"/subject/-": {"name": "x", "digest": {"sha256": "0" * 64}}}, "subject-mismatch", "/subject")
    no("action-subject-with-uri", "STM-10", "The action with an address.", run, {"/subject/0/uri": "https://x.example"}, "subject-mismatch", "/subject")
    no("audience-no-gate", "STM-11", "An audience that is no gate.", run, {f"{REQUEST}/audience": "prod-eu"}, "bad-value", f"{REQUEST}/audience")
    no("audience-empty", "STM-11", "A gate without a name.", run, {f"{REQUEST}/audience": "gate:"}, "bad-value", f"{REQUEST}/audience")
    entry = {"name": "x", "mediaType": "text/plain", "digest": {"sha256": "0" * 64}}
    no("evidence-twice", "STM-12", "The same evidence twice.", run, {"/predicate/evidence": [entry, entry]}, "duplicate-value", "/predicate/evidence")
    no("evidence-digest", "STM-12", "Evidence by SHA-512.", run, {"/predicate/evidence": [entry | {"digest": {"sha512": "0" * 128}}]}, "missing-member", "/predicate/evidence/0/digest")
    no("policy-digest", "STM-13", "A policy without its digest.", run, {"/predicate/policy/digest": REMOVED}, "missing-member", "/predicate/policy")

    no("parameter-unknown", "ACT-02", "A parameter that the action does not have.", deploy, {f"{ACTION}/parameters/force": "true"}, "action-schema", f"{ACTION}/parameters")
    no("parameter-missing", "ACT-02", "No strategy.", deploy, {f"{ACTION}/parameters/strategy": REMOVED}, "action-schema", f"{ACTION}/parameters")
    no("parameter-choice", "ACT-02", "A strategy that is none.", deploy, {f"{ACTION}/parameters/strategy": "yolo"}, "action-schema", f"{ACTION}/parameters/strategy")
    no("parameter-format", "ACT-02", "A number with a leading zero.", deploy, {f"{ACTION}/parameters/replicas": "06"}, "action-schema", f"{ACTION}/parameters/replicas")
    no("parameter-empty", "ACT-02", "An empty value, which a screen cannot show.", deploy, {f"{ACTION}/parameters/configuration": {"a": ""}}, "action-schema", f"{ACTION}/parameters/configuration/a")
    no("annotation", "ACT-02", "An annotation that is a number.", deploy, {f"{ACTION}/target/annotations": {"a": 1}}, "action-schema", f"{ACTION}/target/annotations/a")
    base = files.payload
    for name, path in (("parent", "../app.whl"), ("absolute", "/app.whl"), ("dot", "./app.whl"), ("empty-part", "a//b"), ("backslash", "a\\b")):
        no(f"file-{name}", "ACT-03", f"The input file {path}.", base, {"/subject/0/name": path}, "subject-mismatch", "/subject/0")
    no("file-other-digest", "ACT-03", "An input file by SHA-512.", base, {"/subject/0/digest": {"sha512": "0" * 128}}, "subject-mismatch", "/subject/0")
    no("file-elsewhere", "ACT-03", "Input files, but the command starts elsewhere.", base, {f"{ACTION}/parameters/workingDirectory": "/srv"}, "subject-mismatch", f"{ACTION}/parameters/workingDirectory")
    no("target-scheme", "ACT-04", "A scheme that the action does not know.", deploy, {f"{ACTION}/target/uri": "file:///etc"}, "action-schema", f"{ACTION}/target/uri")
    no("target-parent", "ACT-04", "A way out of the target's own tree.", deploy, {f"{ACTION}/target/uri": "k8s://prod/../dev"}, "action-schema", f"{ACTION}/target/uri")
    no("target-here", "ACT-04", "A part that means nothing, before a rule's own word.", deploy, {f"{ACTION}/target/uri": "k8s://./prod"}, "action-schema", f"{ACTION}/target/uri")
    no("target-double-slash", "ACT-04", "An empty part, which servers read past.", deploy, {f"{ACTION}/target/uri": "k8s://dev//prod"}, "action-schema", f"{ACTION}/target/uri")
    no("target-encoded-parent", "ACT-04", "A way out, spelled otherwise.", deploy, {f"{ACTION}/target/uri": "k8s://prod/%2E%2e/dev"}, "action-schema", f"{ACTION}/target/uri")
    no("target-empty", "ACT-04", "A scheme alone.", deploy, {f"{ACTION}/target/uri": "k8s://"}, "action-schema", f"{ACTION}/target/uri")
    no("no-artifact", "ACT-05", "A deployment of nothing.", deploy, {"/subject": [action_subject_of(deploy)]}, "subject-mismatch", "/subject")
    no("text-of-another", "DSP-03", "A summary that says something else.", deploy, {f"{DISPLAY}/text": "Deploy nothing"}, "display-mismatch", f"{DISPLAY}/text")
    no("denial-with-the-approvals-text", "DSP-07", "A denial under the approval's summary.", run, {"/predicate/decision": "deny"}, "display-mismatch", f"{DISPLAY}/text")
    no("approval-with-the-denials-text", "DSP-07", "An approval under the denial's summary.", run, {f"{DISPLAY}/text": "Deny: " + _text(run)}, "display-mismatch", f"{DISPLAY}/text")
    return book


def _text(payload: bytes) -> str:
    text: str = json.loads(payload)["predicate"]["display"]["text"]
    return text


def _subject(payload: bytes) -> Any:
    return json.loads(payload)["subject"][0]


def action_subject_of(payload: bytes) -> Any:
    """Returns the subject that stands for a payload's action."""
    return action_subject(json.loads(payload)["predicate"]["action"])


def definitions() -> Book:
    """Action definitions."""
    book = Book("action-definition")
    deploy = shipped_actions()["actions/deploy/v1.json"]

    def no(name: str, description: str, changes: Any, reason: str, path: str) -> None:
        content = altered(deploy, changes).decode()
        inputs = {"file": "actions/x/v1.json", "content": content}
        book.refuse("action-definition", name, "ACT-01", description, inputs, reason, path=path)

    for file, content in shipped_actions().items():
        name = file.split("/")[1]
        inputs = {"file": file, "content": content.decode()}
        book.accept("action-definition", name, "ACT-01", f"The shipped definition of {name}.", inputs)
    no("conditional", "A keyword outside the closed subset.", {"/parameters/if": {}}, "unknown-member", "/parameters")
    no("pattern", "A regular expression.", {"/parameters/properties/replicas/pattern": ".*"}, "unknown-member", "/parameters/properties/replicas")
    no("number", "A type outside the closed subset.", {"/parameters/properties/replicas/type": "number"}, "bad-value", "/parameters/properties/replicas")
    no("format", "A format that nobody checks.", {"/parameters/properties/replicas/format": "email"}, "bad-value", "/parameters/properties/replicas/format")
    no("map-and-record", "An object that is both.", {"/parameters/values": {"type": "string"}}, "bad-value", "/parameters")
    no("required-unknown", "A required property that there is not.", {"/parameters/required": ["ghost"]}, "bad-value", "/parameters/required/0")
    deep: Any = {"type": "string"}
    for _ in range(8):
        deep = {"type": "array", "items": deep}
    no("deep", "A schema nested too deeply.", {"/parameters": deep}, "too-deep", "/parameters" + "/items" * 7)
    no("template", "A template without a part.", {"/text": []}, "bad-value", "/text")
    no("use-unit", "A use that nobody can count.", {"/useUnit": "session"}, "bad-value", "/useUnit")
    no("title", "A title in two scripts.", {"/title": "Dеploy"}, "bad-value", "/title")
    return book


def display() -> Book:
    """The full view and the summary."""
    book = Book("display")
    names = {"0": "zero", "a b": "two", "a/b": "slash", "LANG": "C.UTF-8", "c\\d": "back", "ok.name-1": "é"}
    view = world().request_deploy(parameters={"strategy": "rolling", "configuration": names}).payload
    facts = {
        "text": "Deploy registry.example/app to k8s://prod-eu/ns/shop/deploy/app, rolling",
        "rows": {
            "/predicate/action/parameters/configuration/0": ['Configuration "0"', "zero"],
            "/predicate/action/parameters/configuration/a b": ['Configuration "a b"', "two"],
            "/predicate/action/parameters/configuration/a~1b": ['Configuration "a/b"', "slash"],
            "/predicate/action/parameters/configuration/LANG": ["Configuration LANG", "C.UTF-8"],
            "/predicate/action/parameters/configuration/c\\d": ['Configuration "c\\u{5c}d"', "back"],
            "/predicate/action/parameters/configuration/ok.name-1": ["Configuration ok.name-1", "\\u{e9}"],
            "/subject/0/name": ["Artifact 1 name", "registry.example/app"],
            "/predicate/evidence": ["Evidence", "(none)"],
        },
    }
    inputs = {"payload": b64(view), "trust": "default"}
    ids = "DSP-01 DSP-02 DSP-03 DSP-04 INV-2"
    book.accept("display", "every-leaf", ids, "Each leaf once, each name unlike any other.", inputs, **facts)
    spoof = world().request_run(
        argv=["/usr/bin/true", "for host://staging", 'a"b', "c\\d", "é"], executable=b"a program"
    )
    text = (
        'Run for host://build-1.example: /usr/bin/true "for host://staging" "a\\u{22}b" c\\u{5c}d \\u{e9}'
    )
    inputs = {"payload": b64(spoof.payload), "trust": "default"}
    book.accept("display", "quoted", "DSP-01 DSP-02 DSP-06", "What could pass for the template's words.", inputs, text=text)

    def no(name: str, ids: str, description: str, old: str, new: str) -> None:
        changed = altered(spoof.payload, {f"{DISPLAY}/text": text.replace(old, new)})
        where = f"{DISPLAY}/text"
        inputs = {"payload": b64(changed), "trust": "default"}
        book.refuse("display", name, ids, description, inputs, "display-mismatch", path=where)

    no("letter-as-it-is", "DSP-01", "A letter that is not escaped.", "\\u{e9}", "é")
    no("escape-in-upper-case", "DSP-01", "The escape's second spelling.", "\\u{e9}", "\\u{E9}")
    no("backslash-as-it-is", "DSP-01", "A backslash that could begin an escape.", "c\\u{5c}d", "c\\d")
    no("not-quoted", "DSP-06", "An argument that passes for the target.", '"for host://staging"', "for host://staging")
    no("summary-altered", "DSP-03 INV-1", "Another target in the summary.", "build-1", "build-2")
    long = altered(spoof.payload, {f"{ACTION}/parameters/argv": ["x" * 600]})
    fixed = altered(long, {"/subject": [action_subject_of(long)]})
    inputs = {"payload": b64(fixed), "trust": "default"}
    book.refuse("display", "too-long", "DSP-02", "More than a line.", inputs, "display-too-long")
    small = {"a": ["x", {"b": "y"}], "c": []}
    rows = [["/a/0", "x"], ["/a/1/b", "y"], ["/c", "(none)"]]
    shown: list[tuple[str, str, Any]] = [
        ("missing", "A leaf that is not shown.", rows[:2]),
        ("twice", "A leaf shown twice.", [*rows, rows[0]]),
        ("other-value", "A leaf shown with another value.", [["/a/0", "z"], *rows[1:]]),
        ("invented", "A row that shows nothing.", [*rows[:2], ["/d", "y"]]),
    ]
    document = encode_canonical(small).decode()
    inputs = {"document": document, "rows": rows}
    book.accept("display-rows", "complete", "DSP-04", "Every leaf exactly once.", inputs)
    for name, description, wrong in shown:
        inputs = {"document": document, "rows": wrong}
        book.refuse("display-rows", name, "DSP-04 INV-2", description, inputs, "display-incomplete")
    return book
