// An administrator reads what changes in the trust root, then signs each prepared role with one touch.

import { call, digestRow, el, keyProblem, Problem, problemElement, row, say, takeToken, watchReading } from "/shared.js";

const main = document.getElementById("main");
const NOTHING = "Nothing was signed.";
let reading;

async function start() {
  try {
    if (!takeToken()) {
      throw new Problem({
        message: "This page was opened without the link of this launch.",
        meaning: NOTHING,
        hint: "Open the link that placet terminal sign-trust printed.",
      });
    }
    show(await call("GET", "/api/change"));
  } catch (error) {
    main.replaceChildren(el("h1", { tabindex: "-1" }, "This cannot be shown"), problemElement(keyProblem(error, NOTHING)));
  }
  main.querySelector("h1").focus({ preventScroll: true });
}

function show(change) {
  const left = el("p", { id: "left" });
  const next = el("button", { id: "next", type: "button", class: "light", onclick: () => reading.showNext() }, "Show what is left");
  const buttons = change.left.map((role) => el("button", { id: `sign-${role}`, type: "button", disabled: true, "aria-describedby": "left" }, `Sign ${role} with your key`));
  main.replaceChildren(
    el("h1", { tabindex: "-1" }, change.left.length ? `${change.person}, sign this change of who may approve what` : "Nothing waits for your signature"),
    el("section", { "aria-labelledby": "changes" },
      el("h2", { id: "changes" }, "What changes"),
      ...change.comparedWith.map((sentence) => el("p", { class: "basis" }, sentence)),
      ...(change.changes.length ? [el("dl", { class: "stacked" }, ...change.changes.map(changeRow))] : [el("p", {}, "Nothing but versions and dates.")])),
    ...change.roles.map(roleSection),
    el("section", { "aria-labelledby": "decision" }, el("h2", { id: "decision" }, "Your signature"), left, el("div", { class: "buttons" }, ...buttons, next)));
  let busy = false;
  reading = watchReading(main, change.changes.length, (missing, where) => {
    for (const button of buttons) button.disabled = missing > 0 || busy || button.dataset.done === "yes";
    next.hidden = missing === 0;
    left.textContent = missing
      ? `Your key signs only what you were shown. Left to show: ${missing} of ${change.changes.length} changes, next under “${where}”.`
      : "Everything was shown. Each role is signed with a touch of its own. Close the page to sign nothing.";
  });
  buttons.forEach((button, at) => button.addEventListener("click", async () => {
    busy = true;
    reading.update();
    await sign(change.left[at], button);
    busy = false;
    reading.update();
  }));
}

function changeRow(change, index) {
  const kind = change.before && change.after ? "Changed" : change.after ? "New" : "Gone";
  const shown = [];
  if (change.before) shown.push(el("p", {}, change.after ? "before: " : "", el("code", {}, change.before)));
  if (change.after) shown.push(el("p", {}, change.before ? "after: " : "", el("code", {}, change.after)));
  return el("div", { "data-index": index }, el("dt", {}, `${kind}: ${change.kind} ${change.name}`), el("dd", {}, ...shown));
}

function roleSection(role) {
  const id = `role-${role.role}`;
  return el("section", { "aria-labelledby": id },
    el("h2", { id }, `${role.role}, version ${role.version}`),
    el("dl", {},
      row("Valid until", role.until),
      row("Signed by", role.signed.join(", ") || "nobody yet"),
      row("Signatures missing", String(role.missing)),
      digestRow("SHA-256 of what is signed", role.digestGroups)));
}

async function sign(role, button) {
  say("checking", "Checking the change once more.");
  try {
    const begun = await call("POST", "/api/begin", { role, seen: [...reading.seen] });
    say("touch", `Touch your key to sign ${begun.text}.`);
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.publicKey);
    const credential = await navigator.credentials.get({ publicKey });
    const done = await call("POST", "/api/finish", { role, assertion: credential.toJSON() });
    button.dataset.done = "yes";
    button.textContent = `${role} is signed`;
    if (done.left.length) say("signed", `${role} is signed. Left to sign: ${done.left.join(", ")}.`);
    else say("done", "Everything is signed. You can close this page; the command has ended.");
  } catch (error) {
    say("error", problemElement(keyProblem(error, NOTHING)));
  }
}

start();
