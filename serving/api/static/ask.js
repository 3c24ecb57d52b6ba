// Sends an image to /predict or /explain. Every failure is thrown as a `Refusal` with a sentence for people.

// Seconds to wait if a busy server sends no Retry-After.
const DEFAULT_WAIT = 2;

// Longest countdown, in seconds: a used-up quota may last until the next day.
const MAX_WAIT = 120;

const UNREACHABLE = "The server cannot be reached. Is it running, and is this device online?";
const UNREADABLE = "This cannot be read as a file. Is it a folder, or was it changed since you chose it?";

/** `status` is 0 without a response, `code` is the server's error code, `seconds` the time until a retry. */
export class Refusal extends Error {
  constructor(detail, { status = 0, code = "", requestId = "", seconds = DEFAULT_WAIT } = {}) {
    super(detail);
    Object.assign(this, { status, code, requestId, seconds });
  }

  /** Is the server overloaded or a limit reached, so that the same request may succeed later? */
  get busy() {
    return (this.status === 503 || this.status === 429) && this.seconds <= MAX_WAIT;
  }

  get needsKey() {
    return this.status === 401;
  }

  /** Is it worth trying again with the same image? */
  get retryable() {
    return this.busy || this.code === "unreachable" || this.status === 408 || this.status >= 500;
  }
}

/** The JSON response to an image, and the milliseconds until it arrived. Throws a `Refusal`. */
export async function send(url, file, { key, maxBytes, signal }) {
  if (file.size > maxBytes) throw tooLarge(`The image has ${count(file.size)} bytes`, maxBytes);
  await checkReadable(file);
  const form = new FormData();
  form.append("image", file);
  const began = performance.now();
  const headers = { Accept: "application/json", ...(key && { "X-API-Key": key }) };
  try {
    const response = await fetch(url, { method: "POST", body: form, headers, signal });
    if (!response.ok) throw await refusal(response, maxBytes);
    return { answer: await response.json(), roundTrip: performance.now() - began };
  } catch (error) {
    throw error instanceof Refusal ? error : new Refusal(UNREACHABLE, { code: "unreachable" });
  }
}

/** A dropped folder looks like a file until it is read; `fetch` would report a network error for it. */
async function checkReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refusal(UNREADABLE);
  }
}

async function refusal(response, maxBytes) {
  const { status, headers } = response;
  const seconds = Number(headers.get("Retry-After")) || DEFAULT_WAIT;
  // A proxy in front of the server may also return an error, as a page of its own.
  if (!headers.get("Content-Type")?.startsWith("application/problem+json")) {
    if (status === 413) return tooLarge("The image is too large for a proxy in front of the server", maxBytes);
    return new Refusal(`A proxy in front of the server answered with status ${status}.`, { status, seconds });
  }
  const { detail, code, request_id: requestId } = await response.json();
  return new Refusal(detail, { status, code, requestId, seconds });
}

/** The server's own error, without sending all the bytes first. */
function tooLarge(what, maxBytes) {
  const detail = `${what} and ${count(maxBytes)} are allowed. Send a smaller one.`;
  return new Refusal(detail, { status: 413, code: "image_too_large" });
}

const count = (number) => number.toLocaleString("en");
