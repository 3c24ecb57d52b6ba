// The page at `/`: an image comes in by one of four ways, the server is asked, and its answer is shown.

import { predict, Refusal } from "./ask.js";
import * as view from "./view.js";

const { byId } = view;
const { predict: url, maxImage } = document.querySelector("main").dataset;

// A busy server says when to come back. After so many times people decide for themselves.
const RETRIES = 3;

let current = new AbortController();
let asked = null;
let apiKey = "";

/** Asks about an image; what was asked before is no longer of interest. */
async function ask(file) {
  current.abort();
  current = new AbortController();
  asked = file;
  const { signal } = current;
  for (let attempt = 1; ; attempt++) {
    view.working();
    try {
      const { answer, roundTrip } = await predict(url, file, { key: apiKey, maxBytes: Number(maxImage), signal });
      if (!signal.aborted) view.answer(answer, roundTrip);
      return;
    } catch (refusal) {
      if (signal.aborted) return;
      if (!(refusal instanceof Refusal)) throw refusal;
      if (!refusal.busy || attempt > RETRIES) return explain(refusal);
      const again = await view.countdown(refusal, `${attempt} of ${RETRIES}`, signal);
      if (signal.aborted) return;
      if (!again) return view.nothing();
    }
  }
}

function explain(refusal) {
  if (refusal.wantsKey && byId("key")) {
    view.askForKey(apiKey && refusal);
    apiKey = "";
    return;
  }
  const title = refusal.busy ? "The server is still busy." : refusal.passing ? "That did not work." : "This was not answered.";
  view.refused(refusal, title, refusal.passing ? () => ask(asked) : undefined);
}

function take(files) {
  view.picture(files[0], files.length - 1);
  ask(files[0]);
}

for (const input of [byId("file"), byId("camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) take([...input.files]);
    // So that choosing the same file again is a change too.
    input.value = "";
  });
}

addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length) {
    event.preventDefault();
    take(files);
  } else if (!event.target.closest?.("input")) {
    view.refused(new Refusal("Copy an image or an image file, then paste it here."), "There is no image in the clipboard.");
  }
});

const dragging = (on) => document.documentElement.classList.toggle("dragging", on);

addEventListener("dragover", (event) => {
  event.preventDefault();
  dragging(true);
});
addEventListener("dragleave", (event) => {
  // Between two elements of the page there is a next one; outside of it there is none.
  if (!event.relatedTarget) dragging(false);
});
addEventListener("drop", (event) => {
  event.preventDefault();
  dragging(false);
  const files = [...event.dataTransfer.files];
  if (files.length) return take(files);
  view.refused(new Refusal("What was dropped is a link or a text. Save the image first, then drop the file."), "There is no file in it.");
});

byId("key")?.addEventListener("submit", (event) => {
  event.preventDefault();
  apiKey = byId("key-value").value;
  byId("key-value").value = "";
  ask(asked);
});

byId("copy").addEventListener("click", async () => {
  const { digest } = document.querySelector("main").dataset;
  // Browsers give the clipboard only to pages that came by https or from this machine.
  try {
    await navigator.clipboard.writeText(digest);
    byId("copied").textContent = "Copied.";
  } catch {
    byId("digest").querySelector("code").textContent = digest;
    getSelection().selectAllChildren(byId("digest"));
    byId("copied").textContent = "Selected: copy it with Ctrl+C.";
  }
});
