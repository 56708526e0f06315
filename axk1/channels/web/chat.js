// One conversation with the server that this page came from, over OpenAI's chat completions.
import { WORDS } from "/web/words.js";

const find = (id) => document.getElementById(id);
const messages = [];
let language = localStorage.language ?? (navigator.language.startsWith("ko") ? "ko" : "en");
let running = null; // the AbortController of the answer that is being written

// The deltas of a streamed answer, and its usage at the end.
async function* deltas(body, signal) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  let held = "";
  for await (const text of pieces(answer.body)) {
    const events = (held + text).split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
      const chunk = JSON.parse(event.slice(6));
      if (chunk.error) throw new Error(chunk.error.message);
      yield { ...chunk.choices[0]?.delta, reason: chunk.choices[0]?.finish_reason, usage: chunk.usage };
    }
  }
}

async function* pieces(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

// An answer on the page: its reasoning folded, its text, and a note below.
function openAnswer() {
  const box = show("assistant", "");
  const thought = document.createElement("details");
  const summary = thought.appendChild(document.createElement("summary"));
  const reasoning = thought.appendChild(document.createElement("div"));
  const content = document.createElement("div");
  const note = document.createElement("div");
  thought.hidden = true;
  note.className = "note";
  box.append(thought, content, note);
  return { thought, summary, reasoning, content, note };
}

function show(role, text) {
  const box = document.createElement("article");
  box.className = role;
  box.textContent = text; // never as HTML
  find("conversation").append(box);
  box.scrollIntoView({ block: "end" });
  return box;
}

async function answer() {
  const words = WORDS[language], box = openAnswer(), began = performance.now();
  const mine = new AbortController();
  running = mine;
  update();
  const body = {
    messages, stream: true, stream_options: { include_usage: true },
    chat_template_kwargs: { enable_thinking: find("think").checked },
  };
  try {
    for await (const delta of deltas(body, mine.signal)) {
      mine.signal.throwIfAborted(); // what came before the click but was not shown yet stays unshown
      if (delta.reasoning_content) {
        box.thought.hidden = false;
        box.summary.textContent = words.thinking;
        box.reasoning.append(delta.reasoning_content);
      }
      if (delta.content) box.content.append(delta.content);
      if (delta.reason === "length") box.note.textContent = words.cut;
      const seconds = (performance.now() - began) / 1000;
      if (delta.usage) find("status").textContent = words.tokens(delta.usage.completion_tokens, seconds);
      follow();
    }
  } catch (error) {
    box.note.textContent = error.name === "AbortError" ? words.stopped : words.failed(error.message);
  }
  if (running !== mine) return; // a new conversation has begun
  box.summary.textContent = words.thought;
  messages.push({ role: "assistant", content: box.content.textContent });
  running = null;
  update();
}

// Keeps the end in sight, unless the reader has scrolled up; once a frame, since each look lays the page out anew.
let following = false;
function follow() {
  if (following) return;
  following = true;
  requestAnimationFrame(() => {
    following = false;
    const page = find("conversation");
    if (page.scrollHeight - page.scrollTop - page.clientHeight < 120) page.scrollTop = page.scrollHeight;
  });
}

function send() {
  const text = find("message").value.trim();
  if (!text || running) return;
  find("message").value = "";
  messages.push({ role: "user", content: text });
  show("user", text);
  answer();
}

function regenerate() {
  if (running || messages.at(-1)?.role !== "assistant") return;
  messages.pop();
  find("conversation").lastElementChild.remove();
  answer();
}

function startAnew() {
  const old = running;
  running = null;
  old?.abort();
  messages.length = 0;
  find("conversation").replaceChildren();
  find("status").textContent = "";
  update();
}

function update() {
  find("stop").hidden = !running;
  find("send").hidden = Boolean(running);
  find("again").hidden = Boolean(running) || messages.at(-1)?.role !== "assistant";
}

function speak() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = WORDS[language][element.dataset.word];
  }
  find("message").placeholder = WORDS[language][find("message").dataset.placeholder];
}

find("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
find("message").addEventListener("keydown", (event) => {
  // While a Korean syllable is being composed, Enter belongs to the input method.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
find("stop").addEventListener("click", () => running?.abort());
find("again").addEventListener("click", regenerate);
find("new").addEventListener("click", startAnew);
find("language").addEventListener("click", () => {
  localStorage.language = language = language === "ko" ? "en" : "ko";
  speak();
});
find("theme").addEventListener("click", () => {
  const root = document.documentElement.dataset;
  const dark = root.theme ? root.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  localStorage.theme = root.theme = dark ? "light" : "dark";
});
if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
speak();
update();
find("model").textContent = (await (await fetch("/v1/models")).json()).data[0].id;
