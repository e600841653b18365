# Lets an action happen if a gate of ours allowed it a moment ago: this artifact, this target, enough people.
#
# input.statement   the in-toto statement of a verdict (VSA v1) whose SIGNATURE WAS VERIFIED BEFORE; OPA does not
# input.wanted      what is about to happen, and what you ask of it:
#   {"verifier", "target", "sha256", "now", "intentLevel", "buildLevel"}; `now` from the engine's own clock
#
# Ask for data.placet.verdict.allow; data.placet.verdict.missing says what is wrong, for people.
# Every condition has to be true: a member that is not there is undefined, and undefined never allows.
package placet.verdict

default allow := false

allow if {
	is_summary
	from_our_gate
	passed
	rests_on_an_approval
	about_this_artifact
	for_this_target
	approved_by_people
	built_well
	still_good
}

predicate := input.statement.predicate

is_summary if {
	input.statement._type == "https://in-toto.io/Statement/v1"
	input.statement.predicateType == "https://slsa.dev/verification_summary/v1"
}

from_our_gate if predicate.verifier.id == input.wanted.verifier

# A gate that refused signs that, too.
passed if predicate.verificationResult == "PASSED"

# A gate makes no verdict without an approval; one that names none is not by a gate.
rests_on_an_approval if {
	some attestation in predicate.inputAttestations
	attestation.name == "intent"
}

about_this_artifact if {
	some subject in input.statement.subject
	subject.digest.sha256 == input.wanted.sha256
}

# A verdict about staging is none about production.
for_this_target if predicate.resourceUri == input.wanted.target

approved_by_people if sprintf("INTENT_LEVEL_%d", [input.wanted.intentLevel]) in predicate.verifiedLevels

# SLSA's levels count upwards: a higher one is good enough.
built_well if input.wanted.buildLevel == 0

built_well if {
	some name in predicate.verifiedLevels
	regex.match(`^SLSA_BUILD_LEVEL_[0-9]$`, name)
	to_number(trim_prefix(name, "SLSA_BUILD_LEVEL_")) >= input.wanted.buildLevel
}

# VSA has no expiry of its own; verdicts of placet carry one, a day away at most.
still_good if {
	now := time.parse_rfc3339_ns(input.wanted.now)
	starts := time.parse_rfc3339_ns(predicate.timeVerified)
	ends := time.parse_rfc3339_ns(predicate["https://placet.dev/verdict/expiresAt"])
	starts <= now
	now < ends
	ends - starts <= time.parse_duration_ns("24h")
}

missing contains "it is no SLSA verification summary" if not is_summary
missing contains "it is not by the gate that is trusted here" if not from_our_gate
missing contains "the gate did not allow it" if not passed
missing contains "it rests on no approval" if not rests_on_an_approval
missing contains "it is about another artifact" if not about_this_artifact
missing contains "it is about another target" if not for_this_target
missing contains "too few people approved, or in too weak a way" if not approved_by_people
missing contains "the build level is too low" if not built_well
missing contains "it is over, or not yet good" if not still_good
