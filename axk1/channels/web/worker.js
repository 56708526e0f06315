// Keeps the page's own files for when the server cannot be reached. Answers of the API are neither kept nor looked at.
const CACHE = "page";
const FILES = [
  "/", "/web/api.js", "/web/ask.js", "/web/chat.js", "/web/elements.js", "/web/keys.js", "/web/icon.svg", "/web/icon-192.png", "/web/icon-512.png",
  "/web/icon-maskable.png", "/web/manifest.webmanifest", "/web/markdown.js", "/web/marked/marked.esm.js",
  "/web/menus.js", "/web/messages.js", "/web/store.js", "/web/style.css", "/web/theme.js", "/web/words.js",
  "/web/work.js",
];

addEventListener("install", (event) => {
  skipWaiting();
  const fresh = FILES.map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const ours = event.request.method === "GET" && url.origin === location.origin && FILES.includes(url.pathname);
  if (ours) event.respondWith(serverFirst(event.request, url.pathname));
});

// What the server has now, so that nobody sees yesterday's page; what it had last, where it does not answer.
async function serverFirst(request, path) {
  const cache = await caches.open(CACHE);
  try {
    const answer = await fetch(request);
    if (answer.ok && !answer.redirected) await cache.put(path, answer.clone());
    return answer;
  } catch {
    return (await cache.match(path)) ?? Response.error();
  }
}
