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

// The deltas of a streamed answer, each with `reason` when the answer is over and `usage` at the end.
export async function* deltas(body, signal) {
  const headers = { "Content-Type": "application/json" };
  const answer = await ask("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
  let held = "";
  for await (const text of pieces(answer.body)) {
    const events = (held + text).split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
      const chunk = JSON.parse(event.slice(6));
      if (chunk.error) throw new ApiError(chunk.error.message, chunk.error);
      yield { ...chunk.choices[0]?.delta, reason: chunk.choices[0]?.finish_reason, usage: chunk.usage };
    }
  }
}

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
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}
