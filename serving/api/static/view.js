// Shows the image and the prediction. Each function shows one state of the page and hides the others.

// The confidence in words, by its lower bound: if the model is calibrated, predictions with a probability of 0.9
// are wrong one time in ten; from 0.5 on a class is more likely than all others together; 0.7 lies between.
const CONFIDENCE = [
  [0.9, "Very sure.", "By the model's own estimate, at most one such answer in ten is wrong."],
  [0.7, "Fairly sure.", "By the model's own estimate, up to three such answers in ten are wrong."],
  [0.5, "Leaning towards this.", "It is more likely than all other classes together, but not by much."],
  [0, "Not sure.", "No class has a probability above one half: look at the others too."],
];
// Images up to this size are scaled up with sharp pixels.
const TINY = 128;
// Label sets up to this size are written out.
const LISTED = 10;
const NUMBERS = ["no", "this one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
const DIGEST_SHOWN = 12;

const root = document.querySelector("main");
export const byId = (id) => document.getElementById(id);

/** Shows a preview of the image, if the browser supports its format; the server supports more. */
export function preview(file, others) {
  const element = byId("preview");
  const named = `${file.name}, ${size(file.size)}${others ? `, first of ${others + 1} files` : ""}`;
  URL.revokeObjectURL(element.src);
  element.hidden = true;
  element.alt = `Preview of ${file.name}`;
  element.onload = () => {
    element.classList.toggle("tiny", Math.max(element.naturalWidth, element.naturalHeight) <= TINY);
    element.hidden = false;
  };
  element.onerror = () => (byId("caption").textContent = `${named}, without a preview`);
  element.src = URL.createObjectURL(file);
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

export function answer({ predictions: [scores], model, milliseconds, ...judgement }, roundTrip) {
  const [, words, meaning] = CONFIDENCE.find(([least]) => scores[0].score >= least);
  byId("best").textContent = scores[0].label;
  byId("sure").textContent = words;
  byId("meaning").textContent = meaning;
  judge(judgement);
  byId("bars").replaceChildren(...scores.map(row));
  byId("time").textContent = times(milliseconds, roundTrip);
  identity(model);
  state("result");
  // A layout at width zero first, so that the bars grow. The CSP forbids style attributes in the markup.
  byId("bars").getBoundingClientRect();
  byId("bars").querySelectorAll(".bar").forEach((bar, n) => (bar.style.width = `${100 * scores[n].score}%`));
  byId("answer").scrollIntoView({ block: "nearest" });
}

/** Says how far the answer can be relied on; lists are absent if the model does not have them. */
function judge({ set, level, familiar, abstained }) {
  byId("warning").textContent = [
    familiar?.[0] === false && "This does not look like what I have learned: the answer may mean nothing.",
    abstained?.[0] && "This is less sure than the operator of this server asks for: do not rely on it.",
  ].filter(Boolean).join(" ");
  byId("set").textContent = set ? setInWords(set[0], level) : "";
}

/** "It is one of these three (95%): a, b, c." */
function setInWords(labels, level) {
  const sure = `${Math.round(100 * level)}%`;
  if (labels.length === 1) return `It is this one (${sure}).`;
  if (labels.length > LISTED) return `It is one of ${labels.length} classes (${sure}).`;
  return `It is one of these ${NUMBERS[labels.length]} (${sure}): ${labels.join(", ")}.`;
}

/** Shows why there is no prediction; `retry`, if given, is the action of the button. */
export function refused(refusal, title, retry) {
  state("refused");
  byId("refusal").append(problem(refusal, title, retry));
  byId("answer").scrollIntoView({ block: "nearest" });
}

/** Asks for an API key; `refusal`, if given, is the error for the previous one. */
export function askForKey(refusal) {
  state("key");
  if (refusal) byId("refusal").append(problem(refusal, "This key was not accepted."));
  byId("key").hidden = false;
  byId("key-value").focus();
}

/** Counts down to a retry. Resolves to false if it is cancelled, by the button or by a newer image. */
export function countdown(refusal, attempt, signal) {
  byId("waiting-title").textContent = refusal.status === 503 ? "The server is busy." : "Too many requests.";
  byId("waiting-detail").textContent = refusal.message;
  byId("attempt").textContent = attempt;
  state("waiting");
  const ends = performance.now() + 1000 * refusal.seconds;
  return new Promise((resolve) => {
    const over = new AbortController();
    const done = (retry) => {
      clearInterval(timer);
      over.abort();
      resolve(retry);
    };
    // Computed from the clock, because timers are delayed in hidden tabs.
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

/** Shows one state. If the focus was inside the answer, it moves to the answer, as its element may vanish. */
function state(name) {
  const had = byId("answer").contains(document.activeElement);
  byId("refusal").replaceChildren();
  if (byId("key")) byId("key").hidden = true;
  for (const part of document.querySelectorAll("[data-state]")) part.hidden = part.dataset.state !== name;
  byId("live").setAttribute("aria-busy", String(name === "working"));
  if (had) byId("answer").focus({ preventScroll: true });
}

/** Shows the model of the prediction. If it is newer than the page, its accuracy is unknown here. */
function identity({ name, version, digest }) {
  byId("model").textContent = `${name}, version ${version}`;
  if (digest === root.dataset.digest) return;
  root.dataset.digest = digest;
  const code = byId("digest").querySelector("code");
  code.textContent = digest.slice(0, DIGEST_SHOWN);
  code.title = digest;
  byId("accuracy").textContent = "New since this page was loaded: see the model card.";
}

function problem(refusal, title, retry) {
  const shown = byId("problem").content.cloneNode(true);
  shown.querySelector(".strong").textContent = title;
  shown.querySelector(".detail").textContent = refusal.message;
  shown.querySelector(".code").append(...source(refusal));
  if (retry) shown.querySelector("button").addEventListener("click", retry);
  else shown.querySelector(".buttons").remove();
  return shown;
}

function row({ label, score }) {
  const shown = byId("row").content.cloneNode(true);
  shown.querySelector(".label").textContent = label;
  shown.querySelector(".share").textContent = percent(score);
  return shown;
}

/** Rounded, but never to 0.0% or 100.0% unless it is exactly that. */
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

/** Status, error code with a link to the documentation, and request id. */
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
