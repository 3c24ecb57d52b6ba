// What people see of an image and of its answer. Each function shows one state and hides the others.

// How sure, in words that say no more than the figure does: a probability of 0.9 is wrong one time in ten if
// the model knows itself, and from 0.5 on a class is likelier than all others together. 0.7 parts the rest.
const SURE = [
  [0.9, "Very sure.", "By its own figures, at most one such answer in ten is wrong."],
  [0.7, "Fairly sure.", "By its own figures, up to three such answers in ten are wrong."],
  [0.5, "Leaning towards this.", "It finds this likelier than everything else together, and not by much."],
  [0, "Not sure.", "It finds no class likelier than not: look at the others too."],
];
// Sides up to this many pixels are shown as squares, not as a blur.
const TINY = 128;
const DIGEST_SHOWN = 12;

const root = document.querySelector("main");
export const byId = (id) => document.getElementById(id);

/** The picture that is asked about, if the browser can show it: it may know fewer formats than the server. */
export function picture(file, others) {
  const preview = byId("preview");
  const named = `${file.name}, ${size(file.size)}${others ? `, first of ${others + 1} files` : ""}`;
  URL.revokeObjectURL(preview.src);
  preview.hidden = true;
  preview.alt = `Preview of ${file.name}`;
  preview.onload = () => {
    preview.classList.toggle("tiny", Math.max(preview.naturalWidth, preview.naturalHeight) <= TINY);
    preview.hidden = false;
  };
  preview.onerror = () => (byId("caption").textContent = `${named}, without a preview`);
  preview.src = URL.createObjectURL(file);
  byId("caption").textContent = named;
  byId("caption").hidden = false;
  byId("invitation").hidden = true;
  byId("choose").textContent = "Choose another";
}

export function working() {
  state("working");
}

export function nothing() {
  state("nothing");
}

export function answer({ predictions: [scores], model, milliseconds }, roundTrip) {
  const [, words, meaning] = SURE.find(([least]) => scores[0].score >= least);
  byId("best").textContent = scores[0].label;
  byId("sure").textContent = words;
  byId("meaning").textContent = meaning;
  byId("bars").replaceChildren(...scores.map(row));
  byId("time").textContent = times(milliseconds, roundTrip);
  identity(model);
  state("result");
  // Zero first, so that the bars grow; a style of one's own is allowed to a script, not to the markup.
  byId("bars").getBoundingClientRect();
  byId("bars").querySelectorAll(".bar").forEach((bar, n) => (bar.style.width = `${100 * scores[n].score}%`));
  byId("answer").scrollIntoView({ block: "nearest" });
}

/** Why there is no answer; `again`, if given, is what the button does. */
export function refused(refusal, title, again) {
  state("refused");
  byId("refusal").append(problem(refusal, title, again));
  byId("answer").scrollIntoView({ block: "nearest" });
}

/** `wrong`, if given, is what was said of the key before. */
export function askForKey(wrong) {
  state("key");
  if (wrong) byId("refusal").append(problem(wrong, "This key was not accepted."));
  byId("key").hidden = false;
  byId("key-value").focus();
}

/** Counts down until it is time to ask again. Resolves to false if people, or a newer image, call it off. */
export function countdown(refusal, attempt, signal) {
  byId("waiting-title").textContent = refusal.status === 503 ? "The server is busy." : "Too many questions for now.";
  byId("waiting-detail").textContent = refusal.message;
  byId("attempt").textContent = attempt;
  state("waiting");
  const ends = performance.now() + 1000 * refusal.seconds;
  return new Promise((resolve) => {
    const over = new AbortController();
    const done = (again) => {
      clearInterval(timer);
      over.abort();
      resolve(again);
    };
    // By the clock, because timers of a hidden tab are late.
    const tick = () => {
      const left = Math.ceil((ends - performance.now()) / 1000);
      byId("seconds").textContent = Math.max(left, 0);
      if (left <= 0) done(true);
    };
    const timer = setInterval(tick, 100);
    byId("now").addEventListener("click", () => done(true), { signal: over.signal });
    byId("cancel").addEventListener("click", () => done(false), { signal: over.signal });
    signal.addEventListener("abort", () => done(false), { signal: over.signal });
    tick();
  });
}

/** Shows one state; whoever had the focus on something that vanishes finds it at the answer. */
function state(name) {
  const had = byId("answer").contains(document.activeElement);
  byId("refusal").replaceChildren();
  if (byId("key")) byId("key").hidden = true;
  for (const part of document.querySelectorAll("[data-state]")) part.hidden = part.dataset.state !== name;
  byId("live").setAttribute("aria-busy", String(name === "working"));
  if (had) byId("answer").focus({ preventScroll: true });
}

/** The answer says whose it is. If that is not who this page was made for, its accuracy is not known here. */
function identity({ name, version, digest }) {
  byId("model").textContent = `${name}, version ${version}`;
  if (digest === root.dataset.digest) return;
  root.dataset.digest = digest;
  const code = byId("digest").querySelector("code");
  code.textContent = digest.slice(0, DIGEST_SHOWN);
  code.title = digest;
  byId("accuracy").textContent = "New since this page was loaded: see its card.";
}

function problem(refusal, title, again) {
  const shown = byId("problem").content.cloneNode(true);
  shown.querySelector(".strong").textContent = title;
  shown.querySelector(".detail").textContent = refusal.message;
  shown.querySelector(".code").append(...source(refusal));
  if (again) shown.querySelector("button").addEventListener("click", again);
  else shown.querySelector(".buttons").remove();
  return shown;
}

function row({ label, score }) {
  const shown = byId("row").content.cloneNode(true);
  shown.querySelector(".label").textContent = label;
  shown.querySelector(".share").textContent = percent(score);
  return shown;
}

/** Rounding makes neither nothing nor certainty of what is neither. */
function percent(share) {
  const text = (100 * share).toFixed(1);
  if (text === "0.0" && share > 0) return "<0.1%";
  if (text === "100.0" && share < 1) return ">99.9%";
  return `${text}%`;
}

function times({ queue, decode, inference }, roundTrip) {
  const total = queue + decode + inference;
  const parts = `${ms(queue)} waiting, ${ms(decode)} decoding, ${ms(inference)} classifying`;
  return `Took ${ms(total)} ms on the server (${parts}) and ${ms(roundTrip)} ms there and back.`;
}

const ms = (value) => value.toFixed(value < 10 ? 1 : 0);

/** Where the sentence comes from: the code, which leads to its line in the documentation, and the request. */
function* source({ status, code, requestId }) {
  if (!status) return;
  yield `${status} `;
  if (code) {
    const link = document.createElement("a");
    link.href = `${root.dataset.docs}#${code}`;
    link.textContent = code;
    yield link;
  }
  if (requestId) yield ` · request ${requestId}`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
