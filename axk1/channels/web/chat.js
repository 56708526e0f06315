// One conversation with the server that this page came from: chatting, asking its documents, or having work done.
import { deltas, models, offers } from "/web/api.js";
import * as asking from "/web/ask.js";
import { composing, focus, listen } from "/web/keys.js";
import { openChats, openSettings } from "/web/menus.js";
import { article, copy, edit } from "/web/messages.js";
import { lastChat, newChat, remove, save, settings, show } from "/web/store.js";
import { speak, translate, word } from "/web/words.js";
import * as working from "/web/work.js";

const find = (id) => document.getElementById(id);
const page = find("page"), conversation = find("conversation"), field = find("message");
const TRIES = 5; // times that a busy server is asked again
let chat = lastChat();
let running = null; // the AbortController of the answer that is being written

const WRITERS = { chat: write, ask: asking.write, do: working.write };

// Writes the answer to the last message. more: for a run of an agent, `before` and `input` of what it asked.
async function answer(more = {}) {
  const mode = more.before ? "do" : chosenMode();
  const message = { role: "assistant", mode, content: "", reasoning: "", note: { kind: "stopped" } }; // until it has ended
  const messages = chat.messages.map(({ role, content }) => ({ role, content }));
  chat.messages.push(message);
  await fill(message, WRITERS[mode], { messages, ...more });
}

async function fill(message, writer, options) {
  const home = chat, mine = new AbortController();
  running = mine;
  const { box, draw } = shown(message);
  const painter = eachFrame(() => { draw({ writing: true }); follow(); });
  keep(home);
  update();
  say(word("writing"));
  try {
    message.note = await writer({ ...options, message, changed: painter.ask, signal: mine.signal });
  } catch (error) {
    message.note = noteOf(error, message.content + message.reasoning);
  }
  painter.stop();
  delete message.waits;
  draw({ writing: false });
  keep(home);
  if (running !== mine) return; // another conversation is on the page
  running = null;
  update();
  follow();
  say([".text", ".card", ".note"].map((part) => box.querySelector(part)?.innerText ?? "").join(" "));
  if (message.note?.kind === "keyWanted") askForKey();
}

// Fills a message as its text arrives; returns its note.
async function write({ messages, message, changed, signal }) {
  const began = performance.now(), seconds = () => (performance.now() - began) / 1000;
  const body = {
    messages, stream: true, stream_options: { include_usage: true },
    chat_template_kwargs: { enable_thinking: find("think").checked },
    ...(settings.model && { model: settings.model }),
  };
  let reason = null;
  for await (const delta of patient(body, message, changed, signal)) {
    signal.throwIfAborted(); // what came before the click but was not shown yet stays unshown
    if (delta.reasoning_content) message.thought = Math.round(seconds());
    message.reasoning += delta.reasoning_content ?? "";
    message.content += delta.content ?? "";
    reason = delta.reason ?? reason;
    if (delta.usage) message.usage = { tokens: delta.usage.completion_tokens, seconds: seconds() };
    changed();
  }
  return reason === "length" ? { kind: "cut" } : reason === null ? { kind: "lost" } : null;
}

// The deltas; where the server is busy and says when to come again, it is asked again then.
async function* patient(body, message, changed, signal) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return yield* deltas(body, signal);
    } catch (error) {
      if (error.status !== 429 || !error.retryAfter || left === 0) throw error;
      for (message.waits = error.retryAfter; message.waits > 0; message.waits -= 1) {
        changed();
        await second(signal);
      }
      changed();
    }
  }
}

function second(signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

// The sentence below an answer that has failed. begun: the text that had come.
function noteOf(error, begun) {
  if (error.name === "AbortError") return { kind: "stopped" };
  if (error instanceof TypeError) return { kind: begun ? "lost" : "unreachable" }; // fetch's way to say so
  if (error.status === 401) return { kind: "keyWanted" };
  if (error.code === "context_length_exceeded") return { kind: "tooLong" };
  return { kind: "failed", values: [error.message] };
}

// Runs something at most once a frame, since each time lays the page out anew.
function eachFrame(act) {
  let frame = 0;
  return {
    ask: () => { frame ||= requestAnimationFrame(() => { frame = 0; act(); }); },
    stop: () => cancelAnimationFrame(frame),
  };
}

function add(message) {
  const made = article(message, (text, input) => ask(text, input));
  conversation.append(made.box);
  return made;
}

// A message's article: a new one, or in place of the one that shows how it was left.
function shown(message) {
  const old = conversation.children[chat.messages.indexOf(message)], made = add(message);
  old?.replaceWith(made.box);
  return made;
}

// Sends a message. input: what it says to a run of an agent that has asked, where it is more than the text.
function ask(text, input) {
  if (!text || running) return false;
  const before = chat.messages.at(-1);
  chat.messages.push({ role: "user", content: text });
  add(chat.messages.at(-1));
  atEnd = true;
  answer(working.waits(before) ? { before, input } : {});
  follow();
  return true;
}

// Goes on showing a run that went on while the page was away.
function resume() {
  const message = chat.messages.at(-1);
  if (message?.run?.status === "running") fill(message, working.follow, {});
}

const chosenMode = () => document.querySelector("input[name=mode]:checked")?.value ?? "chat";

// The modes that the server has; the choice is shown where there is more than one.
async function showModes() {
  const modes = await offers().catch(() => ["chat"]);
  for (const input of document.querySelectorAll("input[name=mode]")) {
    input.closest("label").hidden = !modes.includes(input.value);
    input.checked = input.value === (modes.includes(settings.mode) ? settings.mode : "chat");
  }
  find("modes").hidden = modes.length < 2;
  showMode();
}

const PLACEHOLDERS = { chat: "placeholder-chat", ask: "placeholder-ask", do: "placeholder-do" };

function showMode() {
  const mode = chosenMode();
  field.dataset.placeholder = field.dataset.label = PLACEHOLDERS[mode];
  find("think").closest("label").hidden = mode !== "chat";
  translate(find("form"));
}

// Takes back the messages from a place on.
function cutAt(place) {
  chat.messages.length = place;
  while (conversation.children.length > place) conversation.lastElementChild.remove();
}

function regenerate() {
  if (running || chat.messages.at(-1)?.role !== "assistant") return;
  cutAt(chat.messages.length - 1);
  answer();
  focus(field);
}

// Puts another chat on the page.
function open(other) {
  const old = running;
  running = null;
  old?.abort();
  chat = other;
  show(chat);
  conversation.replaceChildren();
  chat.messages.forEach(add);
  say("");
  update();
  atEnd = true;
  follow();
  focus(field);
  resume();
}

function keep(one) {
  find("warning").textContent = save(one) ? "" : word("notSaved");
}

const say = (text) => { find("announce").textContent = text; };

// Keeps the end in sight, unless the reader has scrolled up.
let atEnd = true;
function follow() {
  if (atEnd) page.scrollTop = page.scrollHeight;
  else noticeEnd();
}

function noticeEnd() {
  atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 48;
  find("to-end").hidden = atEnd;
}

function update() {
  document.body.classList.toggle("busy", Boolean(running));
  find("stop").hidden = !running;
  find("send").hidden = Boolean(running);
  find("welcome").hidden = chat.messages.length > 0;
}

function redraw() {
  conversation.replaceChildren();
  chat.messages.forEach(add);
  if (find("model").dataset.word) find("model").textContent = word("unreachable");
}

function askForKey() {
  const closed = (changed) => {
    if (!changed) return;
    showModes();
    if (chat.messages.at(-1)?.note?.kind === "keyWanted") regenerate();
    else showModels();
  };
  openSettings({ wanted: true, changed: redraw, closed });
}

// The names of the models; one to choose where there are several.
async function showModels() {
  let names;
  try {
    names = await models();
  } catch (error) {
    if (error.status === 401) askForKey();
    return;
  }
  const chosen = names.includes(settings.model) ? settings.model : names[0];
  find("model").textContent = chosen;
  find("model").hidden = names.length > 1;
  find("models").hidden = names.length < 2;
  find("models").replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
}

async function pressed(event) {
  const button = event.target.closest("button"), box = event.target.closest("article");
  if (!button || !box) return;
  const place = [...conversation.children].indexOf(box), message = chat.messages[place];
  if (button.matches(".again")) regenerate();
  if (button.matches(".edit")) edit(box, message.content, (text) => { cutAt(place); ask(text); focus(field); });
  if (!button.matches(".copy")) return;
  await copy(button.closest(".code")?.querySelector("code").textContent ?? message.content);
  button.textContent = word("copied");
  say(word("copied"));
  setTimeout(() => { button.textContent = word("copy"); }, 1500);
}

function send() {
  if (!ask(field.value.trim())) return;
  field.value = "";
  focus(field);
}

function stop() {
  const { run } = chat.messages.at(-1) ?? {};
  if (running && run) working.cancel(run).catch(() => {}); // leaving the page lets a run go on; stopping it does not
  running?.abort();
  focus(field);
}

find("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
listen(field, { send });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !composing(event) && !document.querySelector("dialog[open]")) stop();
});
conversation.addEventListener("click", pressed);
page.addEventListener("scroll", noticeEnd, { passive: true });
find("to-end").addEventListener("click", () => { atEnd = true; follow(); });
find("stop").addEventListener("click", stop);
find("new").addEventListener("click", () => open(newChat()));
find("chats").addEventListener("click", () => openChats(chat, {
  open, removed: (gone) => { if (gone.id === chat.id) { remove(chat); open(newChat()); } },
}));
find("settings").addEventListener("click", () => openSettings({
  changed: () => { if (!running) redraw(); }, closed: (changed) => { if (changed) showModels(); },
}));
find("models").addEventListener("change", () => { settings.model = find("models").value; });
find("think").checked = settings.think === "yes";
find("think").addEventListener("change", () => { settings.think = find("think").checked ? "yes" : ""; });
find("modes").addEventListener("change", () => { settings.mode = chosenMode(); showMode(); focus(field); });
addEventListener("pagehide", () => {
  if (!running) return;
  running.abort();
  save(chat);
});

speak(settings.language);
open(chat);
showModels();
showModes();
const worker = globalThis.trustedTypes?.createPolicy("worker", { createScriptURL: () => "/web/worker.js" });
navigator.serviceWorker?.register(worker?.createScriptURL("") ?? "/web/worker.js", { scope: "/" });
