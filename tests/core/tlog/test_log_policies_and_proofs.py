"""Who counts, and how many: policies against every subset, proofs against every change."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.tlog.log_policy import (
    MAX_POLICY_BYTES,
    NO_QUORUM,
    Group,
    LogEntryKey,
    LogPolicy,
    Witness,
    check_quorum,
    encode_log_policy,
    parse_log_policy,
)
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import COSIGNATURE_ED25519, VerifierKey, encode_signatures, parse_note
from placet.core.tlog.proof import (
    MAX_EXTRA_BYTES,
    TlogProof,
    encode_proof,
    parse_proof,
    verify_proof,
    verify_witnessed,
)
from placet.core.trust import parse_trust
from placet.testing.small_log import SmallLog, note_signer
from placet.testing.world import World

LOG = SmallLog(seed=b"policies", url="https://log.example")
POLICY = parse_log_policy(LOG.policy())
KEYS = [note_signer(f"k{i}.example", COSIGNATURE_ED25519, b"k").verifier_key for i in range(8)]


@st.composite
def policies(draw: st.DrawFn) -> LogPolicy:
    """Policies with groups of witnesses and groups, as deep as they get."""
    count = draw(st.integers(0, 6))
    witnesses = tuple(
        Witness(f"w{i}", KEYS[i], draw(st.sampled_from(("", "https://w")))) for i in range(count)
    )
    free = [witness.name for witness in witnesses]
    groups = []
    for i in range(draw(st.integers(0, 4)) if free else 0):
        members = draw(st.lists(st.sampled_from(free), min_size=1, max_size=4, unique=True))
        groups.append(Group(f"g{i}", draw(st.integers(1, len(members))), tuple(members)))
        free = [name for name in free if name not in members] + [f"g{i}"]
    names = [NO_QUORUM, *(w.name for w in witnesses), *(g.name for g in groups)]
    return LogPolicy(
        POLICY.logs[: draw(st.integers(0, 1))], witnesses, tuple(groups), draw(st.sampled_from(names))
    )


def counts(policy: LogPolicy, name: str, cosigned: set[str]) -> bool:
    """The specification's words: a witness counts where it cosigned, a group where k members count."""
    for group in policy.groups:
        if group.name == name:
            return sum(counts(policy, member, cosigned) for member in group.members) >= group.threshold
    return name in cosigned


@given(policies())
@settings(deadline=None, max_examples=60)
def test_policies_read_as_they_were_written(policy: LogPolicy) -> None:
    assert parse_log_policy(encode_log_policy(policy)) == policy


@given(policies(), st.data())
@settings(deadline=None, max_examples=150)
def test_quorum_and_times_are_what_the_words_say(policy: LogPolicy, data: st.DataObject) -> None:
    names = [witness.name for witness in policy.witnesses]
    times = data.draw(st.dictionaries(st.sampled_from([*names, "stranger"]), st.integers(0, 5)))
    enough = policy.quorum == NO_QUORUM or counts(policy, policy.quorum, set(times))
    assert policy.is_quorum(times) == enough
    if policy.quorum == NO_QUORUM or not enough:
        assert policy.seen_by(times) is None
        assert policy.not_before(times) is None
        return
    moments = sorted(set(times.values()))
    by = [t for t in moments if counts(policy, policy.quorum, {n for n, at in times.items() if at <= t})]
    since = [t for t in moments if counts(policy, policy.quorum, {n for n, at in times.items() if at >= t})]
    assert policy.seen_by(times) == min(by)
    assert policy.not_before(times) == max(since)


def test_fewer_liars_than_the_threshold_move_no_time() -> None:
    # A18: of three witnesses two are needed; one lies as it likes.
    honest = {"w1": 100, "w2": 101}
    for lie in (0, 10**12):
        for liar in itertools.chain(("w3",), honest):
            times = {**honest, liar: lie}
            if liar == "w3":
                assert 100 <= (POLICY.seen_by(times) or 0) <= 101
            assert (POLICY.not_before(times) or 0) <= 101


def test_more_witnesses_never_make_a_quorum_less() -> None:
    for some in itertools.chain.from_iterable(
        itertools.combinations(("w1", "w2", "w3"), n) for n in range(4)
    ):
        for more in ("w1", "w2", "w3"):
            assert POLICY.is_quorum(some) <= POLICY.is_quorum({*some, more})
    check_quorum(POLICY, ("w1", "w3"))
    with pytest.raises(PolicyError) as caught:
        check_quorum(POLICY, ("w1", "stranger", "all-of-them"))
    assert caught.value.reason is Reason.LOG_NOT_WITNESSED


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_only_refusals_escape_from_policies(data: bytes) -> None:
    for given_ in (data, data + b"\nquorum none\n", LOG.policy() + data + b"\n"):
        try:
            policy = parse_log_policy(given_)
        except MalformedError:
            continue
        assert parse_log_policy(encode_log_policy(policy)) == policy


def test_a_refusal_names_the_line() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_log_policy(b"# one\n\nwitness w nonsense\nquorum w\n")
    assert caught.value.path == "line 3"


def test_a_deep_policy_is_read_from_top_to_bottom() -> None:
    groups = ["group g0 any w1", *(f"group g{i} any g{i - 1}" for i in range(1, 32))]
    text = LOG.policy().decode().split("group")[0] + "".join(f"{line}\n" for line in (*groups, "quorum g31"))
    policy = parse_log_policy(text.encode())
    assert policy.is_quorum({"w1"})
    assert policy.not_before({"w1": 7}) == 7
    with pytest.raises(MalformedError):
        parse_log_policy(text.replace("quorum g31", "group g32 any g31\nquorum g32").encode())


LEAF = b"an entry"
INDEX = LOG.append(LEAF)
PROOF = LOG.proof(INDEX, times={"w1": 100, "w3": 200})
ALONE = LogPolicy((LogEntryKey(LOG.signer.verifier_key),))


def test_a_proof_says_what_is_proven() -> None:
    found = verify_proof(parse_proof(PROOF), hash_leaf(LEAF), POLICY)
    assert (found.log_origin, found.leaf_index, found.tree_size) == ("log.example/demo", 5, 6)
    assert found.witness_times == {"w1": 100, "w3": 200}
    assert verify_proof(parse_proof(PROOF.encode()), hash_leaf(LEAF), ALONE).witness_times == {}


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.binary(max_size=MAX_EXTRA_BYTES),
)
@settings(deadline=None, max_examples=40)
def test_proofs_read_as_they_were_written(index: int, hashes: list[bytes], extra: bytes) -> None:
    proof = TlogProof(index, tuple(hashes), parse_proof(PROOF).checkpoint, extra)
    assert parse_proof(encode_proof(proof)) == proof


@given(st.integers(0, 8 * len(PROOF.encode()) - 1))
@settings(deadline=None, max_examples=400)
def test_no_bit_of_a_proof_can_be_changed(bit: int) -> None:
    changed = bytearray(PROOF.encode())
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = verify_proof(parse_proof(bytes(changed)), hash_leaf(LEAF), POLICY)
    except PlacetError:
        return
    # A witness whose name or key ID was changed is a stranger; nothing else may be changed at all.
    assert len(found.witness_times) == 1


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_a_proof_has_one_spelling(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(PROOF) - 1))
    changed = PROOF[:at] + data.draw(st.text("0=A \n\t\r\u2014", max_size=3)) + PROOF[at + 1 :]
    try:
        assert encode_proof(parse_proof(changed)) == changed
    except MalformedError:
        assert changed != PROOF


@given(st.text(max_size=200))
@settings(deadline=None, max_examples=200)
def test_only_refusals_escape_from_proofs(text: str) -> None:
    for given_ in (text, f"c2sp.org/tlog-proof@v1\n{text}\n", f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}\n"):
        try:
            verify_proof(parse_proof(given_), b"x" * 32, POLICY)
        except PlacetError as error:
            assert isinstance(error, MalformedError | PolicyError | VerificationError)
        else:
            pytest.fail("this proves nothing")


def test_a_replayed_cosignature_spoils_the_proof() -> None:  # A14
    other = SmallLog(seed=b"policies")
    other.append(b"another entry")
    old = parse_note(other.checkpoint(times={"w2": 50}))
    replayed = parse_proof(PROOF).checkpoint + encode_signatures(old.signatures[1:])
    with pytest.raises(VerificationError) as caught:
        verify_witnessed(replayed, POLICY)
    assert caught.value.reason is Reason.LOG_PROOF_INVALID
    assert [cause.reason for cause in caught.value.causes] == [Reason.SIGNATURE_INVALID]


def test_a_forked_log_is_another_proof() -> None:  # A14
    fork = SmallLog(seed=b"policies")
    fork.append(b"what others are shown")
    with pytest.raises(VerificationError):
        verify_proof(parse_proof(fork.proof(INDEX, times={"w1": 1})), hash_leaf(LEAF), POLICY)
    mixed = parse_proof(PROOF)._replace(checkpoint=fork.checkpoint(times={"w1": 1}))
    with pytest.raises(VerificationError):
        verify_proof(mixed, hash_leaf(LEAF), POLICY)


def test_a_log_under_a_known_name_with_another_key_is_unknown() -> None:
    imitation = SmallLog(seed=b"imitation")
    imitation.append(LEAF)
    with pytest.raises(PolicyError) as caught:
        verify_proof(parse_proof(imitation.proof(5, times={})), hash_leaf(LEAF), POLICY)
    assert caught.value.reason is Reason.LOG_UNKNOWN


def test_a14_keys_that_notes_cannot_tell_apart_are_refused() -> None:
    """Of two such keys one signature is found for both: a bought witness could spoil every proof of a log."""
    one, two = (VerifierKey("w.example", 4, number.to_bytes(32, "little")) for number in (44405, 109081))
    assert one.key_id == two.key_id
    assert one.public_key != two.public_key
    lines = f"witness a {one}\nwitness b {two}\ngroup both all a b\nquorum both\n"
    with pytest.raises(MalformedError) as caught:
        parse_log_policy(lines.encode())
    assert caught.value.reason is Reason.DUPLICATE_VALUE


@pytest.mark.parametrize("more", [0, 1])
def test_a_trust_snapshot_holds_the_largest_policy_and_no_larger_one(more: int) -> None:
    world = World()
    rest = LOG.policy()
    comment = b"#" * (MAX_POLICY_BYTES + more - len(rest) - 1) + b"\n"
    world.more_files["log-policy"] = comment + rest
    if more:
        with pytest.raises(MalformedError):
            parse_trust(world.snapshot())
    else:
        assert parse_trust(world.snapshot()).log_policy == POLICY
