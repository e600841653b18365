"""Layouts and link sets as evidence, through `in_toto_verify` itself."""

from __future__ import annotations

import json
import logging
import logging.handlers
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from placet.adapters.intoto.keys import check_key_types
from placet.adapters.intoto.link_set import MAX_FILES, encode_link_set, parse_link_set
from placet.adapters.intoto.verify import verify_layout
from placet.core.encoding import b64encode, encode_canonical, sha256_hex
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.intoto import (
    WHEEL,
    Chain,
    approve_step,
    digests,
    functionaries,
    functionary,
    key_dict,
    pem,
)
from placet.testing.world import ALICE, BOB, World

TRUST = World().trust()
IN_TOTO_RUN = Path(sys.executable).with_name("in-toto-run")


def judge(
    chain: Chain,
    layout: Any = None,
    files: dict[str, bytes] | None = None,
    *,
    owners: dict[str, bytes] | None = None,
    raw: bytes | None = None,
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Verifies a layout of a chain's owner with its builder's links."""
    layout = chain.layout() if layout is None else layout
    return verify_layout(
        "layouts/app.layout",
        chain.signed(layout, chain.owner) if raw is None else raw,
        {"layouts/keys/owner.pub": pem(chain.owner)} if owners is None else owners,
        chain.files() if files is None else files,
        trust=TRUST,
    )


def refusal(call: Callable[[], object], kind: type[PlacetError] = VerificationError) -> PlacetError:
    """Returns the refusal, which in-toto's own words must never reach as anything else."""
    with pytest.raises(kind) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("layout_dsse", [True, False])
@pytest.mark.parametrize("links_dsse", [True, False])
def test_a_layout_that_holds_says_what_was_made(layout_dsse: bool, links_dsse: bool) -> None:
    chain = Chain(dsse=layout_dsse)
    raw = chain.signed(chain.layout(), chain.owner)
    chain.dsse = links_dsse
    assert judge(chain, raw=raw) == (frozenset({f"sha256:{digests(WHEEL)['sha256']}"}), ("build",))


@pytest.mark.parametrize("dsse", [True, False])
@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda c: judge(c, files=c.files(c.link("other"))), "Step 'build' requires '1' link metadata"),
        (lambda c: judge(c, c.layout(expires="2020-01-01T00:00:00Z")), "has expired"),
        (lambda c: judge(c, raw=c.signed(c.layout(), c.builder)), "is not signed by every owner"),
        (lambda c: judge(c, raw=c.signed(c.layout())), "is not signed by every owner"),
        (lambda c: judge(c, owners={"a": pem(c.owner), "b": pem(c.builder)}), "is not signed by every owner"),
        (lambda c: judge(c, owners={}), "is not signed by every owner"),
        (lambda c: judge(c, c.layout(c.step(), c.step("test"))), "Step 'test' requires '1' link metadata"),
        (
            lambda c: judge(c, c.layout(c.step(expected_products=[["DISALLOW", "*"]]))),
            "'DISALLOW *' matched the following artifacts",
        ),
        (
            lambda c: judge(c, c.layout(c.step(expected_products=[["REQUIRE", "app.exe"]]))),
            "'REQUIRE app.exe' did not find",
        ),
        (lambda c: judge(c, raw=c.files().popitem()[1]), "is not a layout"),
    ],
)
def test_what_in_toto_refuses_is_refused_by_name(dsse: bool, break_it: Any, words: str) -> None:
    error = refusal(lambda: break_it(Chain(dsse=dsse)))
    assert error.reason is Reason.EVIDENCE_LAYOUT
    assert words in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("dsse", [True, False])
def test_a_link_by_somebody_else_does_not_count(dsse: bool) -> None:
    chain = Chain(dsse=dsse)
    thief = CryptoSigner.generate_ecdsa()
    files = {name: chain.signed(chain.link(), thief) for name in chain.files()}
    error = refusal(lambda: judge(chain, files=files))
    assert error.reason is Reason.EVIDENCE_LAYOUT
    assert "Only found '0'" in error.message


@pytest.mark.parametrize("dsse", [True, False])
def test_an_altered_link_does_not_count(dsse: bool) -> None:
    chain = Chain(dsse=dsse)
    ((name, data),) = chain.files().items()
    ((_, other),) = chain.files(chain.link(wheel=b"other")).items()
    value, evil = json.loads(data), json.loads(other)
    member = "payload" if dsse else "signed"
    value[member] = evil[member]
    error = refusal(lambda: judge(chain, files={name: json.dumps(value).encode()}))
    assert "Only found '0'" in error.message


@pytest.mark.parametrize("dsse", [True, False])
def test_inspections_are_refused_and_never_run(dsse: bool, tmp_path: Path) -> None:
    chain, mark = Chain(dsse=dsse), tmp_path / "ran"
    layout = chain.layout(inspect=[chain.inspection(["touch", str(mark)])])
    error = refusal(lambda: judge(chain, layout))
    assert error.reason is Reason.EVIDENCE_LAYOUT
    assert "has inspections: commands that in-toto would run" in error.message
    assert not mark.exists()


@pytest.mark.parametrize("dsse", [True, False])
def test_a_functionary_cannot_bring_inspections_in_a_sublayout(dsse: bool, tmp_path: Path) -> None:
    chain, mark = Chain(dsse=dsse), tmp_path / "ran"
    (name,) = chain.files()
    inner = chain.layout(inspect=[chain.inspection(["touch", str(mark)])])
    files = {name: chain.signed(inner, chain.builder), **_inside(name, chain.files())}
    error = refusal(lambda: judge(chain, files=files))
    assert f"the sublayout {name} has inspections" in error.message
    assert not mark.exists()


def test_two_faced_metadata_is_read_as_in_toto_reads_it(tmp_path: Path) -> None:
    """A file that is an envelope and a metablock at once must not hide inspections behind the other."""
    chain, mark = Chain(), tmp_path / "ran"
    (name,) = chain.files()
    inner = chain.layout(inspect=[chain.inspection(["touch", str(mark)])])
    envelope = json.loads(chain.signed(inner, chain.builder))
    chain.dsse = False
    metablock = json.loads(chain.signed(chain.link(), chain.builder))
    files = {name: json.dumps({**envelope, **metablock}).encode(), **_inside(name, chain.files())}
    with pytest.raises(VerificationError):
        judge(chain, files=files)
    assert not mark.exists()


@pytest.mark.parametrize("dsse", [True, False])
def test_a_sublayout_holds_with_its_links_in_its_folder(dsse: bool) -> None:
    chain = Chain(dsse=dsse)
    (name,) = chain.files()
    files = {name: chain.signed(chain.layout(), chain.builder), **_inside(name, chain.files())}
    products, steps = judge(chain, files=files)
    assert products == {f"sha256:{digests(WHEEL)['sha256']}"}
    assert steps == ("build",)
    del files[next(iter(_inside(name, chain.files())))]
    assert "requires '1' link metadata" in refusal(lambda: judge(chain, files=files)).message


def _inside(name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Returns the files in the folder in which in-toto looks for a sublayout's links."""
    return {f"{name.removesuffix('.link')}/{inner}": data for inner, data in files.items()}


def test_a_layout_that_never_expires_is_refused() -> None:
    """in-toto's reader lets such a layout expire a month from now, whenever that is."""
    chain = Chain()
    metadata = json.loads(chain.signed(chain.layout(), chain.owner))
    from in_toto.models.metadata import ENVELOPE_PAYLOAD_TYPE, Envelope  # type: ignore[import-untyped]

    from placet.core.encoding import b64decode_strict

    payload = json.loads(b64decode_strict(metadata["payload"]))
    del payload["expires"]
    envelope = Envelope(json.dumps(payload).encode(), ENVELOPE_PAYLOAD_TYPE, {})
    envelope.create_signature(chain.owner)
    error = refusal(lambda: judge(chain, raw=json.dumps(envelope.to_dict()).encode()))
    assert "does not say when it expires" in error.message


def test_a_link_of_one_step_does_not_pass_for_another() -> None:
    """The builder tests, too: its link of `test` must not stand in for `build`."""
    chain = Chain()
    layout = chain.layout(chain.step(), chain.step("test"))
    files = chain.files(chain.link("build"), chain.link("test"))
    assert judge(chain, layout, files)[1] == ("build", "test")
    build, test = files
    error = refusal(lambda: judge(chain, layout, {build: files[test], test: files[test]}))
    assert f"The link {build} is not of that step: it says 'test'" in error.message


def test_nothing_of_what_a_link_says_reaches_the_screen() -> None:
    """in-toto warns of a command that differs, in the link's own words, on standard error."""
    chain, said = Chain(), logging.handlers.BufferingHandler(100)
    layout = chain.layout(chain.step(expected_command=["make"]))
    logger = logging.getLogger("in_toto")
    logger.addHandler(said)
    try:
        judge(chain, layout, chain.files(chain.link(command=["\x1b[2Jevil"])))
    finally:
        logger.removeHandler(said)
    assert said.buffer == []


def test_a_link_cannot_say_one_step_to_us_and_another_to_in_toto() -> None:
    """A file that is an envelope and a metablock at once: what in-toto reads is what counts."""
    chain = Chain()
    ((name, _),) = chain.files().items()
    ((_, test),) = chain.files(chain.link("test")).items()
    two_faced = json.loads(test) | {"signed": {"_type": "link", "name": "build"}}
    error = refusal(lambda: judge(chain, files={name: json.dumps(two_faced).encode()}))
    assert f"The link {name} is not of that step: it says 'test'" in error.message


def test_keys_that_ask_a_network_are_refused() -> None:
    chain = Chain()
    keyid = "ab" * 32
    online = {
        "keyid": keyid,
        "keytype": "sigstore-oidc",
        "scheme": "Fulcio",
        "keyval": {"identity": "ci@example.com", "issuer": "https://issuer.example"},
    }
    from securesystemslib.signer import KEY_FOR_TYPE_AND_SCHEME, SigstoreKey  # type: ignore[attr-defined]

    KEY_FOR_TYPE_AND_SCHEME[("sigstore-oidc", "Fulcio")] = SigstoreKey
    try:
        layout = chain.layout(keys={keyid: online, chain.builder.public_key.keyid: key_dict(chain.builder)})
        error = refusal(lambda: judge(chain, layout), MalformedError)
    finally:
        del KEY_FOR_TYPE_AND_SCHEME[("sigstore-oidc", "Fulcio")]
    assert error.reason is Reason.BAD_KEY


def test_one_person_with_two_keys_is_not_two_functionaries() -> None:
    chain, world = Chain(), World()
    second = SoftWebAuthn(rp_id=world.rp_id, seed=b"alice's other key")
    world.keys[f"{ALICE}.second"] = second
    people = json.loads(world.files()["people.json"])
    extra = people["people"].pop()
    people["people"][0]["credentials"] += extra["credentials"]
    world.more_files["people.json"] = encode_canonical(people)
    keys = functionaries(world, ALICE, f"{ALICE}.second")
    step = approve_step(world, [ALICE, f"{ALICE}.second"], threshold=2)
    layout = chain.signed(chain.layout(step, keys=keys), chain.owner)
    with pytest.raises(PolicyError) as caught:
        verify_layout("l", layout, {"o": pem(chain.owner)}, {}, trust=world.trust())
    assert caught.value.reason is Reason.EVIDENCE_LAYOUT
    assert f"two keys belong to {ALICE}" in caught.value.message


def test_one_key_under_two_ids_is_not_two_functionaries() -> None:
    chain = Chain()
    twin = {**key_dict(chain.builder), "keyid": "ab" * 32}
    keys = {chain.builder.public_key.keyid: key_dict(chain.builder), "ab" * 32: twin}
    layout = chain.layout(chain.step(pubkeys=list(keys), threshold=2), keys=keys)
    error = refusal(lambda: judge(chain, layout), PolicyError)
    assert "two keys belong to one functionary" in error.message


def test_a_fido_key_may_own_a_layout() -> None:
    """An owner's file is a PEM key, or a key as it stands in a layout."""
    from in_toto.models.metadata import Envelope
    from securesystemslib.signer import Signature  # type: ignore[attr-defined]

    from placet.core.sshsig import NAMESPACE_TRUST

    chain, world = Chain(), World()
    key = functionary(world, ALICE)
    del key["namespace"]
    envelope = Envelope.from_signable(chain.layout())
    signature = world.keys[ALICE].sign(NAMESPACE_TRUST, envelope.pae())
    envelope.signatures[key["keyid"]] = Signature(key["keyid"], signature.hex())
    raw = json.dumps(envelope.to_dict()).encode()
    assert judge(chain, raw=raw, owners={"alice.json": json.dumps(key).encode()})[1] == ("build",)
    key = functionary(world, BOB)
    error = refusal(lambda: judge(chain, raw=raw, owners={"bob.json": json.dumps(key).encode()}))
    assert "is not signed by every owner" in error.message


@pytest.mark.parametrize("data", [b"", b"-----BEGIN nonsense", b"{}", b"[]", b'{"keyid":"ab"}', b"\xff"])
def test_what_is_no_owner_key_is_refused_by_name(data: bytes) -> None:
    error = refusal(lambda: judge(Chain(), owners={"layouts/keys/x.pub": data}), MalformedError)
    assert error.reason is Reason.BAD_KEY
    assert "layouts/keys/x.pub is not a layout owner's public key" in error.message


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 100_000, b'{"signed":{"_type":"layout"}}', b"{}"]))
def test_whatever_a_link_is_only_a_named_refusal_comes_out(data: bytes) -> None:
    error = refusal(lambda: judge(SHARED, files={"build.00000000.link": data}))
    assert error.reason is Reason.EVIDENCE_LAYOUT


SHARED = Chain()


@pytest.mark.parametrize(
    "name",
    ["../a.b.link", "/a.b.link", "a.b", "a/../b.link", "a//b.link", "a\\b.link", ".a.link", "a/b/c/d/e.link",
     "é.link", "a\n.link", f"{'a' * 300}.link", "", ".link"],
)  # fmt: skip
def test_a_link_set_cannot_choose_where_it_is_written(name: str) -> None:
    content = encode_canonical({"files": {"a": b64encode(b"x")}}).replace(
        b'"a"', json.dumps(name, ensure_ascii=False).encode()
    )
    with pytest.raises(MalformedError):
        parse_link_set(content)
    with pytest.raises(MalformedError):
        encode_link_set({name: b"x"})


def test_link_sets_round_trip_and_are_bounded() -> None:
    files = {"build.2f89b927.link": b"a", "build.2f89b927/compile.0c6f5a31.link": b"\x00\xff"}
    assert parse_link_set(encode_link_set(files)) == files
    for wrong in (
        {},
        {f"{n}.link": b"" for n in range(MAX_FILES + 1)},
        {"a.link": b"", "a.link/b.link": b""},
    ):
        with pytest.raises(MalformedError):
            encode_link_set(wrong)


@pytest.mark.parametrize("dsse", [True, False])
def test_links_of_in_toto_run_hold(dsse: bool, tmp_path: Path) -> None:
    """What the stock tool records of a real build: command, output, materials and products."""
    chain = Chain(dsse=dsse)
    key = tmp_path / "builder.pem"
    key.write_bytes(chain.builder.private_bytes)
    words = ["-n", "build", "--signing-key", str(key), "-m", "app.py", "-p", "app.whl"]
    (tmp_path / "app.py").write_text("print()")
    subprocess.run(
        [str(IN_TOTO_RUN), *words, *(["--use-dsse"] if dsse else []), "--", "cp", "-v", "app.py", "app.whl"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (link,) = tmp_path.glob("build.*.link")
    layout = chain.layout(chain.step(expected_command=["cp", "-v", "app.py", "app.whl"]))
    made = judge(chain, layout, {link.name: link.read_bytes()})
    assert made == (frozenset({f"sha256:{sha256_hex(b'print()')}"}), ("build",))


@pytest.mark.parametrize("name", ["../build", "a/b", "a\\b", ".build", "a\0b"])
def test_a_step_whose_name_is_a_path_is_refused(name: str) -> None:
    chain = Chain()
    assert "whose name is a path" in refusal(lambda: judge(chain, chain.layout(chain.step(name)))).message


@pytest.mark.parametrize(
    "change",
    [
        {"keyid": "ab" * 32},
        {"subkeys": {"../../etc/passwd": {}}},
        {"keytype": "unheard-of"},
    ],
)
def test_keys_that_are_not_what_they_are_listed_as_are_refused(change: dict[str, Any]) -> None:
    """Put in behind in-toto's own checks, which let some of them pass."""
    chain = Chain()
    keyid = chain.builder.public_key.keyid
    with pytest.raises(MalformedError) as caught:
        check_key_types({keyid: key_dict(chain.builder) | change}, "the layout")
    assert caught.value.reason is Reason.BAD_KEY
    check_key_types({keyid: key_dict(chain.builder)}, "the layout")


def test_many_threads_verify_at_once() -> None:
    """in-toto keeps its last failure in a global; nobody is told of another's."""
    good, bad = Chain(), Chain()
    layout = bad.layout(bad.step(expected_products=[["DISALLOW", "*"]]))

    def ask(n: int) -> str:
        try:
            return judge(good)[1][0] if n % 2 else str(judge(bad, layout))
        except VerificationError as e:
            return e.message

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(24)))
    assert answers[1::2] == ["build"] * 12
    assert {"'DISALLOW *' matched" in answer for answer in answers[::2]} == {True}
