"""Repositories have one spelling, and names that begin alike are not alike."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet.core.evidence.sources import normalise_repository, split_source
from placet.core.patterns import matches

NAME = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..") and not text.endswith(".git")
)


@given(NAME, NAME)
def test_a_normal_form_is_its_own_normal_form(owner: str, name: str) -> None:
    uri = f"https://github.com/{owner}/{name}"
    assert normalise_repository(uri) == uri
    for spelling in (f"git+{uri}", f"{uri}.git", uri.replace("github.com", "GitHub.COM")):
        assert normalise_repository(spelling) == uri
        assert split_source(f"{spelling}@refs/heads/main") == (uri, "refs/heads/main")


@given(NAME, NAME, NAME)
def test_a_prefix_or_a_suffix_is_another_repository(owner: str, name: str, more: str) -> None:
    uri = f"https://github.com/{owner}/{name}"
    for other in (f"{uri}{more}", f"{uri}/{more}", f"https://github.com/{more}{owner}/{name}"):
        assert not matches(uri, normalise_repository(other))


@given(st.text(max_size=60))
def test_whatever_is_no_repository_is_none(text: str) -> None:
    normal = normalise_repository(text)
    assert normal == "" or normalise_repository(normal) == normal


@pytest.mark.parametrize(
    "uri",
    [
        "https://github.com@evil.example/acme/app",
        "https://user:secret@github.com/acme/app",
        "https://github.com/acme/./app",
        "https://github.com/acme/..",
        "https://github.com//acme/app",
        "https://github.com/acme/app/",
        "https://github.com/acme/%61pp",
        "https://github.com/acme/app?x",
        "https://github.com/acme/app#x",
        "https://github.com/acme/app\n",
        "https://github.com/acme/аpp",
        "https://github.com/acme/*",
        "https://github.com/.git",
        "git+git+https://github.com/acme/app",
        "github.com/acme/app",
        "https://github.com",
        "",
    ],
)
def test_a_second_spelling_is_no_repository(uri: str) -> None:
    assert normalise_repository(uri) == ""
