// The public routes of the server that served this page, and its errors in words.

const KEY = "thinkdial.key";

const STATUS_WORDS = {
  401: "The server does not know this API key.",
  403: "This API key may not do that.",
  404: "The server does not know what was asked for.",
  413: "The question is longer than the server takes.",
  429: "This API key has as many requests running as it may.",
  500: "The engine failed.",
  503: "The server is ending, or its queue is full.",
};

// status: of HTTP, 0 where there was no response. param: the request's field that is wrong, if one is.
export class ApiError extends Error {
  constructor(status, message, param = null, retryAfter = null) {
    super(message);
    this.status = status;
    this.param = param;
    this.retryAfter = retryAfter;
  }
}

// sessionStorage only: gone with the tab, never sent anywhere but here.
export const keys = {
  get: () => sessionStorage.getItem(KEY),
  set: (key) => sessionStorage.setItem(KEY, key),
  forget: () => sessionStorage.removeItem(KEY),
};

async function request(path, options = {}) {
  const key = keys.get();
  const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

async function errorOf(response) {
  const text = await response.text();
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // A proxy's page, say: the status must do.
  }
  const words = STATUS_WORDS[response.status] ?? `The server answered with status ${response.status}.`;
  const message = error.message ? `${words} It says: ${error.message}` : words;
  const plain = response.status === 400 && error.message ? error.message : message;
  return new ApiError(response.status, plain, error.param, response.headers.get("retry-after"));
}

export const getJson = async (path) => (await request(path)).json();

// As getJson, but null where the server has nothing there.
export async function getIfThere(path) {
  try {
    return await getJson(path);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

const post = (path, body, signal) =>
  request(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

// How many choices were still thinking.
export async function answerNow(thinkingId) {
  const response = await post(`v1/thinking/${encodeURIComponent(thinkingId)}/stop`, {});
  return (await response.json()).stopping;
}

// The chunks of a streamed chat completion.
export async function* chat(body, signal) {
  const response = await post("v1/chat/completions", body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await readOn(reader);
    if (done) throw new ApiError(0, "The connection ended before the reply did.");
    held += value;
    const events = held.split(/\r?\n\r?\n/);
    held = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: ?/, "");
      if (data === "[DONE]") return;
      if (!event.startsWith("data:")) continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(chunk.error.code ?? 500, chunk.error.message, chunk.error.param);
      yield chunk;
    }
  }
}

async function readOn(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The connection broke before the reply ended.");
  }
}
