// Elements of the page, made one by one.
import { word } from "/web/words.js";

export function element(name, className = "", text = "") {
  return Object.assign(document.createElement(name), { className, textContent: text });
}

// A button that says a word of the page.
export function button(name, className, act) {
  const made = element("button", className, word(name));
  made.type = "button";
  made.dataset.word = name;
  if (act) made.addEventListener("click", act);
  return made;
}
