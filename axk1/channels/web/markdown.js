// Markdown as elements of the page. Elements are made one by one from a tree of tokens; no HTML is ever parsed.
import { Marked } from "/web/marked/marked.esm.js";
import { translate } from "/web/words.js";

const parser = new Marked({ gfm: true, breaks: true });
parser.use({
  tokenizer: { html() {}, tag() {} }, // HTML is text like any other
  extensions: [{
    // CommonMark does not end **"bold"** before a particle, as Korean has it: **"예산"**은.
    name: "boldBeforeParticle", level: "inline",
    start: (text) => text.indexOf("**"),
    tokenizer(text) {
      const found = /^\*\*([^*\s](?:[^*\n]*[^*\s])?)\*\*(?=\p{Script=Hangul})/u.exec(text);
      return found && { type: "strong", raw: found[0], tokens: this.lexer.inlineTokens(found[1]) };
    },
  }],
});

const LINKS = new Set(["http:", "https:", "mailto:"]);
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const MAKE = {
  paragraph: (token) => make("p", inside(token)),
  heading: (token) => make(`h${Math.min(token.depth + 1, 6)}`, inside(token)), // the page has the first level
  blockquote: (token) => make("blockquote", inside(token)),
  hr: () => make("hr"),
  br: () => make("br"),
  strong: (token) => make("strong", inside(token)),
  em: (token) => make("em", inside(token)),
  del: (token) => make("del", inside(token)),
  codespan: (token) => make("code", [token.text]),
  escape: (token) => token.text,
  text: (token) => (token.tokens ? inside(token) : unescape(token.text)),
  space: () => [],
  def: () => [],
  code, list, table, link, image: link, checkbox,
};

// The text of one answer as it grows. Only blocks that have changed since the last time are made anew.
export class Markdown {
  #box;
  #shown = []; // the source of each block on the page

  constructor(box) { this.#box = box; }

  draw(text) {
    const tokens = read(text);
    let same = 0;
    while (same < tokens.length && this.#shown[same] === tokens[same].raw) same += 1;
    if (!(same === tokens.length - 1 && this.#grow(tokens.at(-1), same))) {
      while (this.#box.childNodes.length > same) this.#box.lastChild.remove();
      this.#box.append(...tokens.slice(same).map((token) => make("div", block(token))));
    }
    this.#shown = tokens.map((token) => token.raw);
  }

  // A block of code that has only become longer keeps its element, and what the reader has selected in it.
  #grow(token, place) {
    const last = this.#box.children.length === place + 1 && this.#box.lastChild;
    const code = last && last.querySelector(":scope > .code code");
    if (token.type !== "code" || !code || !token.text.startsWith(code.textContent)) return false;
    if (last.querySelector(".bar span").textContent !== label(token)) return false;
    code.append(token.text.slice(code.textContent.length));
    return true;
  }
}

function read(text) {
  try {
    return parser.lexer(text).filter((token) => token.type !== "space" && token.type !== "def");
  } catch { // nested too deeply for the parser
    return [{ type: "unreadable", raw: text }];
  }
}

function block(token) {
  try {
    return [build(token)].flat(Infinity);
  } catch {
    return [make("p", [token.raw])];
  }
}

const build = (token) => (Object.hasOwn(MAKE, token.type) ? MAKE[token.type](token) : token.raw);
const inside = (token) => (token.tokens ?? []).map(build);

function make(name, children = [], properties = {}) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.flat(Infinity));
  return element;
}

const ENTITY = /&(?:#(\d{1,6})|#x([\da-f]{1,5})|(amp|lt|gt|quot|apos|nbsp));/gi;
const unescape = (text) => text.replace(ENTITY, (all, ten, hex, name) =>
  name ? ENTITIES[name.toLowerCase()] : String.fromCodePoint(ten ? Number(ten) : parseInt(hex, 16)));

const label = (token) => /^\S{0,24}/.exec(token.lang ?? "")[0];

function code(token) {
  const name = make("span", [label(token)]);
  const copy = make("button", [], { type: "button", className: "quiet copy" });
  copy.dataset.word = "copy";
  const bar = make("div", [name, copy], { className: "bar" });
  const box = make("div", [bar, make("pre", [make("code", [token.text])], { tabIndex: 0 })], { className: "code" });
  translate(box);
  return box;
}

function list(token) {
  const items = token.items.map((item) => make("li", inside(item), { className: item.task ? "task" : "" }));
  return token.ordered ? make("ol", items, { start: token.start || 1 }) : make("ul", items);
}

function checkbox(token) {
  return make("input", [], { type: "checkbox", checked: token.checked, disabled: true });
}

function table(token) {
  const row = (name, cells) => make("tr", cells.map((cell) => {
    const box = make(name, inside(cell));
    box.style.textAlign = cell.align ?? "";
    return box;
  }));
  const whole = make("table", [
    make("thead", [row("th", token.header)]), make("tbody", token.rows.map((cells) => row("td", cells))),
  ]);
  return make("div", [whole], { className: "table", tabIndex: 0 });
}

// Links open elsewhere and only where browsers ask; a picture is a link too, so that none is loaded unasked.
function link(token) {
  const text = token.type === "image" ? [token.text || token.href] : inside(token);
  if (!URL.canParse(token.href) || !LINKS.has(new URL(token.href).protocol)) return make("span", text);
  return make("a", text, { href: token.href, target: "_blank", rel: "noopener noreferrer", title: token.title ?? "" });
}
