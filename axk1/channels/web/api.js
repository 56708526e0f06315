// OpenAI's API of the server that this page came from.
import { settings } from "/web/store.js";

// An answer of the server that is an error. retryAfter: seconds after which to come again, if it says so.
export class ApiError extends Error {
  constructor(message, { status = 0, code = null, retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

// The names of the models.
export async function models() {
  const answer = await ask("/v1/models", {});
  return (await answer.json()).data.map((model) => model.id);
}

// What the server can do beside chatting: "ask" (documents) and "do" (agents).
export async function offers() {
  const page = await (await ask("/openapi.json", {})).json();
  return ["chat", "/v1/answers" in page.paths && "ask", "/v1/agents/runs" in page.paths && "do"].filter(Boolean);
}

// The JSON of a route; with a body it is posted.
export async function call(path, { body, signal } = {}) {
  return (await ask(path, { ...posted(body), signal })).json();
}

// Saves what a route sends as a file.
export async function download(path, name) {
  const address = URL.createObjectURL(await (await ask(path, {})).blob());
  const link = Object.assign(document.createElement("a"), { href: address, download: name.split("/").at(-1) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser may still be reading
}

// The deltas of a streamed answer, each with `reason` when the answer is over and `usage` at the end.
export async function* deltas(body, signal) {
  for await (const { data: chunk } of events("/v1/chat/completions", { body, signal })) {
    if (chunk.error) throw new ApiError(chunk.error.message, chunk.error);
    yield { ...chunk.choices[0]?.delta, reason: chunk.choices[0]?.finish_reason, usage: chunk.usage };
  }
}

// The events of a stream: each one's name and its JSON.
export async function* events(path, { body, signal }) {
  const answer = await ask(path, { ...posted(body), signal });
  let held = "";
  for await (const text of pieces(answer.body)) {
    const found = (held + text).split("\n\n");
    held = found.pop();
    for (const event of found) {
      const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: ?(.*)/s)));
      if (fields.data && fields.data !== "[DONE]") yield { name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

const posted = (body) => body && {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
};

async function ask(path, options) {
  const headers = { ...options.headers, ...(settings.key && { Authorization: `Bearer ${settings.key}` }) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null); // something between here and the server may answer in HTML
  throw new ApiError(body?.error?.message ?? `${answer.status} ${answer.statusText}`, {
    status: answer.status, code: body?.error?.code, retryAfter: Number(answer.headers.get("Retry-After")) || 0,
  });
}

async function* pieces(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {}); // whoever stops listening hangs up
  }
}
