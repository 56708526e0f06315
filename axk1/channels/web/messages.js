// Messages on the page. A message: role, content, and of an answer mode, note, and what its mode adds; of one in a chat
// reasoning, thought (seconds) and usage.
import * as asking from "/web/ask.js";
import { element } from "/web/elements.js";
import { listen } from "/web/keys.js";
import { Markdown } from "/web/markdown.js";
import * as working from "/web/work.js";
import { translate, word } from "/web/words.js";

const DRAWINGS = { ask: asking.drawing, do: working.drawing };

// A message as an article; `draw` shows what has become of it since. reply: what a card of the message says for the person.
export function article(message, reply) {
  const box = element("article", message.role === "user" ? "user" : "assistant");
  box.dataset.label = message.role === "user" ? "question" : "answer";
  const draw = message.role === "user" ? question(box, message) : answer(box, message, reply);
  const shell = element("div");
  shell.append(box);
  translate(shell); // the article's own name too
  draw({ writing: false });
  return { box, draw };
}

function question(box, message) {
  const text = element("div", "text");
  box.append(text, toolbar("edit", "copy"));
  return () => { text.textContent = message.content; };
}

function answer(box, message, reply) {
  const draw = (DRAWINGS[message.mode] ?? chatting)(box, message, reply), note = element("p", "note");
  box.append(note, toolbar("copy", ...(message.mode === "do" ? [] : ["again"])));
  return (state) => {
    draw(state);
    note.textContent = message.waits ? word("busy", message.waits) : state.writing ? "" : remarks(message);
    box.classList.toggle("writing", state.writing);
  };
}

function chatting(box, message) {
  const thought = element("details", "thought"), summary = element("summary"), reasoning = element("div");
  const text = element("div", "text"), markdown = new Markdown(text);
  thought.append(summary, reasoning);
  box.append(thought, text);
  return ({ writing }) => {
    const thinking = writing && !message.content && Boolean(message.reasoning);
    thought.hidden = !message.reasoning;
    summary.textContent = thinking ? word("thinking") : thoughtFor(message.thought);
    reasoning.append(message.reasoning.slice(reasoning.textContent.length));
    markdown.draw(message.content);
    box.classList.toggle("waiting", writing && !message.content && !message.reasoning);
    box.classList.toggle("thinking", thinking);
  };
}

const thoughtFor = (seconds) => (seconds ? word("thought", seconds) : word("thoughtBriefly"));

// What is said below an answer: why it ended, and its cost.
function remarks({ note, usage }) {
  const cost = usage && word("tokens", usage.tokens, (usage.tokens / usage.seconds).toFixed(0));
  return [note && word(note.kind, ...(note.values ?? [])), cost].filter(Boolean).join(" · ");
}

function toolbar(...names) {
  const bar = element("div", "tools");
  for (const name of names) {
    const button = bar.appendChild(element("button", `quiet ${name}`));
    button.type = "button";
    button.dataset.word = name;
  }
  return bar;
}

// Puts a field in place of a question. Calls `send` with the new text, unless it is cancelled.
export function edit(box, text, send) {
  const form = element("form", "editor"), field = element("textarea"), bar = element("div", "tools");
  const close = () => { form.remove(); box.classList.remove("editing"); };
  const submit = () => { if (field.value.trim()) { close(); send(field.value.trim()); } };
  const cancel = () => { close(); box.querySelector(".edit").focus(); };
  field.value = text;
  field.dataset.label = "question";
  for (const [name, act] of [["cancel", cancel], ["send", submit]]) {
    const button = bar.appendChild(element("button", name === "send" ? "main" : "quiet"));
    button.type = "button";
    button.dataset.word = name;
    button.addEventListener("click", act);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.append(field, bar);
  translate(form);
  listen(field, { send: submit, cancel });
  box.classList.add("editing");
  box.append(form);
  field.focus();
}

// Puts text on the clipboard; the older way where the page came over plain HTTP from another machine.
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.body.appendChild(element("textarea", "unseen"));
  field.value = text;
  field.select();
  document.execCommand("copy");
  field.remove();
}
