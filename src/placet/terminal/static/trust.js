// An administrator reads what changes in the trust root, types the fingerprints of new keys, and signs.

import { call, digest, digestRow, el, keyProblem, Problem, problemElement, row, say, takeToken, watchReading } from "/shared.js";

const main = document.getElementById("main");
const NOTHING = "Nothing was signed.";
let reading;
let state;
let busy = false;

async function start() {
  try {
    if (!takeToken()) {
      throw new Problem({
        message: "This page was opened without the link of this launch.",
        meaning: NOTHING,
        hint: "Open the link that `placet terminal sign-trust` printed.",
      });
    }
    show(await call("GET", "/api/change"));
  } catch (error) {
    main.replaceChildren(el("h1", { tabindex: "-1" }, "This cannot be shown"), problemElement(keyProblem(error, NOTHING)));
  }
  main.querySelector("h1").focus({ preventScroll: true });
}

function show(change) {
  state = change;
  const obstacles = change.left.filter((role) => change.obstacles[role]);
  const canSign = obstacles.length < change.left.length || !change.left.length;
  const signers = el("section", { id: "signers", "aria-labelledby": "signers-title" });
  main.replaceChildren(
    el("h1", { tabindex: "-1" }, change.left.length ? `${change.person}, ${canSign ? "sign" : "read"} this change of who may approve what` : "Nothing waits for your signature"),
    el("p", { class: "meta" }, `Deployment ${change.deployment}`),
    ...obstacles.map((role) => problemElement(change.obstacles[role])),
    ...change.comparedWith.map((sentence) => el("p", { class: "meta" }, ...withDigits(inGroups(sentence)))),
    ...(change.changeCount ? change.sections.map(changeSection) : [el("p", {}, "Nothing but versions and dates changes.")]),
    ...change.notes.map((note) => el("p", { class: "note plain" }, note)),
    // Fingerprints are typed where the key signs.
    ...(change.keys.length && canSign ? [keySection(change.keys)] : []),
    signers,
    ...(canSign ? [decisionSection(change)] : []));
  update(change);
  if (canSign) reading = watchReading(main, change.changeCount, tell);
}

function changeSection(section, at) {
  const id = `section-${at}`;
  return el("section", { "aria-labelledby": id },
    el("h2", { id }, section.title),
    ...section.changes.map(changeElement));
}

function changeElement(change) {
  const kind = change.before.length && change.after.length ? "Changed" : change.after.length ? "New" : "Gone";
  return el("div", { class: `change ${kind.toLowerCase()}`, "data-index": change.index },
    el("h3", {}, el("strong", {}, kind), ` ${change.kind} `, ...withDigits(change.name)),
    el("div", { class: "sides" },
      side("Before", change.before, "There was none."),
      side("After", change.after, "There is none any more.")));
}

function side(title, facts, nothing) {
  return el("div", { class: "side" },
    el("h4", {}, title),
    facts.length
      ? el("ul", {}, ...facts.map((fact) => el("li", { class: fact.differs ? "differs" : "same" }, ...withDigits(fact.text))))
      : el("p", { class: "meta" }, nothing));
}

/** Sets groups of four as what may be compared character by character. */
function withDigits(text) {
  return text.split(/((?:[0-9a-f_]{4} ){3,}[0-9a-f]{4})/).map((part, at) => (at % 2 ? digest(part.split(" ")) : part));
}

function inGroups(text) {
  return text.replace(/\b[0-9a-f]{64}\b/g, (hex) => hex.match(/.{4}/g).join(" "));
}

function keySection(keys) {
  const list = el("ol", { id: "keys", class: "keys" }, ...keys.map((key) => el("li", { id: `key-${key.index}` })));
  return el("section", { "aria-labelledby": "keys-title" },
    el("h2", { id: "keys-title" }, "New keys: whose are they?"),
    el("p", {}, "Call each holder, on a line on which you know their voice. They read the fingerprint of their key from their own screen, and you type what you hear: ten words, or 20 digits. A key that somebody put in between has another."),
    list);
}

/** Shows a key, and asks for its fingerprint while that was not typed. */
function fillKey(key) {
  const place = document.getElementById(`key-${key.index}`);
  if (!place) return;
  if (place.dataset.state === `${key.own}${key.typed}`) return;
  place.dataset.state = `${key.own}${key.typed}`;
  const head = [
    el("h3", {}, key.holder),
    el("p", {}, `${key.purpose}.`),
    ...(key.evidence ? [el("p", {}, `This terminal finds: ${key.evidence}.`), ...key.sentences.map((sentence) => el("p", { class: "meta" }, sentence))] : []),
  ];
  if (key.own || key.typed) {
    const why = key.typed ? "It fits what you typed." : "It is the key that signs here; its signature proves it.";
    place.replaceChildren(...head,
      el("div", { class: "note fact" }, el("p", {}, why)),
      el("p", { class: "words" }, key.words.join(" ")),
      el("p", { class: "digest" }, digest(key.groups)));
    return;
  }
  const input = el("textarea", { id: `typed-${key.index}`, rows: "2", autocomplete: "off", autocapitalize: "off", spellcheck: "false", "aria-describedby": `answer-${key.index}` });
  const answer = el("div", { id: `answer-${key.index}`, class: "answer", role: "status" });
  const check = () => typeFingerprint(key, input, answer);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      check();
    }
  });
  place.replaceChildren(...head,
    el("label", { for: input.id }, `The fingerprint, as it is read to you: ${key.holder}`),
    input,
    answer,
    el("button", { type: "button", class: "light", onclick: check }, "Compare"));
}

async function typeFingerprint(key, input, answer) {
  try {
    const now = await call("POST", "/api/fingerprint", { key: key.index, typed: input.value });
    update(now);
    reading.update();
    say("typed", `The fingerprint of ${key.holder}'s key fits.`);
    const next = main.querySelector("#keys textarea") ?? main.querySelector("#next:not([hidden])") ?? main.querySelector("#decision button:not([disabled])");
    next?.focus();
  } catch (error) {
    answer.replaceChildren(problemElement(keyProblem(error, "")));
    input.focus();
  }
}

/** Takes up who has signed and what was typed by now. */
function update(now) {
  Object.assign(state, { left: now.left, roles: now.roles, keys: now.keys });
  for (const key of state.keys) fillKey(key);
  document.getElementById("signers").replaceChildren(
    el("h2", { id: "signers-title" }, "Who has signed"),
    ...state.roles.map(roleElement));
}

function roleElement(role) {
  return el("div", { class: "role" },
    el("h3", {}, `${role.role}, version ${role.version}`),
    ...role.quorums.map((quorum) => el("div", {},
      role.quorums.length > 1 ? el("p", {}, `By the keys of ${quorum.of}:`) : null,
      el("ul", { class: "people" },
        ...quorum.signed.map((person) => el("li", {}, "\u2713 ", person, " has signed")),
        ...quorum.unsigned.map((person) => el("li", {}, "\u2013 ", person, " has not signed"))),
      el("p", {}, quorum.missing ? `${quorum.missing} more of them must sign; ${quorum.threshold} are needed.` : `Enough: ${quorum.threshold} are needed.`))),
    el("dl", {},
      row("Valid until", role.until),
      digestRow("SHA-256 of what is signed", role.digestGroups)));
}

function decisionSection(change) {
  const next = el("button", { id: "next", type: "button", class: "light", onclick: showNext }, "Show what is left");
  const buttons = change.left.filter((role) => !change.obstacles[role]).map((role) => el("button", { id: `sign-${role}`, "data-role": role, type: "button", disabled: true, "aria-describedby": "left", onclick: () => sign(role) }, `Sign ${role} with your key`));
  return el("section", { id: "decision", "aria-labelledby": "decision-title" },
    el("h2", { id: "decision-title" }, "Your signature"),
    el("p", { id: "left" }),
    el("div", { class: "buttons" }, ...buttons, next));
}

function untyped() {
  return state.keys.filter((key) => !key.own && !key.typed);
}

/** Says what is left before a signature, and opens the buttons when nothing is. */
function tell(missing, where) {
  const left = untyped();
  for (const button of document.querySelectorAll("#decision [data-role]")) {
    button.disabled = missing > 0 || left.length > 0 || busy || !state.left.includes(button.dataset.role);
  }
  document.getElementById("next").hidden = missing === 0 && left.length === 0;
  const said = [];
  if (missing) said.push(`Your key signs only what you were shown. Left to show: ${missing} of ${state.changeCount} changes, next under “${where}”.`);
  if (left.length) said.push(`Fingerprints left to type: ${left.map((key) => key.holder).join(", ")}.`);
  if (!said.length) said.push(state.left.length ? "Everything was shown. Each role is signed with a touch of its own. Close the page to sign nothing." : "You have signed everything that waits here.");
  document.getElementById("left").textContent = said.join(" ");
}

function showNext() {
  const rows = [...main.querySelectorAll("[data-index]")];
  const unseen = rows.find((element) => !reading.seen.has(Number(element.dataset.index)));
  if (unseen) unseen.scrollIntoView({ block: "start" });
  else main.querySelector("#keys textarea")?.focus();
}

async function sign(role) {
  busy = true;
  reading.update();
  const button = document.getElementById(`sign-${role}`);
  say("checking", "Checking the change once more.");
  try {
    const begun = await call("POST", "/api/begin", { role, seen: [...reading.seen] });
    say("touch", `Touch your key to sign ${begun.text}.`);
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.publicKey);
    const credential = await navigator.credentials.get({ publicKey });
    update(await call("POST", "/api/finish", { role, assertion: credential.toJSON() }));
    button.textContent = `${role} is signed`;
    if (state.left.length) say("signed", `${role} is signed. Left to sign: ${state.left.join(", ")}.`);
    else say("done", "Everything is signed. You can close this page; the command has ended.");
  } catch (error) {
    say("error", problemElement(keyProblem(error, NOTHING)));
  }
  busy = false;
  reading.update();
}

start();
