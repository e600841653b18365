// What the terminal's pages share.  Text enters the page as text only: nothing here can make markup.

const KEY = "placet-token";

/** Takes the launch's token out of the address bar; it stays in this tab alone. */
export function takeToken() {
  const found = /^#token=([\w-]+)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem(KEY, found[1]);
    history.replaceState(null, "", "/");
  }
  return sessionStorage.getItem(KEY);
}

/** Makes an element; strings become text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** What went wrong: what happened, what it means, what to do. */
export class Problem extends Error {
  constructor({ message, meaning = "", hint = "", reason = "" }) {
    super(message);
    Object.assign(this, { meaning, hint, reason });
  }
}

export function problemElement(problem) {
  const parts = [el("p", {}, el("strong", {}, problem.message))];
  if (problem.meaning) parts.push(el("p", {}, problem.meaning));
  if (problem.hint) parts.push(el("p", {}, "What to do: ", ...commands(problem.hint)));
  return el("div", { class: "problem" }, ...parts);
}

/** Sets what stands between backticks as a command. */
function commands(text) {
  return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

/** Asks this terminal. */
export async function call(method, path, body, more = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        "X-Placet-Token": sessionStorage.getItem(KEY) ?? "",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      ...more,
    });
  } catch {
    throw new Problem({
      reason: "stopped",
      message: "The terminal program does not answer.",
      meaning: "Nothing is signed while it is stopped. What was signed before is kept on its disk.",
      hint: "Start placet terminal again and use the new link that it prints.",
    });
  }
  const value = await response.json();
  if (!response.ok) throw new Problem(value.error);
  return value;
}

const status = document.getElementById("status");

/** Says something in the live region; `state` is for programs that watch the page. */
export function say(state, ...children) {
  status.dataset.state = state;
  status.replaceChildren(...children.map((child) => (typeof child === "string" ? el("p", {}, child) : child)));
  // Whoever waits for a touch, or learns that it failed, must not have to look for it.
  if (["touch", "sending", "error", "expired"].includes(state)) status.scrollIntoView({ block: "nearest" });
}

/** A digest in groups of four; copied, it has no blanks in it. */
export function digest(groups) {
  return el("code", {}, ...groups.flatMap((group) => [el("span", {}, group), el("wbr")]));
}

export function row(label, ...value) {
  return el("div", {}, el("dt", {}, label), el("dd", {}, ...value));
}

export function digestRow(label, groups) {
  return el("div", {}, el("dt", {}, label), el("dd", { class: "digest" }, digest(groups)));
}

/** A caption and a value, as the terminal describes a line. */
export function lineElement(line) {
  const dd = el("dd", { class: line.form });
  if (line.form === "digest") dd.append(digest(line.groups));
  else if (line.form === "quote") dd.append(el("blockquote", {}, line.value));
  else if (line.form === "text") dd.append(line.value);
  else dd.append(el("code", {}, line.value));
  if (line.hint) dd.append(el("p", { class: "hint" }, `(${line.hint})`));
  return el("div", line.index < 0 ? {} : { "data-index": line.index }, el("dt", {}, line.label), dd);
}

/** Puts a duration into words. */
export function duration(seconds) {
  if (seconds >= 7200) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return seconds >= 120 ? `${Math.floor(seconds / 60)} min` : `${Math.max(0, Math.floor(seconds))} s`;
}

/** Puts a refusal of browser or key into words; the browser says on purpose little about it. */
export function keyProblem(error, meaning) {
  if (error instanceof Problem) return error;
  const hints = {
    NotAllowedError: [
      "The key gave no signature: it was not touched in time, the PIN was wrong, it is not the key that was enrolled here, or you cancelled.",
      "Plug in your enrolled key and try again.",
    ],
    SecurityError: [
      "The browser does not let this page use security keys.",
      "Open the exact address that placet terminal printed, in a current browser.",
    ],
    // Only the enrolment page can meet it: it names the keys that must make no second credential.
    InvalidStateError: ["This key already belongs to somebody enrolled here.", "Use another key."],
    AbortError: ["You cancelled.", "Decide again when you are ready."],
  };
  const [message, hint] = hints[error?.name] ?? ["The browser could not ask the key.", "Try again, or use placet approve."];
  return new Problem({ reason: error?.name ?? "unknown", message, meaning, hint });
}

const CELL = 8; // Pixels; a row was shown when all of its cells were.
const LOOK = 100; // Milliseconds; what was there at two looks in a row was shown, what flew past was not.

/**
 * Keeps account of which rows stood in front of the person, in full height, in a visible tab.
 * `tell(missing, where)` hears how many are left, and under which heading the next one is.
 */
export function watchReading(root, total, tell) {
  const rows = new Map();
  for (const element of root.querySelectorAll("[data-index]")) rows.set(element, { cells: new Set(), height: 0, range: [0, 0] });
  const seen = new Set();
  const first = () => [...rows.keys()].find((e) => !seen.has(Number(e.dataset.index)));
  const update = () => tell(total - seen.size, first()?.closest("section")?.querySelector("h2")?.textContent ?? "the headline");
  const look = () => {
    const before = seen.size;
    for (const [element, state] of rows) {
      const index = Number(element.dataset.index);
      if (!seen.has(index) && covered(element, state)) seen.add(index);
    }
    if (seen.size !== before) update();
    if (seen.size === total && before !== total) say("shown", "Everything was shown. You can decide now.");
  };
  const timer = setInterval(look, LOOK);
  update();
  return { seen, update, showNext: () => first()?.scrollIntoView({ block: "start" }), stop: () => clearInterval(timer) };
}

/** Marks the part of a row that stands on the screen since the last look; a row may be taller than the screen. */
function covered(element, state) {
  const box = element.getBoundingClientRect();
  if (state.height !== box.height) Object.assign(state, { cells: new Set(), height: box.height, range: [0, 0] });
  const cells = Math.ceil(box.height / CELL);
  let now = [0, 0];
  if (document.visibilityState === "visible") {
    const from = Math.max(0, Math.ceil(-box.top / CELL));
    const to = box.bottom <= innerHeight ? cells : Math.min(cells, Math.floor((innerHeight - box.top) / CELL));
    now = [from, Math.max(from, to)];
  }
  const [from, to] = [Math.max(now[0], state.range[0]), Math.min(now[1], state.range[1])];
  for (let cell = from; cell < to; cell += 1) state.cells.add(cell);
  state.range = now;
  return cells > 0 && state.cells.size >= cells;
}
