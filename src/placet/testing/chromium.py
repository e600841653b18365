"""A real headless Chromium with its virtual authenticator.

Debian's Chromium, driven by Playwright; the authenticator is the one of the DevTools
protocol's ``WebAuthn`` domain. What it signs is real WebAuthn by real browser code; only the
key is software, and its attestation chains to nothing.

The browser reaches this machine and nothing else: every name but ``*.localhost`` is
unresolvable for it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from placet.testing._tools import ToolMissing, locate_program

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page, Playwright
    from playwright.sync_api._context_manager import PlaywrightContextManager

DEBIAN_CHROMIUM: Final = "/usr/bin/chromium"

_QUIET_FLAGS: Final = (
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.localhost, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--metrics-recording-only",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
)

Transport = Literal["usb", "nfc", "ble", "internal", "hybrid"]


class VirtualAuthenticator:
    """One virtual authenticator of a page.

    Keep one per page: of two with automatic presence, the one that answers first wins, and
    a request for the other's credential fails.

    Attributes:
        authenticator_id: Its DevTools identifier.
    """

    def __init__(self, devtools: "CDPSession", authenticator_id: str) -> None:
        self._devtools = devtools
        self.authenticator_id = authenticator_id

    def set_user_verified(self, verified: bool) -> None:
        """Let user verification succeed or fail from now on."""
        self._send("setUserVerified", isUserVerified=verified)

    def set_automatic_presence(self, enabled: bool) -> None:
        """Let somebody touch it at once, or never."""
        self._send("setAutomaticPresenceSimulation", enabled=enabled)

    def set_faults(
        self, *, bogus_signature: bool = False, bad_uv: bool = False, bad_up: bool = False
    ) -> None:
        """Make it answer wrongly: one zero byte for a signature, or UV or UP clear whatever was asked.

        Each call sets all three; without arguments it answers honestly again.
        """
        self._send(
            "setResponseOverrideBits", isBogusSignature=bogus_signature, isBadUV=bad_uv, isBadUP=bad_up
        )

    def set_backup_state(self, credential_id: str, *, eligible: bool, backed_up: bool) -> None:
        """Set BE and BS of a credential, named by its base64 ID as in `credentials`."""
        self._send(
            "setCredentialProperties",
            credentialId=credential_id,
            backupEligibility=eligible,
            backupState=backed_up,
        )

    def credentials(self) -> list[dict[str, Any]]:
        """Return its credentials as DevTools describes them, private keys included."""
        answer = self._send("getCredentials")
        credentials: list[dict[str, Any]] = answer["credentials"]
        return credentials

    def add_credential(
        self, *, credential_id: str, rp_id: str, pkcs8: str, sign_count: int = 0, discoverable: bool = False
    ) -> None:
        """Put a known key into it; binary values are base64. For repeatable tests."""
        credential = {
            "credentialId": credential_id,
            "rpId": rp_id,
            "privateKey": pkcs8,
            "signCount": sign_count,
            "isResidentCredential": discoverable,
        }
        self._send("addCredential", credential=credential)

    def remove(self) -> None:
        """Unplug it; its credentials are gone."""
        self._send("removeVirtualAuthenticator")

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._devtools.send(
            f"WebAuthn.{method}", {"authenticatorId": self.authenticator_id, **parameters}
        )


class ChromiumSession:
    """A running Chromium with one page.

    Attributes:
        page: The Playwright page.
    """

    def __init__(self, page: "Page") -> None:
        self.page = page
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("WebAuthn.enable")

    def add_authenticator(
        self,
        *,
        transport: Transport = "usb",
        discoverable: bool = False,
        user_verification: bool = True,
        user_verified: bool = True,
        automatic_presence: bool = True,
        backup_eligible: bool = False,
        backed_up: bool = False,
    ) -> VirtualAuthenticator:
        """Plug in an authenticator, by default a security key whose user is present and verified.

        Args:
            transport: How it is attached.
            discoverable: Whether it can hold discoverable credentials; placet's are not.
            user_verification: Whether it has a PIN or fingerprint reader at all.
            user_verified: Whether verification succeeds.
            automatic_presence: Whether somebody touches it at once.
            backup_eligible: BE of the credentials it makes.
            backed_up: BS of the credentials it makes.
        """
        options = {
            "protocol": "ctap2",
            "ctap2Version": "ctap2_1",
            "transport": transport,
            "hasResidentKey": discoverable,
            "hasUserVerification": user_verification,
            "isUserVerified": user_verified,
            "automaticPresenceSimulation": automatic_presence,
            "defaultBackupEligibility": backup_eligible,
            "defaultBackupState": backed_up,
        }
        answer = self._devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        return VirtualAuthenticator(self._devtools, answer["authenticatorId"])


@contextlib.contextmanager
def launch_chromium(
    *,
    executable: str = DEBIAN_CHROMIUM,
    headless: bool = True,
    arguments: Sequence[str] = (),
    **context_options: Any,
) -> Iterator[ChromiumSession]:
    """Run a Chromium while the context lasts.

    Args:
        executable: The program.
        headless: False to watch.
        arguments: More command line flags.
        **context_options: Handed to Playwright's ``new_context``, ``locale`` or ``viewport`` say.

    Raises:
        ToolMissing: Playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ToolMissing("playwright", 'pip install "placet[testing]"') from error
    program = locate_program(executable, "chromium")
    flags = [*_QUIET_FLAGS, *arguments]
    if os.geteuid() == 0:
        # Chromium refuses to run as root with its sandbox, which containers would need.
        flags.append("--no-sandbox")
    with _driver(sync_playwright) as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=headless, args=flags)
        try:
            yield ChromiumSession(browser.new_context(**context_options).new_page())
        finally:
            browser.close()


_running: list["Playwright"] = []


@contextlib.contextmanager
def _driver(start: Callable[[], "PlaywrightContextManager"]) -> Iterator["Playwright"]:
    """Playwright's driver, which one thread can run only once: browsers open at the same time share it."""
    if _running:
        yield _running[0]
        return
    with start() as playwright:
        _running.append(playwright)
        try:
            yield playwright
        finally:
            _running.clear()
