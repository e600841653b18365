"""Which of the documents that were found are worth sending: verified here, and held against the rules.

The same checks decide here and at the gate (`placet.core.evidence.matching`), so that what is sent by this
machine's trust is what a gate with the same trust accepts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from placet.adapters.evidence_sources.documents import Found, Unusable
from placet.adapters.evidence_sources.near import read_evidence_file, read_links
from placet.cli import UndecidedError, UserError
from placet.cli._shared import now
from placet.core.bundle import MAX_EVIDENCE_ITEMS
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason, visible
from placet.core.evidence.facts import IN_TOTO, PROVENANCE, SOURCE, VSA, Evidence, EvidenceFact
from placet.core.evidence.matching import meet
from placet.core.policy import EvidenceRule, Rule
from placet.core.rules import check_evidence
from placet.core.statement import EvidenceRef, IntentStatement
from placet.core.trust import Trust
from placet.ports.evidence_verifier import EvidenceVerifier


class _Need(NamedTuple):
    """What one rule asks for."""

    required: EvidenceRule
    who: str


class _Checked(NamedTuple):
    """A document that was found, and what verifying it said: facts, or a refusal."""

    found: Found
    facts: tuple[EvidenceFact, ...]
    refusal: PlacetError | None


class EvidenceSearch:
    """Collects documents until every rule has what it asks for.

    Args:
        statement: what is asked for, still without evidence.
        rules: those that apply to it.
        trust: this machine's own.
        verifier: verifies each document.

    Attributes:
        looked: where was looked, as clauses.
        trouble: what could not be asked, as sentences.
    """

    def __init__(
        self,
        statement: IntentStatement,
        rules: tuple[Rule, ...],
        trust: Trust,
        verifier: EvidenceVerifier,
    ) -> None:
        self._statement, self._trust, self._verifier = statement, trust, verifier
        self._artifacts = frozenset(subject.digest for subject in statement.subjects)
        self._needs = [
            _Need(required, f"The rule for {rule.target}") for rule in rules for required in rule.evidence
        ]
        self._checked: dict[str, _Checked] = {}
        self._named: list[str] = []
        self._notes: list[tuple[str, PlacetError | None]] = []
        # Said only where something is missing: that an SBOM is not signed is no news to whoever needs none.
        self._asides: list[str] = []
        self.looked: list[str] = []
        self.trouble: list[str] = []

    @property
    def wanted(self) -> frozenset[str]:
        """The kinds that are worth verifying."""
        kinds = {need.required.kind for need in self._needs}
        # What is said of a source is bound to an artifact by the commit of its provenance.
        return frozenset(kinds | ({PROVENANCE, VSA} if SOURCE in kinds else set()))

    def take_named(self, path: Path) -> None:
        """Takes the documents of a file that the user named; at least one must hold.

        Raises:
            UserError: the file holds no evidence.
            PlacetError: none of it holds.
        """
        self._take_named(str(path), list(read_evidence_file(path)))

    def take_links(self, folder: Path) -> None:
        """Takes the in-toto links of a folder that the user named.

        Raises:
            UserError: there are none, or no rule says what they would have to prove.
            PlacetError: they satisfy no layout.
        """
        if not any(need.required.kind == IN_TOTO for need in self._needs):
            raise UserError(
                f"No rule for {self._statement.target} asks for in-toto links, so nothing says what those in "
                f"{folder} would have to prove.",
                "Leave out --links. Nothing was sent.",
            )
        self._take_named(str(folder), [read_links(folder)])

    def _take_named(self, place: str, items: list[Found | Unusable]) -> None:
        self.looked.append(f"in {place}")
        checked = [found for item in items if (found := self._look_at(item, is_named=True)) is not None]
        held = [c.found.evidence.digest for c in checked if c.facts]
        self._named += held
        if held:
            return
        refused = [c for c in checked if c.refusal is not None]
        # What a rule asks for comes first: npm's file begins with a publication, which nobody asked about.
        refused.sort(key=lambda c: c.found.kind not in self.wanted)
        refusals = [c.refusal for c in refused if c.refusal is not None]
        if refusals:
            first = refusals[0]
            raise _refusal(
                first, f"The evidence in {place} does not hold: {first.message} Nothing was sent.", refusals
            )
        unusable = [item.why for item in items if isinstance(item, Unusable)]
        why = unusable[0] if unusable else "nothing here can verify its form"
        raise UserError(
            f"{place} cannot be attached: {why.rstrip('.')}.",
            "Nothing was sent. docs/evidence.md lists the forms that are read.",
        )

    def take(self, items: Iterator[Found | Unusable]) -> None:
        """Takes what was found, as far as a rule asks for its kind."""
        for item in items:
            self._look_at(item, is_named=False)

    def _look_at(self, item: Found | Unusable, *, is_named: bool) -> _Checked | None:
        if isinstance(item, Unusable):
            (self._remark if is_named else self._asides.append)(f"left out {item.place}: {item.why}.")
            return None
        if not is_named and item.kind not in self.wanted:
            return None
        digest = item.evidence.digest
        if digest not in self._checked:
            checked = self._checked[digest] = self._verify(item)
            why = checked.refusal
            if why is not None:
                self._notes.append((f"left out {item.place}: {why} [{why.reason}]", why))
            elif not checked.facts:
                self._asides.append(f"left out {item.place}: nothing here can verify its form.")
        return self._checked[digest]

    def _remark(self, text: str) -> None:
        self._notes.append((text, None))

    def _verify(self, item: Found) -> _Checked:
        try:
            facts = self._verifier.verify(self._statement, (item.evidence,), trust=self._trust)
        except PlacetError as e:
            return _Checked(item, (), e)
        about = tuple(fact for fact in facts if self._is_about_this(fact))
        if facts and not about:
            return _Checked(item, (), self._about_others(facts))
        return _Checked(item, about, None)

    def _about_others(self, facts: tuple[EvidenceFact, ...]) -> PolicyError:
        named = {subject.partition(":")[0] for fact in facts for subject in fact.subjects}
        hint = ""
        if "sha512" in named and "sha256" not in named:
            hint = "It names artifacts by SHA-512, as npm does. For a release: ask with --digest sha512."
        said = "It is about other artifacts than this action's."
        return PolicyError(
            Reason.EVIDENCE_SUBJECT,
            said,
            expected=tuple(sorted(subject.digest for subject in self._statement.subjects)),
            actual=tuple(sorted({subject for fact in facts for subject in fact.subjects})[:8]),
            hint=hint or "Take the evidence that was made for exactly these files.",
        )

    def _is_about_this(self, fact: EvidenceFact) -> bool:
        # What is said of a source names commits; the rule binds them to the artifact.
        is_source = fact.kind == SOURCE or (fact.kind == VSA and SOURCE in self.wanted)
        return is_source or not fact.subjects.isdisjoint(self._artifacts)

    def is_complete(self) -> bool:
        """Whether every rule has what it asks for."""
        for need in self._needs:
            try:
                self._try(need)
            except PlacetError:
                return False
        return True

    def _try(self, need: _Need) -> list[str]:
        """Returns the digests of what meets a need.

        Raises:
            PlacetError: nothing does.
        """
        kind = need.required.kind
        facts = tuple(fact for checked in self._checked.values() for fact in checked.facts)
        refs = tuple(
            EvidenceRef(kind, checked.found.evidence.media_type, checked.found.evidence.digest)
            for checked in self._checked.values()
            if any(fact.kind in _kinds_for(kind) for fact in checked.facts)
        )
        trial = self._statement._replace(evidence=refs)
        met = meet(need.required, trial, facts, at=now(), who=need.who)
        return sorted({m.fact.digest for m in met})

    def choose(self) -> list[tuple[str, Evidence]]:
        """Returns the evidence to attach, by name.

        Raises:
            PlacetError, UndecidedError: a rule asks for what is not there, or does not hold.
            UserError: it is too many pieces.
        """
        names: dict[str, str] = {}
        for need in self._needs:
            try:
                digests = self._try(need)
            except PlacetError as e:
                raise self._refuse(need, e) from e
            for digest in digests:
                names.setdefault(digest, need.required.kind)
            if need.required.kind == SOURCE:
                names = {**self._of_kind(PROVENANCE), **names}
        for digest in self._named:
            names.setdefault(digest, self._checked[digest].facts[0].kind)
        if len(names) >= MAX_EVIDENCE_ITEMS:
            raise UserError(
                f"These are {len(names)} pieces of evidence; a request carries {MAX_EVIDENCE_ITEMS - 1}.",
                "Nothing was sent. Name fewer with --evidence.",
            )
        return [(name, self._checked[digest].found.evidence) for digest, name in names.items()]

    def _of_kind(self, kind: str) -> dict[str, str]:
        return {
            digest: kind
            for digest, checked in self._checked.items()
            if any(fact.kind == kind for fact in checked.facts)
        }

    def _refuse(self, need: _Need, why: PlacetError) -> Exception:
        """Returns the refusal for a need: what is wrong with what was found, or where was looked in vain."""
        kind = need.required.kind
        looked = f"Looked {', '.join(self.looked)}." if self.looked else "Nothing was looked at."
        if why.reason is Reason.EVIDENCE_REQUIRED:
            alike = [c for c in self._checked.values() if c.found.kind in _kinds_for(kind)]
            refused = [(c.refusal, f"{c.found.place}: ") for c in alike if c.refusal is not None]
        else:
            refused = [(why, "")]
        for aside in self._asides:
            self._remark(aside)
        self.say_notes(but=refused[0][0] if refused else None)
        if refused:
            (first, place), refusals = refused[0], [refusal for refusal, _ in refused]
            said = f"{need.who} asks for {kind}, and what was found does not hold: {place}{first.message}"
            return _refusal(first, f"{said} Nothing was sent.", refusals)
        said = f"{need.who} asks for {kind}, and none was found. Nothing was sent."
        beside = any(place.startswith("beside ") for place in self.looked)
        names = " There it would be FILE.sigstore.json, FILE.intoto.jsonl or the like." if beside else ""
        hint = f"{looked}{names} If you have it elsewhere, name its file with --evidence."
        if self.trouble:
            return UndecidedError(f"{said} {self.trouble[0]}", hint)
        return PolicyError(Reason.EVIDENCE_REQUIRED, said, hint=hint)

    def check(self, statement: IntentStatement) -> None:
        """Holds what will be sent against the rules, as the gate will.

        Raises:
            PlacetError: it does not hold.
        """
        sent = {reference.digest for reference in statement.evidence}
        facts = tuple(f for digest in sent if digest in self._checked for f in self._checked[digest].facts)
        for need in self._needs:
            check_evidence((need.required,), statement, facts, at=now(), who=need.who)

    def say_chosen(self, chosen: list[tuple[str, Evidence]]) -> None:
        """Says what goes along, and what was left out though it may have been meant."""
        self.say_notes()
        for name, evidence in chosen:
            print(visible(f"Evidence: {name} from {self.place_of(evidence.digest)}"), file=sys.stderr)

    def say_notes(self, but: PlacetError | None = None) -> None:
        """Says what was left out, and why; except for a refusal that is about to be said."""
        for note, why in self._notes:
            if why is None or why is not but:
                print(f"Note: {visible(note)}", file=sys.stderr)
        self._notes.clear()

    def place_of(self, digest: str) -> str:
        """Returns where a document was found."""
        return self._checked[digest].found.place


def _kinds_for(kind: str) -> tuple[str, ...]:
    """Returns the kinds of facts that can meet a rule's kind."""
    return (SOURCE, VSA) if kind == SOURCE else (kind,)


def _refusal(first: PlacetError, message: str, causes: list[PlacetError]) -> PlacetError:
    """Returns a refusal with the reason of the first one: undecided where that was."""
    error = IndeterminateError if isinstance(first, IndeterminateError) else PolicyError
    return error(
        first.reason,
        message,
        expected=first.expected,
        actual=first.actual,
        hint=first.hint,
        causes=tuple(causes),
    )
