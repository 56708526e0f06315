// The two menus: settings, and the chats that the browser keeps.
import { chats, remove, settings } from "/web/store.js";
import { speak, word } from "/web/words.js";

const find = (id) => document.getElementById(id);

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.closest(".close")) dialog.close(); // the backdrop is the dialog itself
  });
}

// Shows the settings. wanted: whether the server has just asked for a key.
// changed: what to do after another language; closed: what to do at the end, with whether the key is another one now.
export function openSettings({ wanted = false, changed, closed }) {
  const dialog = find("settings-menu"), before = settings.key;
  if (dialog.open) return;
  find("key").value = before;
  find("key-hint").textContent = word(wanted ? "keyWanted" : "keyHint");
  choose("language", document.documentElement.lang, (value) => { settings.language = speak(value); changed(); });
  choose("theme", settings.theme, (value) => { settings.theme = document.documentElement.dataset.theme = value; });
  find("settings-form").onsubmit = (event) => { event.preventDefault(); dialog.close(); };
  dialog.onclose = () => {
    settings.key = find("key").value.trim();
    closed(settings.key !== before);
  };
  dialog.showModal();
  (wanted ? find("key") : dialog.querySelector("input:checked")).focus();
}

function choose(name, value, act) {
  for (const input of document.querySelectorAll(`input[name=${name}]`)) {
    input.checked = input.value === value;
    input.onchange = () => act(input.value);
  }
}

// Shows the chats. current: the one on the page; open: what to do with the one that is chosen; removed: with one deleted.
export function openChats(current, { open, removed }) {
  const dialog = find("chats-menu"), list = find("chats-list");
  const fill = () => {
    const found = chats();
    list.replaceChildren(...found.map(row));
    find("no-chats").hidden = found.length > 0;
    find("remove-all").hidden = found.length === 0;
  };
  const row = (chat) => {
    const line = document.createElement("li");
    const title = chat.messages[0]?.content.slice(0, 80) || word("untitled");
    const choice = button(title, "title", () => { dialog.close(); open(chat); });
    const erase = button("×", "quiet", () => { drop(chat); fill(); dialog.querySelector("button").focus(); });
    if (chat.id === current.id) choice.ariaCurrent = "true";
    erase.ariaLabel = erase.title = `${word("remove")}: ${title}`;
    line.append(choice, erase);
    return line;
  };
  const drop = (chat) => {
    remove(chat);
    removed(chat);
  };
  find("remove-all").onclick = () => { chats().forEach(drop); dialog.close(); };
  fill();
  dialog.showModal();
}

function button(text, className, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", className, textContent: text });
  made.addEventListener("click", act);
  return made;
}
