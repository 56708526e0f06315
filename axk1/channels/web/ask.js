// Ask: answers out of documents, every sentence with its sources, which open at the passage.
import { ApiError, call, events } from "/web/api.js";
import { element } from "/web/elements.js";
import { word } from "/web/words.js";

const STEPS = ["rewrite", "search", "read", "write", "check"];
const named = ({ step }) => (STEPS.includes(step) ? word(step) : step);
const find = (id) => document.getElementById(id);

// Fills a message with steps, then the answer; returns its note.
export async function write({ messages, message, changed, signal }) {
  message.steps = [];
  for await (const { name, data } of events("/v1/answers", { body: { messages, stream: true }, signal })) {
    if (name === "error") throw new ApiError(data.error.message, data.error);
    if (name === "step") message.steps.push(data);
    if (name === "answer") Object.assign(message, { answer: data, content: data.answer });
    changed();
  }
  return message.answer ? null : { kind: "lost" };
}

// Draws what has become of a message into its box.
export function drawing(box, message) {
  const steps = element("details", "thought"), summary = element("summary"), list = element("ol", "steps");
  const text = element("div", "text answer"), sources = element("div", "sources"), struck = element("details", "thought");
  steps.append(summary, list);
  box.append(steps, text, sources, struck);
  return ({ writing }) => {
    const last = message.steps?.at(-1);
    steps.hidden = !last;
    summary.textContent = !last ? "" : writing ? named(last) : word("howFound", message.steps.length);
    list.replaceChildren(...(message.steps ?? []).map((step) => element("li", "", `${named(step)}: ${step.detail}`)));
    text.replaceChildren(...sentences(message.answer));
    sources.replaceChildren(...cited(message.answer));
    struck.hidden = !message.answer?.struck.length;
    struck.replaceChildren(element("summary", "", word("struck", message.answer?.struck.length ?? 0)));
    for (const { text: said, reason } of message.answer?.struck ?? []) {
      struck.append(element("p", "", `${said} (${reason})`));
    }
    box.classList.toggle("waiting", writing && !last);
    box.classList.toggle("thinking", writing && Boolean(last));
  };
}

function sentences(answer) {
  if (!answer) return [];
  if (answer.refused) return [element("p", "", answer.answer)];
  const line = element("p");
  for (const sentence of answer.sentences) {
    line.append(sentence.text);
    for (const number of sentence.citations) line.append(citation(answer, number, sentence));
    line.append(" ");
  }
  return [line];
}

function citation(answer, number, sentence) {
  const source = answer.sources.find((one) => one.number === number);
  const mark = element("button", "citation", String(number));
  mark.type = "button";
  mark.title = mark.ariaLabel = word("source", number, source?.title ?? "");
  mark.addEventListener("click", () => openSource(source, sentence.evidence.filter((one) => one.source === number)));
  return mark;
}

function cited(answer) {
  if (!answer?.sources.length) return [];
  const list = element("ol");
  for (const source of answer.sources) {
    const row = element("li"), title = element("button", "title", `${source.number}. ${source.title || source.document}`);
    title.type = "button";
    const evidence = answer.sentences.flatMap((one) => one.evidence).filter((one) => one.source === source.number);
    title.addEventListener("click", () => openSource(source, evidence));
    row.append(title, element("span", "place", place(source)));
    list.append(row);
  }
  return [element("h2", "", word("sources")), list];
}

const place = ({ section, page, date }) => [section, page && word("page", page), date].filter(Boolean).join(" · ");

// Shows a passage where it stands in its document, with what carries the sentence marked.
async function openSource(source, evidence) {
  const dialog = find("source-menu"), text = find("source-text");
  find("source-title").textContent = source.title || source.document;
  find("source-place").textContent = [source.document, place(source)].filter(Boolean).join(" · ");
  text.replaceChildren(...marked(source, evidence));
  dialog.showModal();
  dialog.querySelector("mark")?.scrollIntoView({ block: "center" });
  try {
    const around = await call(`/v1/passages/${encodeURIComponent(source.id)}`);
    text.prepend(element("span", "around", around.before));
    text.append(element("span", "around", around.after));
    dialog.querySelector("mark")?.scrollIntoView({ block: "center" });
  } catch { /* the passage itself came with the answer */ }
}

function marked({ text, start }, evidence) {
  const parts = [], ranges = evidence.map((one) => [one.start - start, one.end - start]).sort(([one], [other]) => one - other);
  let at = 0;
  for (const [first, last] of ranges.length ? ranges : [[0, text.length]]) {
    if (first < at || last > text.length) continue;
    parts.push(text.slice(at, first), element("mark", "", text.slice(first, last)));
    at = last;
  }
  return [...parts, text.slice(at)];
}
