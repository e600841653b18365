"""One real approval, end to end, on this machine: `make demo`.

Every part is the real one: TUF metadata, relay, terminal page in Chromium, the gate's ledger, stock
ssh-keygen at the end. Only security keys are stood in for where there are none, and the demo says so.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from demo_people import BOB, ORIGIN, PEOPLE, PORT, People, people
from demo_stage import ROOT, STAGE, DemoError, Machine, Voice, clear_stage, fail, free_port, shorten, stop

ADMIN = "carol@example.com"
RELAY_PORT = free_port(8471)
WITNESS_PORT = free_port(8473)
GATE = "release-host"
TARGET = "pkg:pypi/placet"
SK_DUMMY = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")
REFUSED = 125

POLICY = f"""\
[[rule]]
action = "https://placet.dev/actions/run/v1"
target = "{TARGET}"
level = 1                      # software keys reach this one; with real keys, write 2
quorum = {{ threshold = 2, of = ["group:release"] }}
exclude_requester = false      # two people decide, whoever asks
max_window = "1h"
"""


class Demo:
    """The story and its machines."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.admin, self.terminal, self.gate, self.pipeline, self.courier, self.witness = (
            Machine(name, voice) for name in ("admin", "terminal", "gate", "pipeline", "relay", "witness")
        )
        # The administrator's key: real ssh-keygen with OpenSSH's own software provider for tests.
        # It asks for a PIN as a real key would; the demo answers, so that nobody has to type.
        askpass = self.admin.home / "askpass"
        askpass.write_text("#!/bin/sh\necho 1234\n")
        askpass.chmod(0o700)
        self.admin.env |= {
            "SSH_SK_PROVIDER": str(SK_DUMMY),
            "SSH_ASKPASS": str(askpass),
            "SSH_ASKPASS_REQUIRE": "force",
        }
        self.key = self.admin.home / "carol_sk"
        self.published = STAGE / "published"
        self.index = STAGE / "index"
        self.bundle = STAGE / "publish.intent.json"
        self.root_sha256 = ""
        self.log_policy = STAGE / "log-policy"
        self.services: list[subprocess.Popen[str]] = []

    def read_aloud(self, holder: str, key: str) -> list[str]:
        """Returns what a holder reads from their own screen, as the administrator types it."""
        said = json.loads(self.terminal.placet("trust", "fingerprint", key, "--json", quiet=True))
        return ["--fingerprint", f"{holder}={'-'.join(said['words'])}"]

    def sign_and_publish(self, heard: list[str]) -> None:
        """The administrator signs what changed; terminal and gate verify and keep it."""
        words = ["--as", ADMIN, "--key", str(self.key), "--yes", *heard]
        self.admin.placet("trust", "sign", *words, quiet=bool(self.root_sha256))
        published = json.loads(
            self.admin.placet("trust", "publish", "--to", str(self.published), "--json", quiet=True)
        )
        first, self.root_sha256 = not self.root_sha256, published["rootSha256"]
        for machine in (self.terminal, self.gate, self.pipeline, self.courier):
            told = ["--root-sha256", self.root_sha256] if first else []
            machine.placet("trust", "refresh", "--from", str(self.published), *told, quiet=True)

    def log_and_witness(self) -> None:
        self.voice.step(
            "A log, and a witness who sees that it only grows",
            "Whatever people decide and gates do becomes an entry of an append-only log. The relay keeps it, so a witness "
            "that somebody else runs signs each of its states: it cannot show two histories, nor drop what it took.",
        )
        kept = str(self.courier.home / "db")
        words = ["log", "init", "demo.placet.example/log", "--url", f"{self.relay_url}/log", "--state", kept]
        log = self.courier.placet(*words, quiet=True)
        at = f"http://127.0.0.1:{WITNESS_PORT}"
        witness = self.witness.placet("witness", "init", "demo.placet.example/w1", "--url", at, quiet=True)
        lines = [line for line in f"{log}{witness}".splitlines() if line.startswith(("log ", "witness "))]
        self.log_policy.write_text("\n".join([*lines, f"quorum {lines[1].split()[1]}"]) + "\n")
        self.voice.say("The administrator will sign which log counts, and which witness:")
        self.voice.show(self.log_policy.read_text())
        self.witness.placet("witness", "add-log", lines[0].split()[1], quiet=True)
        self.start(self.witness, "witness", str(WITNESS_PORT), "serve", "--port", str(WITNESS_PORT))
        token, monitors = secrets.token_hex(16), self.courier.home / "monitors.toml"
        (self.admin.home / "monitor.token").write_text(token)
        (self.admin.home / "monitor.token").chmod(0o600)
        monitors.write_text(
            f'[[monitor]]\nname = "admin"\ntoken_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
        )

    def relay(self) -> None:
        """Starts the relay, whose log takes what the trust root's people and gates sign."""
        kept, monitors = self.courier.home / "db", self.courier.home / "monitors.toml"
        words = ["serve", "--port", str(RELAY_PORT), "--state", str(kept), "--monitors", str(monitors)]
        words += ["--trust-snapshot", str(self.courier.home / "data/placet/trust/snapshot.json")]
        self.start(self.courier, "relay", str(RELAY_PORT), *words)

    def start(self, machine: Machine, name: str, sign: str, *words: str) -> None:
        """Starts a service, and waits until it says that it listens."""
        self.services.append(machine.start(name, *words))
        machine.wait_for_log(name, sign, self.services[-1])

    def stop(self) -> None:
        """Stops every service."""
        while self.services:
            stop(self.services.pop())

    def trust_root(self) -> None:
        self.voice.step(
            "A trust root",
            "An administrator says who may approve what. Her own key signs it, as TUF metadata; the relay cannot.",
        )
        application = "application=ssh:placet:demo"
        words = ["ssh-keygen", "-q", "-t", "ed25519-sk", "-N", "", "-O", application, "-O", "verify-required"]
        run_quietly([*words, "-C", ADMIN, "-f", str(self.key)], self.admin.env)
        self.voice.say(
            f"{ADMIN}'s key is made by stock ssh-keygen with sk-dummy, OpenSSH's software stand-in for a key."
        )
        self.admin.placet(
            "trust",
            "init",
            "--deployment",
            "demo",
            "--threshold",
            "1",
            "--admin",
            f"{ADMIN}={self.key}.pub",
            quiet=True,
        )
        policy = self.admin.home / "default.toml"
        policy.write_text(POLICY)
        for person in PEOPLE:
            self.admin.placet("trust", "add-person", person, "--group", "release", quiet=True)
        self.gate.placet("ledger", "create", quiet=True)
        self.gate.placet("ledger", "use-key", quiet=True)
        (use_key,) = self.gate.home.rglob("*.pub")
        self.admin.placet("trust", "add-gate", GATE, "--use-key", str(use_key), quiet=True)
        self.admin.placet("trust", "set-file", "log-policy", str(self.log_policy), quiet=True)
        self.admin.placet(
            "trust", "set-policy", str(policy), "--scope", "default", "--targets", TARGET, quiet=True
        )
        self.voice.show(POLICY)

    def terminal_and_gate(self) -> None:
        self.voice.step(
            "A terminal and a gate",
            "The terminal is apart from pipeline and gate. It has a key of its own, with which it reports; the gate has a "
            "ledger, so that each approval is used once.",
        )
        self.terminal.placet(
            "terminal", "init", "desk", "--deployment", "demo", "--port", str(PORT), quiet=True
        )
        identity = json.loads((self.terminal.home / "state/placet/terminal/identity.json").read_text())
        key, origin = self.terminal_key(), ["--origin", ORIGIN]
        self.admin.placet("trust", "add-terminal", identity["id"], "--key", key, *origin, quiet=True)
        self.sign_and_publish(self.read_aloud(identity["id"], key))

    def terminal_key(self) -> str:
        """Returns the terminal's public key, as an administrator would be told it."""
        from placet.adapters.terminal_identity import FileTerminalIdentity

        path = self.terminal.home / "state/placet/terminal/identity.json"
        return base64.b64encode(FileTerminalIdentity.load(path).wire).decode()

    def enrol(self, who: People) -> None:
        self.voice.step(
            "Two people enrol their keys",
            "Each makes a credential on the terminal's page. The new key proves that it answers the administrator's invite, "
            "which the person was told, not sent. Then each reads the key's fingerprint aloud, and the administrator types "
            "what she hears; nothing is signed without.",
        )
        heard = []
        for person in PEOPLE:
            invite = secrets.token_hex(12)
            file = who.enroll(self.terminal, person, invite, self.root_sha256)
            words = ["--key", str(file), "--assurance", who.assurance, "--invite", invite]
            self.admin.placet("trust", "enroll", person, *words, quiet=person == BOB)
            heard += self.read_aloud(person, str(file))
        self.sign_and_publish(heard)

    def build(self) -> Path:
        self.voice.step("A real artifact", "The wheel of placet itself, built here and now.")
        command = [sys.executable, "-m", "uv", "build", "-q", "--wheel", "--no-build-isolation"]
        run_quietly([*command, "--out-dir", str(self.pipeline.home), str(ROOT)], dict(os.environ))
        (wheel,) = self.pipeline.home.glob("*.whl")
        shutil.copy(wheel, self.gate.home)
        self.index.mkdir()
        self.voice.say(
            f"{wheel.name}, {wheel.stat().st_size} bytes, is on the pipeline and on the gate's machine."
        )
        return wheel

    def ask(self, wheel: Path) -> subprocess.Popen[str]:
        self.voice.step(
            "The pipeline asks",
            "It may be hostile: it can ask, and never approve. The request binds this exact command, program, environment "
            "and wheel, and is valid for half an hour, once, at one gate.",
        )
        self.relay()
        words = [
            "request",
            "run",
            "--for",
            TARGET,
            "--input",
            wheel.name,
            "--env",
            "LANG=C.UTF-8",
            "--expires",
            "30m",
        ]
        words += [
            "--reason",
            "Release of placet, as planned",
            "--requested-by",
            "https://ci.example/run/4711",
        ]
        words += ["--relay", self.relay_url, "--wait", "-o", str(self.bundle), "--"]
        asking = self.pipeline.start(*words, "install", "-m", "644", wheel.name, f"{self.index}/{wheel.name}")
        self.voice.show(shorten(self.pipeline.wait_for_log("request", "Missing", asking)))
        return asking

    @property
    def relay_url(self) -> str:
        return f"http://127.0.0.1:{RELAY_PORT}"

    def decide(self, who: People, asking: subprocess.Popen[str]) -> None:
        self.voice.step(
            "Two people decide",
            "The terminal verifies the request, shows every part of it, computes the challenge from the bytes that it "
            "showed, and adds its own report to each signature.",
        )
        who.approve(self.terminal, self.relay_url)
        if asking.wait(timeout=30) != 0:
            raise DemoError(f"the request was not approved:\n{self.pipeline.log('request')}")
        self.voice.say("And the pipeline, which waited:")
        self.voice.show(shorten(self.pipeline.log("request").splitlines()[-3]))

    def use(self, wheel: Path) -> None:
        self.voice.step(
            "The gate verifies, uses the approval up, and acts",
            "From its own snapshot: nobody is asked. It copies program and wheel, hashes the copies, and executes those; "
            "and before it does, the log holds that it is about to.",
        )
        words = ["--action", "run", "--target", TARGET, "--artifact", wheel.name]
        self.gate.placet("verify", str(self.bundle), *words)
        self.gate.placet("run", "--intent", str(self.bundle), "--target", TARGET)
        published = self.index / wheel.name
        if published.read_bytes() != wheel.read_bytes():
            raise DemoError("the published wheel is not the approved one")
        self.voice.say(f"Published: {shorten(str(published))}. Now the same once more:")
        self.gate.placet("run", "--intent", str(self.bundle), "--target", TARGET, expect=REFUSED)

    def tamper(self, wheel: Path) -> None:
        self.voice.step(
            "Tampering",
            "One byte of the approval, then the wheel: each is refused, and the reason has a name.",
        )
        value = json.loads(self.bundle.read_text())
        payload = bytearray(base64.b64decode(value["envelope"]["payload"]))
        at = payload.index(b'"maxUses":"1"') + len(b'"maxUses":"')
        payload[at : at + 1] = b"9"
        value["envelope"]["payload"] = base64.b64encode(payload).decode()
        forged = STAGE / "forged.intent.json"
        forged.write_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
        words = ["--action", "run", "--target", TARGET, "--artifact"]
        self.voice.say('One byte: "maxUses":"1" becomes "9".')
        self.gate.placet("verify", str(forged), *words, wheel.name, expect=1)
        altered = self.gate.home / wheel.name
        data = bytearray(altered.read_bytes())
        data[len(data) // 2] ^= 1
        altered.write_bytes(data)
        self.voice.say("One bit in the middle of the wheel is turned:")
        self.gate.placet("verify", str(self.bundle), *words, wheel.name, expect=1)
        self.gate.placet("run", "--intent", str(self.bundle), "--target", TARGET, expect=REFUSED)

    def audit(self) -> None:
        self.voice.step(
            "What stays",
            "Anybody can follow the log: it must hold every decision and every use, and each use must have been allowed.",
        )
        trust = self.terminal.home / "data/placet/trust/snapshot.json"
        token = self.admin.home / "monitor.token"
        self.admin.placet("audit", "--trust", str(trust), "--token-file", str(token))

    def check_with_stock_tools(self) -> None:
        self.voice.step(
            "Without placet",
            "The same approval, checked with nothing of ours: jq, base64 and stock ssh-keygen -Y verify.",
        )
        signers = STAGE / "allowed_signers"
        words = ["trust", "show", "--allowed-signers"]
        signers.write_text(self.gate.placet(*words, quiet=True))
        command = [str(ROOT / "examples/check-with-ssh-keygen.sh"), str(self.bundle), str(signers), "2"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.voice.show(shorten(done.stdout + done.stderr))
        if done.returncode != 0:
            raise DemoError("ssh-keygen did not accept the approval")
        self.voice.say("Anybody can, with the bundle and the people's public keys:")
        self.voice.show(shorten(shlex.join(command)))
        self.voice.say("By hand, for the first signature:")
        self.voice.show(by_hand(shorten(str(self.bundle)), shorten(str(signers))))


def by_hand(bundle: str, signers: str) -> str:
    """Returns the lines with which anybody checks one signature."""
    return f"""\
cd {STAGE}
jq -j .envelope.payload {bundle} | base64 -d > payload
{{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < payload)"; cat payload; }} > signed
{{ echo '-----BEGIN SSH SIGNATURE-----'; jq -r '.envelope.signatures[0].sig' {bundle} | fold -w 70
  echo '-----END SSH SIGNATURE-----'; }} > sig
ssh-keygen -Y verify -n intent-v1@placet.dev -f {signers} -I "$(ssh-keygen -Y find-principals -f {signers} -s sig)" \\
  -s sig < signed"""


def run_quietly(command: list[str], env: dict[str, str]) -> None:
    """Runs a command whose output only matters when it fails."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"`{shlex.join(command[:4])} …` failed:\n{done.stdout}{done.stderr}")


def check_tools() -> None:
    """Refuses to begin without what the story needs.

    Raises:
        DemoError: names the Debian package.
    """
    for tool, package in (("ssh-keygen", "openssh-client"), ("jq", "jq")):
        if shutil.which(tool) is None:
            raise DemoError(f"{tool} is missing; install the Debian package {package}")
    if not SK_DUMMY.exists():
        raise DemoError("sk-dummy.so is missing; install the Debian package openssh-tests")
    if os.environ.get("CI") == "true" and shutil.which("chromium") is None:
        raise DemoError("chromium is missing; install the Debian package chromium")


def tell(voice: Voice, *, headless: bool, browser: bool, timeout: int) -> None:
    """Tells the whole story."""
    check_tools()
    clear_stage()
    demo = Demo(voice)
    voice.say("Six machines, each a folder below .demo: admin, terminal, gate, pipeline, relay, witness.")
    try:
        demo.log_and_witness()
        demo.trust_root()
        demo.terminal_and_gate()
        with people(voice, headless=headless, browser=browser, timeout=timeout) as who:
            demo.enrol(who)
            wheel = demo.build()
            asking = demo.ask(wheel)
            try:
                demo.decide(who, asking)
            finally:
                stop(asking)
        demo.use(wheel)
        demo.tamper(wheel)
        demo.audit()
    finally:
        demo.stop()
    demo.check_with_stock_tools()


def main() -> int:
    parser = argparse.ArgumentParser(description="Walks one real approval from trust root to gate.")
    parser.add_argument(
        "--headless", action="store_true", help="do not open a browser, even where there is a display"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="software keys stand in, even where there is Chromium"
    )
    parser.add_argument(
        "--timeout", type=int, default=600, metavar="S", help="how long to wait for a person (600)"
    )
    args = parser.parse_args()
    voice = Voice()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.strftime("%H:%M")
    print(f"placet demo, {started}: one approval, from trust root to gate, with real parts.")
    try:
        tell(voice, headless=args.headless, browser=not args.no_browser, timeout=args.timeout)
    except Exception as e:  # whatever it was, a newcomer gets a sentence and the folder to look at
        fail(voice, e)
    except KeyboardInterrupt:
        print("\nThe demo was ended. Nothing outside .demo was touched.", file=sys.stderr)
        return 130
    print(
        f"\nDone in {voice.seconds()} s. The folder .demo keeps everything for a look; port {PORT} is free again."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
