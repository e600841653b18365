"""The trust root: people, terminals, gates, policy, snapshot, quorums."""

# ruff: noqa: E501, PLR0915 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

import json
from typing import Any

from placet.core.encoding import format_time
from placet.core.sshsig import encode_sk_ecdsa_key, encode_sk_ed25519_key, key_id
from placet.testing.authenticator import SoftSk, SoftTerminalKey, SoftWebAuthn
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, CAROL, World
from vector_sources.book import REMOVED, SEED, Book, altered, b64, world


def _files(source: World, document: str = "", changes: dict[str, Any] | None = None) -> dict[str, str]:
    files = source.files()
    if document:
        files[document] = altered(files[document], changes or {})
    return {name: data.decode() for name, data in files.items()}


def trust() -> Book:
    """Compiling the trust root."""
    book = Book("trust")
    base = world()

    def inputs(files: dict[str, str], **changes: Any) -> dict[str, Any]:
        return {"files": files, "versions": base.versions, "expiresAt": format_time(base.expires_at)} | changes

    def no(name: str, ids: str, description: str, document: str, changes: dict[str, Any], reason: str, path: str = "") -> None:
        book.refuse("trust", name, ids, description, inputs(_files(world(), document, changes)), reason, path=path)

    every = "PPL-01 PPL-02 PPL-03 PPL-04 PPL-05 PPL-06 TRU-01 TRU-03 POL-01 INV-6"
    actions = [f"https://placet.dev/actions/{name}/v1" for name in ("deploy", "release", "run")]
    book.accept("trust", "whole", every, "A small deployment.", inputs(_files(base)), people=3, credentials=3, rules=3, actions=actions)
    keys = world()
    keys.keys[BOB], keys.keys[CAROL] = SoftSk("ecdsa", seed=SEED), SoftSk("ed25519", seed=SEED)
    book.accept("trust", "kinds", "PPL-03", "Keys of each kind.", inputs(_files(keys)), credentials=3)
    tls = world(rp_id="approve.example.com")
    tls.origin = lambda terminal: f"https://{terminal}.approve.example.com"  # type: ignore[method-assign]
    for person in (ALICE, BOB, CAROL):
        tls.keys[person] = SoftWebAuthn(rp_id=tls.rp_id, seed=SEED + person.encode())
    book.accept("trust", "own-domain", "PPL-04 PPL-05", "A domain of one's own over TLS.", inputs(_files(tls)), people=3)

    people = json.loads(world().files()["people.json"])["people"]
    first = people[0]["credentials"][0]
    second = "/people/1/credentials/0"
    no("same-person-twice", "PPL-01 INV-5", "Two people of one ID.", "people.json", {"/people/1/id": ALICE}, "duplicate-value", "/people")
    no("one-key-two-people", "PPL-01 INV-5", "One key for two people.", "people.json", {second: first}, "duplicate-value", "/people")
    point = SoftWebAuthn(seed=SEED + ALICE.encode()).point
    wire = encode_sk_ecdsa_key(point, "ssh:placet:demo")
    twin = people[1]["credentials"][0] | {"kind": "sk", "publicKey": b64(wire), "keyid": key_id(wire)}
    no("one-point-two-applications", "PPL-01 INV-5", "One key under two applications.", "people.json", {second: twin}, "duplicate-value", "/people")
    account = {"issuer": "https://issuer.example", "subject": "4711"}
    no("one-account-two-people", "PPL-01", "One account for two people.", "people.json", {"/people/0/accounts": [account], "/people/1/accounts": [account]}, "duplicate-value", "/people")
    shared = world()
    key = SoftSk("ed25519", seed=SEED)
    shared.keys[CAROL] = key
    machine = SoftTerminalKey(seed=SEED)
    changed = _files(shared)
    terminals = json.loads(changed["terminals.json"])
    raw = key.wire[len(b"\0\0\0\x1ask-ssh-ed25519@openssh.com\0\0\0 ") :][:32]
    plain = b"\0\0\0\x0bssh-ed25519\0\0\0 " + raw
    terminals["terminals"][0] |= {"publicKey": b64(plain), "keyid": key_id(plain)}
    changed["terminals.json"] = json.dumps(terminals)
    book.refuse("trust", "persons-key-as-terminal", "PPL-01", "A person's key that is also a terminal's.", inputs(changed), "duplicate-value")
    no("key-id", "PPL-02", "A key ID that is another key's.", "people.json", {f"{second}/keyid": first["keyid"]}, "bad-key", f"{second}/keyid")
    no("plain-key", "PPL-03 INV-3", "A person with a plain software key.", "people.json", {f"{second}/publicKey": b64(machine.wire), f"{second}/keyid": machine.keyid}, "bad-key", f"{second}/publicKey")
    foreign = SoftWebAuthn(rp_id="login.example.com", seed=SEED)
    no("foreign-rp-id", "PPL-03", "A key of a login page.", "people.json", {f"{second}/publicKey": b64(foreign.wire), f"{second}/keyid": foreign.keyid}, "bad-key", f"{second}/publicKey")
    no("kind-of-another", "PPL-03", "A page's key that claims to need none.", "people.json", {f"{second}/kind": "sk"}, "bad-key", f"{second}/publicKey")
    bad_point = encode_sk_ecdsa_key(b"\4" + bytes(64), "demo.placet.localhost")
    no("point-off-the-curve", "PPL-03", "A point that is on no curve.", "people.json", {f"{second}/publicKey": b64(bad_point), f"{second}/keyid": key_id(bad_point)}, "bad-key")
    for order, point in ((1, b"\1" + bytes(31)), (4, bytes(32)), (8, bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))):
        weak = encode_sk_ed25519_key(point, "ssh:placet:demo")
        no(f"order-{order}", "PPL-03 INV-3", "A key for which anybody can sign.", "people.json", {second: people[1]["credentials"][0] | {"kind": "sk", "publicKey": b64(weak), "keyid": key_id(weak)}}, "bad-key")
    no("assurance", "PPL-03", "An assurance that nobody defined.", "people.json", {f"{second}/assurance": "trusted"}, "bad-value", f"{second}/assurance")
    origin = "/terminals/0/origins/0"
    for name, text in (
        ("elsewhere", "http://t1.other.placet.localhost:8470"),
        ("suffix", "http://evil-demo.placet.localhost:8470"),
        ("plain-http", "http://t1.demo.example:8470"),
        ("path", "http://t1.demo.placet.localhost:8470/page"),
        ("user", "http://x@t1.demo.placet.localhost:8470"),
        ("upper-case", "http://T1.demo.placet.localhost:8470"),
        ("port", "http://t1.demo.placet.localhost:http"),
        ("scheme", "ftp://t1.demo.placet.localhost"),
        ("quote", 'http://t1".demo.placet.localhost:8470'),
        ("space", "http://t1 .demo.placet.localhost:8470"),
        ("empty-port", "http://t1.demo.placet.localhost:"),
    ):
        no(f"origin-{name}", "PPL-04", f"The origin {text}.", "terminals.json", {origin: text}, "bad-value", origin)
    no("origin-twice", "PPL-04 INV-5", "Two terminals of one origin.", "terminals.json", {"/terminals/1/origins/0": base.origin("t1")}, "duplicate-value", "/terminals")
    same = json.loads(base.files()["terminals.json"])["terminals"][0]
    no("terminal-key-twice", "PPL-04 INV-5", "Two terminals of one key.", "terminals.json", {"/terminals/1/keyid": same["keyid"], "/terminals/1/publicKey": same["publicKey"]}, "duplicate-value", "/terminals")
    no("terminal-id-twice", "PPL-04 INV-5", "Two terminals of one name.", "terminals.json", {"/terminals/1/id": "t1"}, "duplicate-value", "/terminals")
    no("terminal-hardware-key", "PPL-04", "A terminal with a person's kind of key.", "terminals.json", {"/terminals/0/publicKey": b64(foreign.wire), "/terminals/0/keyid": foreign.keyid}, "bad-key", "/terminals/0/publicKey")
    for name, text in (("localhost", "localhost"), ("placet-localhost", "placet.localhost"), ("localhost-with-dot", "localhost."), ("upper-case", "Demo.placet.localhost"), ("empty-label", "demo..localhost"), ("address", "demo.placet.localhost:8470")):
        no(f"rp-id-{name}", "PPL-05", f"The RP ID {text}.", "deployment.json", {"/rpId": text}, "bad-value", "/rpId")
    no("deployment-name", "PPL-05", "A name that is no host name.", "deployment.json", {"/name": "-demo"}, "bad-value", "/name")
    no("gate-twice", "PPL-06", "Two gates of one ID.", "gates.json", {"/gates/1/id": "prod-eu"}, "duplicate-value", "/gates")
    no("gate-without-ledger", "PPL-06", "A gate that counts nothing.", "gates.json", {"/gates/0/ledger": REMOVED}, "missing-member", "/gates/0")
    for name in ("deployment.json", "people.json", "terminals.json", "gates.json", "scopes.json"):
        lacking = _files(base)
        del lacking[name]
        book.refuse("trust", f"without-{name}", "TRU-01", f"No {name}.", inputs(lacking), "bad-trust")
    scoped = _files(base) | {"policy/ghost.toml": ""}
    book.refuse("trust", "policy-without-scope", "TRU-01 POL-04", "A policy whose scope nobody granted.", inputs(scoped), "bad-trust")
    dated = _files(base) | {"policy/default.toml": base.policy + 'evidence = [{ kind = "slsa-provenance", builders = ["https://github.com/actions/runner"], any_source = true, parameters = { after = 2026-11-23 } }]\n'}
    book.refuse("trust", "date-in-policy", "TRU-01", "A date among a rule's options.", inputs(dated), "bad-policy")
    twice = _files(base) | {"actions/run/v1b.json": _files(base)["actions/run/v1.json"]}
    book.refuse("trust", "action-twice", "TRU-01", "Two definitions of one type.", inputs(twice), "duplicate-value", path="/actions/actions/run/v1b.json")
    book.refuse("trust", "version-zero", "TRU-03 INV-6", "A role of version 0.", inputs(_files(base), versions={"root": 0}), "bad-value", path="/versions/root")
    book.refuse("trust", "version-text", "TRU-03", "A version in words.", inputs(_files(base), versions={"root": "1"}), "bad-value", path="/versions/root")
    book.refuse("trust", "role-name", "TRU-03", "A role in another script.", inputs(_files(base), versions={"r\u043e\u043et": 1}), "bad-value", path="/versions")
    _models(book, inputs)
    policy = SmallLog(seed=b"placet vectors").policy().decode()
    book.accept("trust", "log-policy", "TRU-05", "A log and its witnesses.", inputs(_files(base) | {"log-policy": policy}), people=3)
    book.refuse("trust", "log-policy-quorum", "TRU-05", "A quorum of witnesses that nobody named.", inputs(_files(base) | {"log-policy": policy.replace("witness w1", "witness w9")}), "bad-value")
    _snapshots(book)
    return book


def _models(book: Book, inputs: Any) -> None:
    """Which authenticator models count as attested."""
    attested = world(assurance={ALICE: "attested"})
    book.accept("trust", "attested", "TRU-04", "A key of an allowed model.", inputs(_files(attested)), credentials=3)

    def no(name: str, description: str, files: dict[str, str]) -> None:
        book.refuse("trust", name, "TRU-04 INV-3", description, inputs(files), "model-not-allowed")

    no("model-revoked", "A key of a revoked model.", _files(attested, "models.json", {"/models/0/status": "revoked"}))
    no("model-unknown", "A key of a model that is not in the list.", _files(attested, "people.json", {"/people/0/credentials/0/aaguid": "706c6163-6574-0000-4000-8000000000fe"}))
    no("model-unnamed", "An attested key that names no model.", _files(attested, "people.json", {"/people/0/credentials/0/aaguid": REMOVED}))
    unlisted = _files(attested)
    del unlisted["models.json"]
    no("models-missing", "An attested key where no model is allowed.", unlisted)
    book.refuse("trust", "models-no-list", "TRU-04", "A list of models that is none.", inputs(_files(attested, "models.json", {"/models": "all"})), "wrong-type", path="/models")


def _snapshots(book: Book) -> None:
    good = world().snapshot()

    def no(name: str, description: str, text: str, reason: str) -> None:
        book.refuse("snapshot", name, "TRU-02", description, {"snapshot": text}, reason)

    book.accept("snapshot", "whole", "TRU-02", "What was compiled can be loaded.", {"snapshot": good.decode()}, people=3)
    no("reformatted", "A snapshot that an editor touched.", json.dumps(json.loads(good), indent=1), "not-canonical")
    no("other-type", "Another document.", altered(good, {"/mediaType": "application/json"}).decode(), "unsupported-type")
    no("unknown-member", "A member that nobody reads.", altered(good, {"/note": "x"}).decode(), "unknown-member")
    no("action-without-digest", "An action without a digest.", altered(good, {"/files/actions~1run~1v1.json": REMOVED}).decode(), "bad-trust")
    no("evidence-options", "A rule's options that are no object.", altered(good, {"/rules/0/evidence": [{"kind": "x", "options": "y"}]}).decode(), "wrong-type")


RULE = """[[rule]]
action = "https://placet.dev/actions/run/v1"
target = "host://**"
level = 2
quorum = { threshold = 1, of = ["group:release"] }
"""


def policies() -> Book:
    """Policy files."""
    book = Book("policy")

    def inputs(toml: str) -> dict[str, Any]:
        return {"toml": toml, "scope": "default", "file": "policy/default.toml"}

    def no(name: str, ids: str, description: str, toml: str, reason: str, path: str = "") -> None:
        book.refuse("policy", name, ids, description, inputs(toml), reason, path=path)

    def swapped(old: str, new: str) -> str:
        assert old in RULE, old
        return RULE.replace(old, new)

    rule = {"level": 2, "excludeRequester": True, "distinctTerminals": False, "maxWindow": 28800, "quorum": {"threshold": 1, "of": ["group:release"]}, "evidence": [], "action": "https://placet.dev/actions/run/v1", "target": "host://**", "scope": "default", "file": "policy/default.toml"}
    book.accept("policy", "defaults", "POL-01 POL-02", "What a rule says where it is silent.", inputs(RULE), rules=[rule])
    whole = RULE + 'exclude_requester = false\ndistinct_terminals = true\nmax_window = "15m"\nevidence = [{ kind = "slsa-provenance", min_level = 3, source = "https://github.com/acme/app", builders = ["https://github.com/actions/runner"] }]\n'
    says = rule | {"excludeRequester": False, "distinctTerminals": True, "maxWindow": 900, "evidence": [{"kind": "slsa-provenance", "options": {"min_level": 3, "source": "https://github.com/acme/app", "builders": ["https://github.com/actions/runner"]}}]}
    book.accept("policy", "everything", "POL-01", "Every member.", inputs(whole), rules=[says])
    book.accept("policy", "uses-queued", "POL-13", "A gate may act, and hand its use to the log later.", inputs(RULE + 'uses = "queued"\n'), rules=[rule | {"uses": "queued"}])
    no("uses-nowhere", "POL-13 INV-7", "No word for leaving no trace.", RULE + 'uses = "unlogged"\n', "bad-value", "/rule/0/uses")
    nested = swapped('of = ["group:release"]', 'of = ["person:dana@example.com", { threshold = 2, of = ["group:sre"] }]')
    book.accept("policy", "nested", "POL-01", "A quorum within a quorum.", inputs(nested))
    eight = swapped("host://**", "host://" + "*/" * 8)
    book.accept("policy", "eight-wildcards", "POL-02", "As many wildcards as there may be.", inputs(eight))
    no("not-toml", "POL-01", "No TOML.", "[[rule", "bad-policy")
    no("endless-number", "POL-01", "A number without end.", "x = " + "9" * 5000, "bad-policy")
    no("unknown-member", "POL-01", "A member that nobody knows.", RULE + "allow = true\n", "unknown-member", "/rule/0")
    no("unknown-table", "POL-01", "A table that nobody knows.", RULE + "[default]\nallow = true\n", "unknown-member")
    no("no-quorum", "POL-01", "A rule that nobody must meet.", swapped('quorum = { threshold = 1, of = ["group:release"] }', ""), "missing-member", "/rule/0")
    no("empty-quorum", "POL-01", "A quorum of nobody.", swapped('["group:release"]', "[]"), "bad-value", "/rule/0/quorum/of")
    no("threshold-zero", "POL-01", "A quorum that is always met.", swapped("threshold = 1", "threshold = 0"), "bad-value", "/rule/0/quorum/threshold")
    no("threshold-true", "POL-01", "A truth for a number.", swapped("threshold = 1", "threshold = true"), "bad-value", "/rule/0/quorum/threshold")
    no("threshold-unreachable", "POL-01", "Two of one person.", swapped('threshold = 1, of = ["group:release"]', 'threshold = 2, of = ["person:a@example.com"]'), "bad-value", "/rule/0/quorum/threshold")
    no("no-such-voice", "POL-01", "Neither group nor person.", swapped("group:release", "role:release"), "bad-value", "/rule/0/quorum/of/0")
    no("level-five", "POL-01", "A level that there is not.", swapped("level = 2", "level = 5"), "bad-value", "/rule/0/level")
    no("level-zero", "POL-01", "No level.", swapped("level = 2", "level = 0"), "bad-value", "/rule/0/level")
    no("window", "POL-01", "A window without a unit.", RULE + 'max_window = "60"\n', "bad-value", "/rule/0/max_window")
    no("window-zero", "POL-01", "No window.", RULE + 'max_window = "0h"\n', "bad-value", "/rule/0/max_window")
    deep = '"group:a"'
    for _ in range(6):
        deep = "{ threshold = 1, of = [" + deep + "] }"
    no("deep", "POL-01", "A quorum nested too deeply.", swapped('{ threshold = 1, of = ["group:release"] }', deep), "too-deep", "/rule/0/quorum" + "/of/0" * 5)
    wide = "{ threshold = 1, of = [" + ", ".join(['{ threshold = 1, of = ["group:release"] }'] * 9) + "] }"
    no("wide", "POL-01", "More nested quorums than may be searched.", swapped('{ threshold = 1, of = ["group:release"] }', wide), "too-many", "/rule/0/quorum/of")
    no("nine-wildcards", "POL-02", "Nine wildcards.", swapped("host://**", "host://" + "*/" * 9), "bad-value", "/rule/0/target")
    no("three-stars", "POL-02", "A wildcard that means nothing.", swapped("**", "***"), "bad-value", "/rule/0/target")
    return book


def quorums() -> Book:
    """Who is enough."""
    book = Book("quorum")
    two: dict[str, Any] = {"threshold": 2, "of": ["group:release"]}

    def inputs(quorum: Any, voices: list[str], requester: str | None = None, **rule: Any) -> dict[str, Any]:
        base = {"action": "https://placet.dev/actions/run/v1", "distinctTerminals": False, "evidence": [], "excludeRequester": False, "file": "policy/default.toml", "level": 1, "maxWindow": 3600, "quorum": quorum, "scope": "default", "target": "**"}
        return {"rule": base | rule, "approvers": [_voice(v) for v in voices], "requester": requester}

    def ok(name: str, ids: str, description: str, *args: Any, **rule: Any) -> None:
        book.accept("quorum", name, ids, description, inputs(*args, **rule))

    def no(name: str, ids: str, description: str, reason: str, *args: Any, **rule: Any) -> None:
        book.refuse("quorum", name, ids, description, inputs(*args, **rule), reason, category="policy")

    few = "quorum-not-met"
    ok("two-people", "POL-05 INV-5", "Two of the group.", two, ["a/release/t1", "b/release/t1"])
    no("one-person", "POL-05", "One of two.", few, two, ["a/release/t1"])
    no("nobody", "POL-05", "Nobody.", few, two, [])
    no("two-keys", "POL-05 INV-5", "One person with two keys (attack A11).", few, two, ["a/release/t1", "a/release/t2"])
    no("outsider", "POL-05", "Somebody who is not asked.", few, two, ["a/release/t1", "b/sales/t2"])
    tree = {"threshold": 2, "of": ["group:release", {"threshold": 1, "of": ["group:sre", "person:d"]}]}
    ok("nested", "POL-05", "A group and a nested quorum.", tree, ["a/release/t1", "d//t2"])
    no("nested-one-person", "POL-05 INV-5", "One person in both groups has one voice.", few, tree, ["a/release+sre/t1"])
    no("nested-two-of-inner", "POL-05", "A met nested quorum is one voice, not two.", few, tree, ["d//t1", "e/sre/t2"])
    ok("nested-shared", "POL-05", "Who can serve in two places serves where it helps.", tree, ["a/release+sre/t1", "b/release/t2"])
    both = {"threshold": 2, "of": [{"threshold": 1, "of": ["group:x"]}, {"threshold": 1, "of": ["group:y"]}]}
    ok("assignment", "POL-05", "Only one assignment of people fits.", both, ["a/x+y/t1", "b/x/t1"])
    no("assignment-none", "POL-05", "No assignment fits.", few, both, ["a/x/t1", "b/x/t1"])
    ok("requester-others", "POL-06", "Two others than the requester.", two, ["a/release/t1", "b/release/t1", "c/release/t1"], "c", excludeRequester=True)
    ok("requester-allowed", "POL-06", "A rule that lets the requester count.", two, ["a/release/t1", "b/release/t1"], "a", excludeRequester=False)
    no("requester-own", "POL-06 INV-5", "The requester approves (attack A11).", few, two, ["a/release/t1", "b/release/t1"], "a", excludeRequester=True)
    ok("unverified-three", "POL-07", "One more, because the requester is not verified.", two, ["a/release/t1", "b/release/t1", "c/release/t1"], None, excludeRequester=True)
    no("unverified-two", "POL-07 INV-5", "The requester could be one of the two.", few, two, ["a/release/t1", "b/release/t1"], None, excludeRequester=True)
    no("unverified-key-person", "POL-07", "Whoever is taken away: here one cannot be.", few, {"threshold": 2, "of": ["person:a", {"threshold": 1, "of": ["group:release"]}]}, ["a//t1", "b/release/t1", "c/release/t1"], None, excludeRequester=True)
    apart = {"distinctTerminals": True}
    ok("terminals", "POL-12", "Two people at two terminals.", two, ["a/release/t1", "b/release/t2"], **apart)
    ok("terminals-choice", "POL-12", "One choice of who counts where fits.", two, ["a/release/t1", "b/release/t1", "a/release/t2"], **apart)
    no("terminals-one", "POL-12 INV-5", "Two people at one terminal.", "terminals-not-distinct", two, ["a/release/t1", "b/release/t1"], **apart)
    no("terminals-few", "POL-12 POL-05", "One person, whatever the terminal.", few, two, ["a/release/t1"], **apart)
    no("terminals-none", "POL-12", "Nothing says which terminal.", "terminals-not-distinct", two, ["a/release/", "b/release/"], **apart)
    ok("level", "LVL-04", "Both reach the level.", two, ["a/release/t1/2", "b/release/t2/2"], level=2)
    no("level-low", "LVL-04 LVL-05", "One of them does not.", "level-too-low", two, ["a/release/t1/2", "b/release/t2/1"], level=2)
    no("level-three", "LVL-04", "Neither reaches the level.", "level-too-low", two, ["a/release/t1/2", "b/release/t2/2"], level=3)
    one = {"threshold": 1, "of": ["group:release"]}
    ok("level-four", "LVL-06", "Two people, whatever the rule's threshold.", one, ["a/release/t1/4", "b/release/t2/4"], "c", level=4)
    no("level-four-one", "LVL-06 INV-5", "One person is not several.", "level-too-low", one, ["a/release/t1/4"], "c", level=4)
    no("level-four-terminal", "LVL-06 INV-5", "Two people at one terminal.", "level-too-low", one, ["a/release/t1/4", "b/release/t1/4"], "c", level=4)
    no("level-four-requester", "LVL-06 INV-5", "The requester is one of the two, and the rule would let them count.", "level-too-low", one, ["a/release/t1/4", "b/release/t2/4"], "b", level=4, excludeRequester=False)
    return book


def _voice(text: str) -> dict[str, Any]:
    person, groups, terminal, level, *_ = [*text.split("/"), "1"]
    return {"person": person, "groups": groups.split("+") if groups else [], "terminal": terminal, "level": int(level)}
