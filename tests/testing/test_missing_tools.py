"""A missing tool is named together with the package that has it."""

from pathlib import Path

import pytest

from placet.testing import ToolMissing, openssh
from placet.testing.chromium import launch_chromium


def test_missing_chromium_names_the_debian_package() -> None:
    with pytest.raises(ToolMissing, match="apt-get install chromium"):  # noqa: SIM117
        with launch_chromium(executable="/nonexistent/chromium"):
            pass


def test_missing_playwright_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "playwright.sync_api", None)
    with pytest.raises(ToolMissing, match="placet\\[testing\\]"):  # noqa: SIM117
        with launch_chromium():
            pass


def test_missing_dummy_provider_names_the_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh, "SK_DUMMY", Path("/nonexistent/sk-dummy.so"))
    with pytest.raises(ToolMissing, match="apt-get install openssh-tests") as caught:
        openssh.sk_dummy()
    assert caught.value.package == "openssh-tests"


@pytest.mark.parametrize(
    ("missing", "package"), [("_FIDO_HEADER", "libfido2-dev"), ("_OPENSSH_TESTS_ABSENT", "gcc")]
)
def test_missing_build_tools_name_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str, package: str
) -> None:
    if package == "gcc":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setattr(openssh, missing, tmp_path / "fido.h")
    with pytest.raises(ToolMissing, match=f"apt-get install {package}"):
        openssh.build_manifest_shim(tmp_path)
