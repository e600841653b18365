// A person reads what another tool wants signed, every line of it, and signs it with a key, or does not.

import { call, digestRow, el, keyProblem, lineElement, Problem, problemElement, row, say, takeToken, watchReading } from "/shared.js";

const main = document.getElementById("main");
const NOTHING = "Nothing was signed.";

async function start() {
  try {
    if (!takeToken()) {
      throw new Problem({ message: "This page was opened without the link of this launch.", meaning: NOTHING, hint: "Open the link that the signing tool printed." });
    }
    show(await call("GET", "/api/document"));
  } catch (error) {
    main.replaceChildren(el("h1", { tabindex: "-1" }, "This cannot be shown"), problemElement(keyProblem(error, NOTHING)));
  }
  main.querySelector("h1").focus({ preventScroll: true });
}

function show(asked) {
  const sign = el("button", { id: "sign", type: "button", disabled: true, "aria-describedby": "left" }, "Sign with your key");
  const decline = el("button", { id: "decline", type: "button" }, "Do not sign");
  const next = el("button", { id: "next", type: "button", class: "light" }, "Show what is left");
  const left = el("p", { id: "left" });
  let busy = false;
  main.replaceChildren(
    el("h1", { tabindex: "-1" }, `A tool on this machine asks you to sign: ${asked.title}`),
    el("dl", {},
      row("Your key says", asked.purpose),
      row("Purpose", el("code", {}, asked.namespace)),
      asked.payloadType ? row("Payload type", el("code", {}, asked.payloadType)) : null,
      digestRow("With the key", asked.keyGroups),
      digestRow("SHA-256 of what is signed", asked.digestGroups)),
    ...(asked.warning ? [el("p", { class: "note warning" }, asked.warning)] : []),
    el("section", { "aria-labelledby": "document" }, el("h2", { id: "document" }, "The document, every line of it"), el("dl", { class: "stacked" }, ...asked.lines.map(lineElement))),
    el("section", { "aria-labelledby": "decision" }, el("h2", { id: "decision" }, "Your signature"), left, el("div", { class: "buttons" }, sign, decline, next)));
  const reading = watchReading(main, asked.lines.length, (missing) => {
    sign.disabled = missing > 0 || busy;
    decline.disabled = busy;
    next.hidden = missing === 0 || busy;
    left.textContent = missing
      ? `Your key signs only what you were shown. Left to show: ${missing} of ${asked.lines.length} lines.`
      : "Everything was shown. Nothing is signed until you touch your key.";
  });
  const attempt = async (work) => {
    busy = true;
    reading.update();
    try {
      await work();
      reading.stop();
      left.hidden = true;
    } catch (error) {
      busy = false;
      reading.update();
      say("error", problemElement(keyProblem(error, NOTHING)));
    }
  };
  // Enter is what a tired hand presses: it never signs.
  sign.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      say("ready", "Enter never signs. To sign, press the space bar on this button.");
    }
  });
  sign.addEventListener("click", () => attempt(async () => {
    const begun = await call("POST", "/api/begin", { seen: [...reading.seen] });
    say("touch", "Touch your key. It signs:", el("p", {}, el("strong", {}, begun.text)));
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.publicKey);
    const credential = await navigator.credentials.get({ publicKey });
    await call("POST", "/api/finish", { assertion: credential.toJSON() });
    say("done", "Signed. You can close this page; the tool has your signature.");
  }));
  decline.addEventListener("click", () => attempt(async () => {
    await call("POST", "/api/decline", {});
    say("done", "Nothing was signed. You can close this page.");
  }));
  next.addEventListener("click", () => reading.showNext());
}

start();
