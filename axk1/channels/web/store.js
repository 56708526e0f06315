// What the browser keeps: settings, and each chat under a key of its own, so that two windows do not overwrite another's.
const CHAT = "chat.";

// The settings: language, theme, key (of the API), think, model. What is empty is not kept.
export const settings = new Proxy({}, {
  get: (_, name) => localStorage.getItem(`setting.${name}`) ?? "",
  set: (_, name, value) => {
    if (value) localStorage.setItem(`setting.${name}`, value);
    else localStorage.removeItem(`setting.${name}`);
    return true;
  },
});

// A chat without messages; it is kept once it has some.
export const newChat = () => ({ id: `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`, messages: [] });

// Keeps a chat; false where the browser has no room.
export function save(chat) {
  if (chat.removed || !chat.messages.length) return true;
  try {
    localStorage.setItem(CHAT + chat.id, JSON.stringify({ ...chat, time: Date.now() }));
    sessionStorage.setItem("chat", chat.id);
    localStorage.setItem("chat", chat.id);
    return true;
  } catch {
    return false;
  }
}

// The chat that this window showed last, or else any window; a new one if there is none.
export function lastChat() {
  const id = sessionStorage.getItem("chat") ?? localStorage.getItem("chat");
  return (id && load(CHAT + id)) || newChat();
}

// Says that this window shows another chat, so that it comes back after a reload.
export function show(chat) {
  sessionStorage.setItem("chat", chat.id);
}

// All chats, the newest first.
export function chats() {
  const found = Object.keys(localStorage).filter((key) => key.startsWith(CHAT)).map(load);
  return found.filter(Boolean).sort((one, other) => other.time - one.time);
}

// Deletes a chat for good.
export function remove(chat) {
  chat.removed = true;
  localStorage.removeItem(CHAT + chat.id);
}

function load(key) {
  try {
    const chat = JSON.parse(localStorage.getItem(key));
    return Array.isArray(chat?.messages) ? chat : null;
  } catch {
    return null;
  }
}
