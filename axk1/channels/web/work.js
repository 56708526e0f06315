// Do: a run of an agent. Its steps, its questions and what it wants confirmed are cards; what it makes is downloaded.
import { call, download, events } from "/web/api.js";
import { button, element } from "/web/elements.js";
import { Markdown } from "/web/markdown.js";
import { word } from "/web/words.js";

const ENDED = ["completed", "failed", "cancelled"];
const NOTES = { failed: (run) => ({ kind: "failed", values: [why(run)] }), cancelled: () => ({ kind: "cancelled" }) };
const why = (run) => short(run.steps.findLast((step) => step.type === "refusal")?.content ?? "");
const at = (run, rest = "") => `/v1/agents/runs/${encodeURIComponent(run.id)}${rest}`;

// Starts a run, or goes on with one after what the person said; follows it until it ends or asks. Returns a note.
// before: the message of the same run that asked; input: what is said to it.
export async function write({ messages, message, changed, signal, before, input }) {
  const goal = messages.at(-1).content, language = document.documentElement.lang;
  message.first = before ? before.run.steps.length : 0; // steps that were shown before
  message.run = before
    ? await call(at(before.run, "/input"), { body: input ?? { text: goal }, signal })
    : await call("/v1/agents/runs", { body: { goal, language }, signal });
  changed();
  return follow({ message, changed, signal });
}

// Follows a run that goes on without us.
export async function follow({ message, changed, signal }) {
  while (message.run.status === "running") {
    for await (const { name, data } of events(at(message.run, "/events"), { signal })) {
      if (name === "run") message.run = data;
      else if (data?.number > message.run.steps.length) message.run.steps.push(data);
      changed();
      if (message.run.status !== "running") break;
    }
    message.run = await call(at(message.run), { signal });
  }
  message.content = message.run.answer ?? "";
  changed();
  return NOTES[message.run.status]?.(message.run) ?? null;
}

// Whether the person may say more to a message's run: an answer, or a further wish.
export const waits = (message) => Boolean(message?.run) && message.run.status !== "cancelled";

export const cancel = (run) => call(at(run, "/cancel"), { body: {} });

// Draws what has become of a message into its box. reply(text, input): what the person says to the run.
export function drawing(box, message, reply) {
  const steps = element("ol", "steps"), card = element("div", "card"), text = element("div", "text");
  const files = element("div", "files"), markdown = new Markdown(text);
  let drawn = "";
  box.append(steps, text, card, files);
  return ({ writing }) => {
    const { run } = message;
    box.classList.toggle("waiting", writing);
    if (!run) return;
    const news = run.steps.slice(message.first).filter((step) => SHOWN[step.type]);
    steps.replaceChildren(...news.map(line));
    markdown.draw(message.content);
    const asks = writing ? "" : JSON.stringify([run.question, run.confirmation]);
    if (asks !== drawn) card.replaceChildren(...asking(writing ? {} : run, reply)); // keeps what is being typed
    drawn = asks;
    card.hidden = !card.children.length;
    files.replaceChildren(...(run.files.length && ENDED.includes(run.status) ? made(run) : []));
  };
}

const SHOWN = {
  call: ({ tool, arguments: given }) => [tool, short(given ?? {})],
  result: ({ tool, content }) => [`${tool} ✓`, short(content)],
  refusal: ({ tool, content }) => [`${tool ?? ""} ✗`, short(content)],
};
const short = (value) => {
  const text = plain(value);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
};
// A value without the signs of JSON: its names and values, one behind the other.
const plain = (value) => {
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (value && typeof value === "object") return Object.entries(value).map(([name, inner]) => `${name}: ${plain(inner)}`).join(", ");
  return String(value ?? "");
};

function line(step) {
  const [head, rest] = SHOWN[step.type](step), row = element("li", step.type);
  row.append(element("b", "", head), ` ${rest}`);
  return row;
}

function asking(run, reply) {
  if (run.question) return [question(run.question, reply)];
  if (run.confirmation) return [confirmation(run.confirmation, reply)];
  return [];
}

function question({ slots }, reply) {
  const form = element("form");
  for (const { name, question: asked } of slots) {
    const label = element("label", "", asked), field = element("input");
    field.name = name;
    field.required = true;
    field.autocomplete = "off";
    label.append(field);
    form.append(label);
  }
  const send = button("send", "main");
  send.type = "submit";
  form.append(send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = Object.fromEntries(new FormData(form));
    reply(Object.values(said).join("\n"), { slots: said });
  });
  return form;
}

function confirmation({ call_id: id, preview, expires_at: expires }, reply) {
  const box = element("div"), text = element("div", "text preview"), row = element("div", "ends");
  new Markdown(text).draw(preview);
  const say = (name, confirm) => button(name, confirm ? "main" : "quiet", () => reply(word(name), { confirm, call_id: id }));
  row.append(say("refuse", false), say("agree", true));
  const until = expires && new Date(expires).toLocaleTimeString(document.documentElement.lang, { timeStyle: "short" });
  box.append(element("h2", "", word("confirm")), text, element("p", "note", until ? word("until", until) : ""), row);
  return box;
}

function made(run) {
  const list = element("ul");
  for (const { path, bytes } of run.files) {
    const row = element("li"), get = element("button", "title", path);
    get.type = "button";
    get.addEventListener("click", () => download(at(run, `/files/${path.split("/").map(encodeURIComponent).join("/")}`), path));
    row.append(get, element("span", "place", word("size", Math.ceil(bytes / 1024))));
    list.append(row);
  }
  return [element("h2", "", word("files")), list];
}
