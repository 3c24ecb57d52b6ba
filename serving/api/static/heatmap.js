// Draws over the preview which places of the image speak for the class, and says it in words.

const byId = (id) => document.getElementById(id);

// Maps with fewer places in a direction show next to nothing; occlusion gives a finer one.
export const MIN_PLACES = 4;

// The longer side of the canvas in pixels, whatever the size of the image.
const CANVAS = 480;

// The colours of the picture that the server draws (serving/explanation/heatmap.py): from yellow to magenta, and
// more opaque with more evidence.
const LITTLE = [255, 230, 0];
const MUCH = [214, 0, 140];
const OPACITY = 0.7;

// The thirds of the picture; the middle ones are named only together.
const ROWS = ["top", "", "bottom"];
const COLUMNS = ["left", "", "right"];

// The answer of /explain for the current image, once it has been asked for.
let current = null;
let visible = false;

export function working() {
  byId("explanation").textContent = "Computing the heatmap …";
  // Not `disabled`, which would take the keyboard focus away.
  byId("explain").setAttribute("aria-disabled", "true");
}

/** Forgets the heatmap of the previous image. */
export function clear() {
  if (!byId("explain")) return;
  current = null;
  hide();
}

/** Hides the heatmap or shows it again; false if there is none for this image yet. */
export function toggle() {
  if (byId("explain").getAttribute("aria-disabled") === "true") return true;
  if (current === null) return false;
  if (visible) hide();
  else show(current);
  return true;
}

function hide() {
  byId("heat").hidden = true;
  byId("explanation").textContent = "";
  label(false);
}

/** Shows the answer of /explain over the preview, or only in words if the browser cannot show the image. */
export function show(answer) {
  current = answer;
  const { label: name, values, box, width, height } = answer;
  const strengths = normalise(values);
  const strongest = Math.max(...values.flat());
  byId("explanation").textContent =
    strengths.some((strength) => strength > 0)
      ? `Most of what speaks for ${name} is at the ${place(values, strongest)} of the part that the model sees.`
      : `Nothing in the picture speaks for ${name} in particular.`;
  draw(byId("heat"), values, strengths, box, width, height);
  byId("heat").setAttribute("aria-label", `Heatmap. ${byId("explanation").textContent}`);
  byId("heat").hidden = byId("preview").hidden;
  label(true);
}

export function refused(refusal) {
  byId("explanation").textContent = `That did not work. ${refusal.message}`;
  label(false);
}

function label(isShown) {
  visible = isShown;
  byId("explain").removeAttribute("aria-disabled");
  byId("explain").textContent = isShown ? "Hide heatmap" : "Show heatmap";
}

/** "top left", "top", "centre", ... of the place with the most evidence. */
function place(values, strongest) {
  const row = values.findIndex((line) => line.includes(strongest));
  const third = (index, count) => Math.floor((3 * (index + 0.5)) / count);
  const words = [ROWS[third(row, values.length)], COLUMNS[third(values[row].indexOf(strongest), values[row].length)]];
  return words.filter(Boolean).join(" ") || "centre";
}

/** From 0 (the least, or against the class) to 1 (the most), as the server's picture has it. */
function normalise(values) {
  const least = Math.max(0, Math.min(...values.flat()));
  const range = Math.max(...values.flat()) - least;
  return values.flat().map((value) => (range > 0 ? Math.max(value - least, 0) / range : 0));
}

function draw(canvas, values, strengths, box, width, height) {
  const scale = CANVAS / Math.max(width, height);
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const grid = document.createElement("canvas");
  [grid.width, grid.height] = [values[0].length, values.length];
  const pixels = new ImageData(grid.width, grid.height);
  strengths.forEach((strength, index) => pixels.data.set(colour(strength), 4 * index));
  grid.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(grid, box.left * scale, box.top * scale, box.width * scale, box.height * scale);
  context.strokeStyle = "rgb(214 0 140)";
  context.strokeRect(box.left * scale, box.top * scale, box.width * scale, box.height * scale);
}

/** Red, green, blue and opacity, 0 to 255, of a strength from 0 to 1. */
function colour(strength) {
  const mixed = LITTLE.map((little, index) => little + (MUCH[index] - little) * strength);
  return [...mixed, 255 * OPACITY * strength];
}
