// The page at `/`: takes an image (file dialog, camera, drop or paste), sends it and shows the prediction.

import { Refusal, send } from "./ask.js";
import * as heatmap from "./heatmap.js";
import * as view from "./view.js";

const { byId } = view;
const { predict: url, explain: explainUrl, maxImage } = document.querySelector("main").dataset;

// Automatic retries while the server is busy; after that there is a button.
const RETRIES = 3;

let current = new AbortController();
let currentFile = null;
let apiKey = "";

/** Classifies an image. A request for an earlier image is cancelled. */
async function ask(file) {
  current.abort();
  current = new AbortController();
  currentFile = file;
  const { signal } = current;
  heatmap.clear();
  for (let attempt = 1; ; attempt++) {
    view.working();
    try {
      const { answer, roundTrip } = await send(url, file, options(signal));
      if (!signal.aborted) view.answer(answer, roundTrip);
      return;
    } catch (refusal) {
      if (signal.aborted) return;
      if (!(refusal instanceof Refusal)) throw refusal;
      if (!refusal.busy || attempt > RETRIES) return showRefusal(refusal);
      const retry = await view.countdown(refusal, `${attempt} of ${RETRIES}`, signal);
      if (signal.aborted) return;
      if (!retry) return view.nothing();
    }
  }
}

const options = (signal) => ({ key: apiKey, maxBytes: Number(maxImage), signal });

/** Asks for the heatmap of the best class and shows it; a request for another image cancels it. */
async function explain() {
  const { signal } = current;
  heatmap.working();
  try {
    let { answer } = await send(explainUrl, currentFile, options(signal));
    if (answer.values.length < heatmap.MIN_PLACES) {
      ({ answer } = await send(`${explainUrl}${explainUrl.includes("?") ? "&" : "?"}method=occlusion`, currentFile, options(signal)));
    }
    if (!signal.aborted) heatmap.show(answer);
  } catch (refusal) {
    if (signal.aborted) return;
    if (!(refusal instanceof Refusal)) throw refusal;
    heatmap.refused(refusal);
  }
}

function showRefusal(refusal) {
  if (refusal.needsKey && byId("key")) {
    view.askForKey(apiKey && refusal);
    apiKey = "";
    return;
  }
  const title = refusal.busy ? "The server is still busy." : refusal.retryable ? "That did not work." : "The image was refused.";
  view.refused(refusal, title, refusal.retryable ? () => ask(currentFile) : undefined);
}

function take(files) {
  view.preview(files[0], files.length - 1);
  ask(files[0]);
}

for (const input of [byId("file"), byId("camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) take([...input.files]);
    // Otherwise choosing the same file again would not fire a change event.
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
  // The event also fires between two elements of the page; relatedTarget is null only when leaving it.
  if (!event.relatedTarget) dragging(false);
});
addEventListener("drop", (event) => {
  event.preventDefault();
  dragging(false);
  const files = [...event.dataTransfer.files];
  if (files.length) return take(files);
  view.refused(new Refusal("What was dropped is a link or a text. Save the image first, then drop the file."), "There is no file in what was dropped.");
});

byId("key")?.addEventListener("submit", (event) => {
  event.preventDefault();
  apiKey = byId("key-value").value;
  byId("key-value").value = "";
  ask(currentFile);
});

byId("explain")?.addEventListener("click", () => heatmap.toggle() || explain());

byId("copy").addEventListener("click", async () => {
  const { digest } = document.querySelector("main").dataset;
  // Browsers allow clipboard access only on https pages and on localhost.
  try {
    await navigator.clipboard.writeText(digest);
    byId("copied").textContent = "Copied.";
  } catch {
    byId("digest").querySelector("code").textContent = digest;
    getSelection().selectAllChildren(byId("digest"));
    byId("copied").textContent = "Selected: copy it with Ctrl+C.";
  }
});
