// Builds DOM nodes and brings shown ones up to date. Words only ever become text nodes; nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "g", "rect", "line", "circle", "polyline", "text", "title"]);

/** Properties that an attribute would only set once. @type {Set<string>} */
const LIVE = new Set(["value", "checked", "disabled", "hidden", "selected", "indeterminate", "open"]);

/**
 * @typedef {Node | string | number | false | null | undefined | any[]} Child
 * @typedef {Element & {drawn?: Record<string, any>}} Drawn what `h` set on it, so that `morph` can carry it over
 */

/**
 * Makes an element. `on…` are handlers, `vars` are custom properties, the rest are attributes or live properties.
 * @param {string} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {any}
 */
export function h(tag, props, ...children) {
  const svg = DRAWN.has(tag) && !(tag === "title" && !props?.svg) && !(tag === "text" && !props?.svg);
  /** @type {Drawn & Record<string, any>} */
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  element.drawn = {};
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false && !LIVE.has(name) || name === "svg") continue;
    if (name.startsWith("on") || LIVE.has(name)) element.drawn[name] = element[name] = value;
    else if (name === "vars") {
      element.drawn.vars = value;
      for (const [key, length] of Object.entries(value)) /** @type {HTMLElement} */ (element).style.setProperty(key, length);
    } else element.setAttribute(name === "class" ? "class" : name, value === true ? "" : String(value));
  }
  put(element, children);
  return element;
}

/** @param {Element} element @param {any[]} children */
function put(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) put(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== false && child !== null && child !== undefined) element.append(String(child));
  }
}

/**
 * Makes the children of `parent` like `wanted`, and keeps what is there: focus, scroll, what is being typed.
 * @param {Element} parent
 * @param {...Child} wanted
 */
export function show(parent, ...wanted) {
  const holder = document.createElement("div");
  put(holder, wanted);
  morphChildren(parent, holder);
}

/** @param {Node} node */
const keyOf = (node) => (node instanceof Element ? node.getAttribute("data-key") : null);

/** @param {Element} parent @param {Element} wanted */
function morphChildren(parent, wanted) {
  /** @type {Map<string, Element>} */
  const keyed = new Map();
  for (const child of parent.children) {
    const key = keyOf(child);
    if (key !== null) keyed.set(key, child);
  }
  let place = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    const key = keyOf(next);
    let found = key === null ? place : keyed.get(key) ?? null;
    // Without a key, the next one of the same kind is taken for the same one.
    while (key === null && found && (keyOf(found) !== null || found.nodeName !== next.nodeName)) found = found.nextSibling;
    if (!found || found.nodeName !== next.nodeName) {
      parent.insertBefore(next, place);
      continue;
    }
    if (found === place) place = place.nextSibling;
    else if (key === null) {
      while (place && place !== found) place = drop(parent, place);
      place = found.nextSibling;
    } else parent.insertBefore(found, place);
    if (key !== null) keyed.delete(key);
    morph(found, next);
  }
  while (place) place = drop(parent, place);
}

/** @param {Element} parent @param {ChildNode} node */
function drop(parent, node) {
  const after = node.nextSibling;
  parent.removeChild(node);
  return after;
}

/** @param {any} shown @param {any} wanted */
function morph(shown, wanted) {
  if (shown.nodeType === Node.TEXT_NODE) {
    if (shown.data !== wanted.data) shown.data = wanted.data;
    return;
  }
  if (shown === wanted || shown.isEqualNode(wanted) && !wanted.drawn) return;
  for (const { name } of [...shown.attributes]) if (!wanted.hasAttribute(name) && name !== "style" && name !== "open") shown.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (name !== "style" && shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  for (const name of Object.keys(shown.drawn ?? {})) if (name.startsWith("on") && !(name in (wanted.drawn ?? {}))) shown[name] = null;
  // Whoever owns what is inside brings it up to date.
  if (!wanted.hasAttribute("data-own")) morphChildren(shown, wanted);
  for (const [name, value] of Object.entries(wanted.drawn ?? {})) {
    if (name === "vars") for (const [key, length] of Object.entries(value)) shown.style.setProperty(key, length);
    else if (name === "open" || name === "value" && (shown === document.activeElement || shown.drawn?.value === value)) continue;
    else if (shown[name] !== value) shown[name] = value;
  }
  shown.drawn = wanted.drawn;
}

/** Says something to those who hear the page, once. @param {string} words */
export function announce(words) {
  const region = document.getElementById("said");
  if (!region) return;
  region.textContent = "";
  requestAnimationFrame(() => { region.textContent = words; });
}

/** Letters that draw nothing or turn text around are shown by their number. @param {unknown} text */
export const plain = (text) =>
  String(text ?? "").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
