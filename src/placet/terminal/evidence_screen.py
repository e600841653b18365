"""What the terminal found when it verified the evidence, apart from what the request says about it.

Everything verified stands first, under a note that says so; the request's own lines follow, as its words.
"""

from __future__ import annotations

from placet.ceremony.decide import Review
from placet.core.evidence.facts import PROVENANCE, SOURCE, EvidenceFact
from placet.core.evidence.requester import PROOF_NAME, TOKEN_NAME
from placet.core.statement import EvidenceRef
from placet.documents.evidence_words import describe_fact
from placet.terminal.screen_parts import NOT_A_ROW, Block, Line, Note

_KINDS_OF_REQUESTER = {
    PROOF_NAME: "Verified: the requester's signature over this request.",
    TOKEN_NAME: "Verified: a token for this request, by an issuer that the trust root names.",
}
_TRACKS = {PROVENANCE: "SLSA Build level", SOURCE: "SLSA Source level"}
_CODE = ("Signed by", "Workflow", "Signed with key", "Commit", "Layout")


def evidence_blocks(lines: list[Line], review: Review) -> tuple[Block, ...]:
    """Returns the blocks of the section about evidence: one or two for each piece.

    Args:
        lines: the request's own lines of this section.
    """
    statement = review.statement
    if not statement.evidence:
        nothing = Note("plain", "No evidence comes with this request, and no rule requires any.")
        return (Block((nothing,), tuple(lines)),)
    pointers = [row.pointer for row in review.view.rows]
    blocks: list[Block] = []
    for i, (reference, result) in enumerate(zip(statement.evidence, review.evidence, strict=True)):
        own = tuple(line for line in lines if pointers[line.row].startswith(f"/predicate/evidence/{i}/"))
        blocks += _blocks_of_one(reference, result.result, review, own)
    return tuple(blocks)


def _blocks_of_one(
    reference: EvidenceRef, result: str, review: Review, own: tuple[Line, ...]
) -> tuple[Block, ...]:
    # The name is the requester's word; it stands in its own row and never in our sentence.
    if result != "verified":
        note = Note("claim", "Not verified here, and no rule asks for it: this terminal compared its digest.")
        return (Block((note,), own),)
    facts = [fact for fact in review.facts if fact.digest == reference.digest and fact.identity is None]
    if not facts:
        said = _KINDS_OF_REQUESTER.get(reference.name, "Verified by this terminal.")
        return (Block((Note("fact", said),), own),)
    verified = tuple(_block_of_fact(fact, review) for fact in facts)
    return (*verified, Block((Note("plain", "The request names it so:"),), own))


def _block_of_fact(fact: EvidenceFact, review: Review) -> Block:
    artifacts = {subject.digest for subject in review.statement.subjects}
    about = len(artifacts & fact.subjects)
    met = [met for met in review.met if met.fact == fact]
    notes = [Note("fact", "Verified by this terminal, and again by the gate.")]
    if not about and not met:
        # True evidence of another artifact is the best disguise of a false one.
        text = "It is about something else: it names no artifact of this action. Only its signature is good."
        notes = [Note("warning", text)]
    elif 0 < about < len(artifacts):
        notes.append(
            Note("warning", f"It is about {about} of the {len(artifacts)} artifacts of this action.")
        )
    for found in met:
        level = f", at {_TRACKS.get(fact.kind, 'level')} {found.level}" if found.level is not None else ""
        notes.append(Note("fact", f"It meets what the rule asks for{level}."))
    if about and not met:
        text = "No rule asks for it, so nothing but its signature says that its signer may be trusted."
        notes.append(Note("claim", text))
    rows = tuple(
        Line(NOT_A_ROW, label, value, "code" if label in _CODE else "text", "")
        for label, value in describe_fact(fact)
    )
    return Block(tuple(dict.fromkeys(notes)), rows)
