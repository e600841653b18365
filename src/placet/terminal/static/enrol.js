// The enrolment page: one touch makes the credential, a second proves that it answers the invite.

import { call, digestRow, el, keyProblem, Problem, problemElement, row, say, takeToken } from "/shared.js";

const main = document.getElementById("main");
const NOTHING = "Nothing was enrolled.";
let state;
let second = null;

async function start() {
  try {
    if (!takeToken()) {
      throw new Problem({
        message: "This page was opened without the link of this launch.",
        meaning: NOTHING,
        hint: "Open the link that placet terminal enroll printed.",
      });
    }
    state = await call("GET", "/api/enrolment");
    show();
  } catch (error) {
    main.replaceChildren(el("h1", { tabindex: "-1" }, "This cannot be shown"), problemElement(keyProblem(error, NOTHING)));
  }
  main.querySelector("h1").focus({ preventScroll: true });
}

function show() {
  main.replaceChildren(
    el("h1", { tabindex: "-1" }, `Enrol a key for ${state.person}`),
    el("dl", {},
      row("Person", state.person),
      row("Deployment", state.deployment),
      digestRow("Trust root, SHA-256", state.rootGroups),
      row("This terminal's page", el("code", {}, state.origin))),
    el("section", { "aria-labelledby": "steps" },
      el("h2", { id: "steps" }, "Two touches"),
      el("p", {}, "The first makes a credential inside your security key. The second proves that it answers the invite you were given. The key asks for its PIN or your finger."),
      el("p", {}, "If the browser asks whether this page may see the make and model of your key, allow it: your administrators check that it is a key of a kind they accept."),
      el("div", { class: "buttons" },
        el("button", { id: "create", type: "button", onclick: create }, "Make the credential"),
        el("button", { id: "prove", type: "button", disabled: true, onclick: prove }, "Prove it"))));
}

const button = (id) => document.getElementById(id);

async function create() {
  button("create").disabled = true;
  say("touch", "Touch your key to make the credential.");
  try {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(state.publicKey);
    const credential = await navigator.credentials.create({ publicKey });
    ({ publicKey: second } = await call("POST", "/api/created", { credential: credential.toJSON() }));
    button("prove").disabled = false;
    button("prove").focus();
    say("created", "The credential is made. Now prove it with a second touch.");
  } catch (error) {
    button("create").disabled = false;
    say("error", problemElement(keyProblem(error, NOTHING)));
  }
}

async function prove() {
  button("prove").disabled = true;
  say("touch", "Touch your key once more.");
  try {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(second);
    const credential = await navigator.credentials.get({ publicKey });
    finish(await call("POST", "/api/proved", { assertion: credential.toJSON() }));
  } catch (error) {
    button("prove").disabled = false;
    say("error", problemElement(keyProblem(error, NOTHING)));
  }
}

function finish(done) {
  main.replaceChildren(
    el("h1", { tabindex: "-1" }, "Send the file, then read the fingerprint aloud"),
    el("p", { class: "note fact" }, `The key proved that it answers the invite of ${state.person}.`),
    el("dl", {}, row("File for the administrator", el("code", {}, done.file)), row("Fingerprint of the key", el("strong", {}, done.keyWords)), digestRow("The same in digits", done.keyGroups)),
    el("section", { "aria-labelledby": "next" },
      el("h2", { id: "next" }, "What is next"),
      el("p", {}, "The administrator records the key with placet trust enroll, and each administrator who signs asks you, by voice, for the fingerprint: read the words aloud, slowly, from this screen. Until the trust root with your key is signed and published, the key counts for nothing."),
      el("p", {}, "You can close this page; the command has ended.")));
  say("enrolled", "The enrolment file is written.");
  main.querySelector("h1").focus();
}

start();
