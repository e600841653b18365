"""Who asks for a certificate: OIDC claims, and what Fulcio writes into a certificate for them.

The table is Fulcio's own for GitHub Actions
(https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
GITHUB = "https://github.com"

# Number below 1.3.6.1.4.1.57264.1, and the claim with what stands around it.
_EXTENSIONS: tuple[tuple[int, str], ...] = (
    (9, "https://github.com/{job_workflow_ref}"),
    (10, "{job_workflow_sha}"),
    (11, "{runner_environment}"),
    (12, "https://github.com/{repository}"),
    (13, "{sha}"),
    (14, "{ref}"),
    (15, "{repository_id}"),
    (16, "https://github.com/{repository_owner}"),
    (17, "{repository_owner_id}"),
    (18, "https://github.com/{workflow_ref}"),
    (19, "{workflow_sha}"),
    (20, "{event_name}"),
    (21, "https://github.com/{repository}/actions/runs/{run_id}/attempts/{run_attempt}"),
    (22, "{repository_visibility}"),
)
# The first six are older: their values stand there bare, without DER around them.
_LEGACY: tuple[tuple[int, str], ...] = (
    (2, "{event_name}"),
    (3, "{sha}"),
    (4, "{workflow}"),
    (5, "{repository}"),
    (6, "{ref}"),
)


class CertificateIdentity(NamedTuple):
    """What a certificate says about its holder.

    Attributes:
        name: the subject alternative name: a URI, or a mail address.
        extensions: number below 1.3.6.1.4.1.57264.1, value.
        legacy: the same for the numbers 1 to 6.
    """

    issuer: str
    name: str
    extensions: tuple[tuple[int, str], ...]
    legacy: tuple[tuple[int, str], ...]


def identify(claims: dict[str, Any]) -> CertificateIdentity:
    """Returns what Fulcio certifies for a verified token with these claims."""
    issuer = str(claims["iss"])
    extensions: list[tuple[int, str]] = [(8, issuer)]
    legacy: list[tuple[int, str]] = [(1, issuer)]
    name = str(claims.get("email") or claims["sub"])
    if "job_workflow_ref" in claims:
        name = f"{GITHUB}/{claims['job_workflow_ref']}"
        extensions += [(number, form.format(**claims)) for number, form in _EXTENSIONS]
        legacy += [(number, form.format(**claims)) for number, form in _LEGACY]
    return CertificateIdentity(issuer, name, tuple(extensions), tuple(legacy))


def proof_subject(claims: dict[str, Any]) -> str:
    """Returns what a client signs to prove that it holds the key."""
    return str(claims.get("email") or claims["sub"])


def github_claims(
    repository: str,
    *,
    workflow: str = ".github/workflows/release.yml",
    ref: str = "refs/tags/v1.0.0",
    commit: str = "f" * 40,
    event: str = "push",
    runner: str = "github-hosted",
    run_id: str = "4711",
    reusable_workflow: str | None = None,
) -> dict[str, Any]:
    """Returns the claims of a GitHub Actions job, as its own token would state them.

    Args:
        repository: owner/name.
        reusable_workflow: the workflow that does the work, with its ref, where it is not the caller's own:
            "owner/builder/.github/workflows/build.yml@refs/tags/v1".
    """
    owner = repository.split("/")[0]
    caller = f"{repository}/{workflow}@{ref}"
    return {
        "iss": GITHUB_ISSUER,
        "sub": f"repo:{repository}:ref:{ref}",
        "actor": owner,
        "event_name": event,
        "job_workflow_ref": reusable_workflow or caller,
        "job_workflow_sha": commit if reusable_workflow is None else "b" * 40,
        "ref": ref,
        "repository": repository,
        "repository_id": "1000",
        "repository_owner": owner,
        "repository_owner_id": "2000",
        "repository_visibility": "public",
        "run_attempt": "1",
        "run_id": run_id,
        "runner_environment": runner,
        "sha": commit,
        "workflow": "release",
        "workflow_ref": caller,
        "workflow_sha": commit,
    }
