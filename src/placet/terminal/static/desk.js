// The approval page.  It renders what the terminal verified and asks the key for what the terminal computed.

import { call, digest, digestRow, duration, el, keyProblem, lineElement, Problem, problemElement, row, say, takeToken, watchReading } from "/shared.js";

const main = document.getElementById("main");
const place = document.getElementById("place");
const NOTHING = "Nothing was signed and nothing was sent.";

let leave = () => {}; // Ends the timers and listeners of the screen that is shown.
let generation = 0; // Answers that arrive for a screen that is gone are dropped.

function show(title, ...children) {
  document.title = `${title} - placet terminal`;
  main.replaceChildren(...children);
}

function focusHeadline() {
  scrollTo(0, 0);
  main.querySelector("h1").focus({ preventScroll: true });
}

const headline = (text) => el("h1", { tabindex: "-1" }, text);

async function route() {
  leave();
  leave = () => {};
  generation += 1;
  say("ready");
  const [, page = "", name = ""] = location.hash.split("/");
  for (const [id, own] of [["to-inbox", ""], ["to-history", "history"]]) {
    const link = document.getElementById(id);
    if (page === own) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    if (!takeToken()) throw noToken();
    if (page === "request") await request(name);
    else if (page === "history") await historyPage();
    else if (page === "record") await record(name);
    else await inbox();
  } catch (error) {
    fail(error);
  }
  focusHeadline();
}

function noToken() {
  return new Problem({
    reason: "no-token",
    message: "This page was opened without the link of this launch.",
    meaning: NOTHING,
    hint: "Open the link that placet terminal printed when it started.",
  });
}

function fail(error) {
  const problem = error instanceof Problem ? error : new Problem({ message: "This page failed.", meaning: NOTHING, hint: "Reload it." });
  show("Problem", headline("This cannot be shown"), problemElement(problem), el("p", {}, el("a", { href: "#/" }, "Back to the inbox")));
  document.body.dataset.problem = problem.reason;
}

// -- Inbox

async function inbox() {
  const mine = generation;
  let shown = "";
  let known = null;
  const look = async () => {
    let found;
    try {
      found = await call("GET", "/api/inbox");
    } catch (error) {
      found = { troubles: [error], requests: [], notice: "", unsent: 0, source: "" };
    }
    if (mine !== generation) return;
    const { requests, ...rest } = found;
    const steady = JSON.stringify([rest, requests.map(({ secondsLeft, ...other }) => other)]);
    if (steady !== shown) {
      const focused = document.activeElement?.dataset?.request;
      showInbox(found);
      if (focused) main.querySelector(`[data-request="${CSS.escape(focused)}"]`)?.focus();
      shown = steady;
      if (known && requests.some((r) => !known.has(r.id))) say("arrived", "A new request arrived.");
      known = new Set(requests.map((r) => r.id));
    }
    for (const item of requests) {
      const left = main.querySelector(`[data-left="${CSS.escape(item.id)}"]`);
      if (left) left.textContent = duration(item.secondsLeft);
    }
  };
  const timer = setInterval(look, 2000);
  leave = () => clearInterval(timer);
  await look();
}

function showInbox(found) {
  if (found.terminal) place.textContent = `placet terminal ${found.terminal}${found.deployment ? ` of ${found.deployment}` : ""}`;
  const open = found.requests.filter((r) => !r.refusal && !r.done);
  const done = found.requests.filter((r) => !r.refusal && r.done);
  const dead = found.requests.filter((r) => r.refusal);
  const count = open.length === 1 ? "1 request waits for you" : `${open.length} requests wait for you`;
  const troubled = found.troubles.length > 0;
  const title = open.length ? count : troubled ? "Something needs care" : "All is quiet";
  const parts = [headline(title), ...found.troubles.map((t) => problemElement(t))];
  if (found.unsent) parts.push(note("warning", `${found.unsent} signed answer${found.unsent === 1 ? " is" : "s are"} kept here and not sent yet. They are sent as soon as the relay answers.`));
  if (found.notice) parts.push(note("warning", found.notice));
  if (open.length) parts.push(el("ul", { class: "requests", id: "requests" }, ...open.map(inboxItem)));
  else if (!troubled) parts.push(...quiet(found.source));
  if (done.length) parts.push(el("section", {}, el("h2", {}, "Decided here or complete"), el("ul", { class: "requests", id: "done" }, ...done.map(inboxItem))));
  if (dead.length) parts.push(el("section", {}, el("h2", {}, "Cannot be decided"), el("ul", { class: "requests" }, ...dead.map(deadItem))));
  show(title, ...parts);
}

function quiet(source) {
  return [
    el("p", { id: "quiet" }, "No request waits for a decision. You can leave this page open; it looks for new ones by itself."),
    el("section", {},
      el("h2", {}, "How a request gets here"),
      el("p", {}, "Somebody runs placet request. The request goes to the relay, this terminal fetches it, checks it, and shows it here in full."),
      el("p", { class: "meta" }, `Watched: ${source}`)),
  ];
}

function inboxItem(item) {
  const asks = item.requester ? `Asked by ${item.requester} (verified)` : `Unverified, claims to be ${item.claimed}`;
  const others = [];
  if (item.approvals) others.push(`${item.approvals} approved`);
  if (item.denials) others.push(`${item.denials} denied`);
  if (item.enough) others.push("enough people have approved");
  others.push(...item.decidedHere);
  if (item.putAside) others.push("put aside");
  return el("li", {},
    el("a", { href: `#/request/${item.id}`, "data-request": item.id },
      el("strong", {}, item.text),
      el("span", { class: "meta" }, "Time left: ", el("span", { "data-left": item.id }, duration(item.secondsLeft)), `. ${asks}.${others.length ? ` ${others.join("; ")}.` : ""}`)));
}

function deadItem(item) {
  return el("li", { class: "dead" },
    el("p", {}, el("strong", {}, "Request "), digest(item.id.slice(0, 16).match(/.{4}/g))),
    el("p", {}, item.refusal.message), item.refusal.hint ? el("p", { class: "meta" }, item.refusal.hint) : null);
}

const note = (kind, text) => el("p", { class: `note ${kind}` }, text);

// -- One request

async function request(id) {
  const mine = generation;
  const view = await call("POST", "/api/views", { request: id });
  if (mine !== generation) return;
  const left = el("p", { id: "left" });
  const approve = el("button", { id: "approve", type: "button", disabled: true, "aria-describedby": "left" }, "Approve with your key");
  const deny = el("button", { id: "deny", type: "button", disabled: true, "aria-describedby": "left" }, "Deny with your key");
  const later = el("button", { id: "later", type: "button", class: "light" }, "Not now");
  const next = el("button", { id: "next", type: "button", class: "light" }, "Show what is left");
  const cancel = el("button", { id: "cancel", type: "button", class: "light", hidden: true }, "Cancel");
  const time = el("strong", { id: "time-left" }, duration(view.secondsLeft));
  const top = headline(view.headline.value);
  top.dataset.index = view.headline.index;
  show("Request", top,
    el("dl", { id: "request-id" }, digestRow("Request", view.requestGroups)),
    el("p", { class: "meta" }, "Time left: ", time, `, until ${view.expiresAt}`),
    el("ul", { class: "meta", id: "decided" }, ...(view.decided.length ? view.decided : ["Nobody has decided yet."]).map((t) => el("li", {}, t))),
    ...view.sections.map(sectionElement),
    el("section", { "aria-labelledby": "decision" }, el("h2", { id: "decision" }, "Your decision"), view.secondTouch ? el("p", { id: "second-touch", class: "note plain" }, view.secondTouch) : null, left, el("div", { class: "buttons" }, approve, deny, later, next, cancel)));

  const screen = { id, view, approve, deny, later, next, cancel, left, expired: false, busy: false };
  const reading = watchReading(main, view.rowCount, (missing, where) => {
    const ready = missing === 0 && !screen.expired && !screen.busy;
    approve.disabled = !ready;
    deny.disabled = !ready;
    next.hidden = missing === 0 || screen.busy;
    later.hidden = screen.busy;
    left.hidden = screen.busy;
    left.textContent = missing
      ? `Your key signs only what you were shown. Left to show: ${missing} of ${view.rowCount} lines, next under “${where}”.`
      : "Everything was shown. Nothing is signed until you choose here and touch your key.";
  });
  const started = performance.now();
  const timer = setInterval(() => {
    const seconds = view.secondsLeft - (performance.now() - started) / 1000;
    time.textContent = duration(seconds);
    if (seconds <= 0 && !screen.expired) {
      screen.expired = true;
      reading.update();
      say("expired", "This request has expired. Nothing was signed. Whoever needs it can ask again.");
    }
  }, 500);
  leave = () => { clearInterval(timer); reading.stop(); screen.abort?.abort(); };
  // Enter is what a tired hand presses: it never approves.
  approve.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      say("ready", "Enter never approves. To approve, press the space bar on this button.");
    }
  });
  approve.addEventListener("click", () => decide(screen, "approve", reading));
  deny.addEventListener("click", () => decide(screen, "deny", reading));
  later.addEventListener("click", async () => { await call("POST", "/api/later", { request: id }).catch(() => {}); location.hash = "#/"; });
  next.addEventListener("click", () => reading.showNext());
  cancel.addEventListener("click", () => screen.abort?.abort());
}

function sectionElement(section, number) {
  const id = `section-${number}`;
  const parts = [];
  for (const block of section.blocks) {
    parts.push(...block.notes.map(({ kind, text }) => note(kind, text)));
    if (block.lines.length) parts.push(el("dl", {}, ...block.lines.map(lineElement)));
  }
  return el("section", { "aria-labelledby": id }, el("h2", { id }, section.title), ...parts);
}

async function decide(screen, decision, reading) {
  const mine = generation;
  screen.busy = true;
  reading.update();
  screen.cancel.hidden = false;
  screen.abort = new AbortController();
  let meaning = NOTHING;
  say("checking", "Checking the request once more.");
  try {
    const path = `/api/views/${screen.view.view}`;
    const begun = await call("POST", `${path}/begin`, { decision, seen: [...reading.seen] });
    const first = decision === "approve" && screen.view.secondTouch ? "First of two touches. " : "";
    say("touch", `${first}Touch your key to ${decision}. It signs:`, el("p", {}, el("strong", {}, begun.text)));
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.publicKey);
    const credential = await navigator.credentials.get({ publicKey, signal: screen.abort.signal });
    meaning = "The key's signature was not used; nothing was sent.";
    screen.cancel.hidden = true;
    say("sending", "Your key has signed. Checking and sending.");
    const done = await call("POST", `${path}/finish`, { decision, assertion: credential.toJSON() });
    if (!done.link) {
      if (mine === generation) showOutcome(done);
    } else if (mine === generation) secondTouch(done, screen.view.view);
    else await call("POST", `${path}/link/skip`, {}); // Nobody is here to touch again; the approval goes out.
  } catch (error) {
    if (mine !== generation) return;
    screen.busy = false;
    screen.cancel.hidden = true;
    reading.update();
    say("error", problemElement(keyProblem(error, meaning)));
  }
}

// -- The second touch: the in-toto link.  The approval is made; whatever happens here, it goes out.

function secondTouch(asked, view) {
  leave();
  generation += 1;
  const path = `/api/views/${view}/link`;
  const sign = el("button", { id: "sign-link", type: "button", disabled: true, "aria-describedby": "left" }, "Sign the link with your key");
  const skip = el("button", { id: "skip-link", type: "button" }, "Send the approval without the link");
  const next = el("button", { id: "next", type: "button", class: "light" }, "Show what is left");
  const cancel = el("button", { id: "cancel", type: "button", class: "light", hidden: true }, "Cancel");
  const left = el("p", { id: "left" });
  show("Second touch", headline("Approved. Now the in-toto link"),
    note("fact", "Your approval is signed. It counts with the link and without it."),
    note("plain", `It waits here for your second touch; after ${duration(asked.secondsLeft)}, or when you leave this page, it is sent without the link.`),
    decisionList(asked),
    sectionElement(asked.link, 0),
    el("section", { "aria-labelledby": "decision" }, el("h2", { id: "decision" }, "Your second touch"), left, el("div", { class: "buttons" }, sign, skip, next, cancel)));
  const screen = { busy: false, over: false };
  const reading = watchReading(main, asked.rowCount, (missing) => {
    sign.disabled = missing > 0 || screen.busy;
    skip.hidden = screen.busy;
    next.hidden = missing === 0 || screen.busy;
    left.hidden = screen.busy;
    left.textContent = missing
      ? `Your key signs only what you were shown. Left to show: ${missing} of ${asked.rowCount} lines of the link.`
      : "The whole link was shown. It is not signed until you touch your key once more.";
  });
  const end = (done) => {
    screen.over = true;
    showOutcome(done);
  };
  // Nobody who walks away takes the approval back: it goes out without the link.
  const goOut = () => {
    if (!screen.over) call("POST", `${path}/skip`, {}, { keepalive: true }).catch(() => {});
    screen.over = true;
  };
  addEventListener("pagehide", goOut);
  leave = () => { reading.stop(); screen.abort?.abort(); removeEventListener("pagehide", goOut); goOut(); };
  const attempt = async (work) => {
    const mine = generation;
    screen.busy = true;
    reading.update();
    try {
      const done = await work();
      if (mine === generation) end(done);
    } catch (error) {
      if (mine !== generation) return;
      screen.busy = false;
      cancel.hidden = true;
      reading.update();
      say("error", problemElement(keyProblem(error, "Your approval is signed and counts. Only the in-toto link is not signed.")));
    }
  };
  sign.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      say("ready", "Enter never signs. To sign the link, press the space bar on this button.");
    }
  });
  sign.addEventListener("click", () => attempt(async () => {
    cancel.hidden = false;
    screen.abort = new AbortController();
    const begun = await call("POST", `${path}/begin`, { seen: [...reading.seen] });
    say("touch", "Second of two touches. Touch your key again. It signs:", el("p", {}, el("strong", {}, begun.text)));
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.publicKey);
    const credential = await navigator.credentials.get({ publicKey, signal: screen.abort.signal });
    cancel.hidden = true;
    say("sending", "Your key has signed. Checking and sending.");
    return call("POST", `${path}/finish`, { assertion: credential.toJSON() });
  }));
  skip.addEventListener("click", () => attempt(() => call("POST", `${path}/skip`, {})));
  next.addEventListener("click", () => reading.showNext());
  cancel.addEventListener("click", () => screen.abort?.abort());
  say("second-touch", "Approved. The in-toto link needs one more touch of your key.");
  focusHeadline();
}

function showOutcome(done) {
  leave();
  leave = () => {};
  generation += 1;
  const approved = done.decision === "approve";
  const title = approved ? "You approved" : "You denied";
  show(title, headline(`${title}: ${approved ? done.text : done.text.replace(/^Deny: /, "")}`),
    note(done.delivery.state === "refused" ? "warning" : "fact", done.delivery.text),
    linkNote(done),
    decisionList(done),
    el("section", {}, el("h2", {}, "What is reached"), ...done.level.map((text) => note("plain", text))),
    el("div", { class: "buttons" },
      el("a", { class: "button", id: "to-record", href: `#/record/${done.record}` }, "The record"),
      el("a", { class: "button", id: "back", href: "#/" }, "Back to the inbox")));
  say(approved ? "approved" : "denied", approved ? "Approved." : "Denied.", done.delivery.text);
  focusHeadline();
}

function linkNote(done) {
  if (done.linked) return note("fact", "With the in-toto link, signed by your second touch.");
  if (done.linked === false && done.linkAsked) return note("warning", "Sent without the in-toto link. The approval counts; in_toto_verify of others will miss the link.");
  return null;
}

function decisionList(made) {
  return el("dl", {},
    row("Signed", el("strong", {}, made.text)),
    digestRow("Request", made.requestGroups),
    made.denialGroups ? digestRow("Denial, SHA-256", made.denialGroups) : null,
    row("By", made.person),
    digestRow("With the key", made.keyGroups),
    row("At", made.decidedAt),
    row("Goes to", made.destination));
}

// -- History and records

async function historyPage() {
  const found = await call("GET", "/api/history");
  const items = found.decisions.map((made) => el("li", {},
    el("a", { href: `#/record/${made.record}` },
      el("strong", {}, made.text),
      el("span", { class: "meta" }, `${made.decision === "approve" ? "Approved" : "Denied"} by ${made.person} at ${made.decidedAt}.`))));
  const parts = [headline("History of this terminal")];
  if (found.unreadable) parts.push(note("warning", `${found.unreadable} damaged line(s) in the history file were skipped.`));
  if (items.length) parts.push(el("ul", { class: "requests" }, ...items));
  else parts.push(el("p", {}, "Nothing was decided on this terminal yet. Each decision will stand here with its record."));
  if (found.total > items.length) parts.push(el("p", { class: "meta" }, `The newest ${items.length} of ${found.total}.`));
  show("History", ...parts);
}

async function record(name) {
  const made = await call("GET", `/api/records/${encodeURIComponent(name)}`);
  const bytes = Uint8Array.from(atob(made.content), (c) => c.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([bytes], { type: "application/json" }));
  leave = () => URL.revokeObjectURL(url);
  const verb = made.decision === "approve" ? "Approved" : "Denied";
  show("Record", headline(`${verb}: ${made.text.replace(/^Deny: /, "")}`), decisionList(made),
    digestRecord(name),
    el("div", { class: "buttons" },
      el("a", { class: "button", id: "save", href: url, download: made.file }, "Save the record"),
      el("a", { class: "button", href: "#/history" }, "Back to the history")));
}

function digestRecord(name) {
  return el("section", {}, el("h2", {}, "The record"),
    el("p", {}, "The signed statement with your key's signature, and this terminal's report on it. Anybody can check it; it holds no secret."),
    el("dl", {}, digestRow("SHA-256 of the record", name.match(/.{1,4}/g))));
}

addEventListener("hashchange", route);
route();
