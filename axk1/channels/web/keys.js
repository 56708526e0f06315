// What the keys of a field for messages do.
const touch = matchMedia("(pointer: coarse)"); // a keyboard on glass has no Shift + Enter

// Whether a key belongs to an input method, as Enter does while a Korean syllable is being composed. Safari ends the
// composition before it tells of the key, and marks the key with 229 alone.
export const composing = (event) => event.isComposing || event.keyCode === 229;

// Enter sends and Shift + Enter breaks the line, on glass Enter breaks it; Escape cancels, where there is something to.
export function listen(field, { send, cancel }) {
  field.addEventListener("keydown", (event) => {
    if (composing(event)) return;
    if (event.key === "Enter" && !event.shiftKey && (!touch.matches || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && cancel) {
      event.stopPropagation();
      cancel();
    }
  });
}

// Puts the cursor into a field, but not where that would open a keyboard over the answer.
export function focus(field) {
  if (!touch.matches) field.focus();
}
