// One question to the server. Whatever goes wrong comes back as a `Refusal` with a sentence for people.

// What is waited when a busy server does not say how long.
const PATIENCE = 2;

// Nobody looks at a countdown for longer: a quota may be used up until tomorrow.
const LONGEST = 120;

const UNREACHABLE = "The server cannot be reached. Is it running, and is this device online?";
const UNREADABLE = "This cannot be read as a file. Is it a folder, or was it changed since you chose it?";

/** `status` is 0 where no answer came, `code` is the server's own, `seconds` when to ask again. */
export class Refusal extends Error {
  constructor(detail, { status = 0, code = "", requestId = "", seconds = PATIENCE } = {}) {
    super(detail);
    Object.assign(this, { status, code, requestId, seconds });
  }

  /** Too much is asked right now; the same question may be answered later. */
  get busy() {
    return (this.status === 503 || this.status === 429) && this.seconds <= LONGEST;
  }

  get wantsKey() {
    return this.status === 401;
  }

  /** Is it worth asking again with the same image? */
  get passing() {
    return this.busy || this.code === "unreachable" || this.status === 408 || this.status >= 500;
  }
}

/** Gives the answer of /predict and the milliseconds until it was there. Throws a `Refusal`. */
export async function predict(url, file, { key, maxBytes, signal }) {
  if (file.size > maxBytes) throw tooLarge(`The image has ${count(file.size)} bytes`, maxBytes);
  await readable(file);
  const form = new FormData();
  form.append("image", file);
  const began = performance.now();
  try {
    const response = await fetch(url, { method: "POST", body: form, headers: key ? { "X-API-Key": key } : {}, signal });
    if (!response.ok) throw await refusal(response, maxBytes);
    return { answer: await response.json(), roundTrip: performance.now() - began };
  } catch (error) {
    throw error instanceof Refusal ? error : new Refusal(UNREACHABLE, { code: "unreachable" });
  }
}

/** A dropped folder looks like a file until it is read, and `fetch` would call it a network error. */
async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refusal(UNREADABLE);
  }
}

async function refusal(response, maxBytes) {
  const { status, headers } = response;
  const seconds = Number(headers.get("Retry-After")) || PATIENCE;
  // A proxy in front may refuse too, with a page of its own.
  if (!headers.get("Content-Type")?.startsWith("application/problem+json")) {
    if (status === 413) return tooLarge("The image is too large for a proxy in front of the server", maxBytes);
    return new Refusal(`Something in front of the server answered with status ${status}.`, { status, seconds });
  }
  const { detail, code, request_id: requestId } = await response.json();
  return new Refusal(detail, { status, code, requestId, seconds });
}

/** In the server's words: it would say the same, after all the bytes were sent. */
function tooLarge(what, maxBytes) {
  const detail = `${what} and ${count(maxBytes)} are allowed. Send a smaller one.`;
  return new Refusal(detail, { status: 413, code: "image_too_large" });
}

const count = (number) => number.toLocaleString("en");
