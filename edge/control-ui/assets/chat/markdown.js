// Markdown as DOM nodes: what agents write, and nothing that could run. Text stays text, a link leads to http, https or mailto or is no
// link, and pictures of other hosts are links, since an address can carry words out.

import { h } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../words.js";

/** Quotes and lists inside each other, at most. */
const DEPTH_MAX = 8;
/** A longer paragraph stays as it is written: looking for pairs of signs takes the square of its length. */
const INLINE_CHARS_MAX = 10_000;
const SAFE = /^(https?:\/\/|mailto:)/i;

/**
 * @typedef {{kind: string, raw: string, lines?: string[], text?: string, level?: number, language?: string, rows?: string[][],
 *   align?: string[], items?: {lines: string[], done?: boolean}[], start?: number}} Block
 */

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}>\s?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/** @param {string} line */
const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

/** Cuts a text into its blocks. @param {string[]} lines @returns {Block[]} */
function blocks(lines) {
  /** @type {Block[]} */
  const found = [];
  for (let at = 0; at < lines.length;) {
    const begun = at;
    const line = lines[at];
    /** @param {Omit<Block, "raw">} block */
    const add = (block) => found.push({ ...block, raw: lines.slice(begun, at).join("\n") });
    const fence = FENCE.exec(line);
    if (fence) {
      const end = new RegExp(`^ {0,3}${fence[1][0]}{${fence[1].length},}\\s*$`);
      const code = [];
      for (at++; at < lines.length && !end.test(lines[at]); at++) code.push(lines[at]);
      at++;
      add({ kind: "code", text: code.join("\n"), language: fence[2].trim().split(/\s+/)[0] });
      continue;
    }
    const heading = HEADING.exec(line);
    if (!line.trim()) { at++; continue; }
    if (heading) { at++; add({ kind: "heading", level: heading[1].length, text: heading[2] }); continue; }
    if (RULE.test(line)) { at++; add({ kind: "rule" }); continue; }
    if (QUOTE.test(line)) {
      const inner = [];
      for (; at < lines.length && lines[at].trim() && (QUOTE.test(lines[at]) || inner.length); at++) inner.push(lines[at].replace(QUOTE, ""));
      add({ kind: "quote", lines: inner });
      continue;
    }
    if (ITEM.test(line)) { at = list(lines, at, found); continue; }
    if (line.includes("|") && TABLE_RULE.test(lines[at + 1] ?? "") && (lines[at + 1] ?? "").includes("-")) {
      const align = cells(lines[at + 1]).map((cell) => (/^:-+:$/.test(cell) ? "center" : /-:$/.test(cell) ? "end" : "start"));
      const rows = [cells(line)];
      for (at += 2; at < lines.length && lines[at].includes("|") && lines[at].trim(); at++) rows.push(cells(lines[at]));
      add({ kind: "table", rows, align });
      continue;
    }
    const text = [];
    for (; at < lines.length && lines[at].trim() && !(text.length && (FENCE.test(lines[at]) || HEADING.test(lines[at]) || QUOTE.test(lines[at]) || ITEM.test(lines[at]))); at++) text.push(lines[at]);
    add({ kind: "paragraph", text: text.join("\n") });
  }
  return found;
}

/** @param {string[]} lines @param {number} at @param {Block[]} found */
function list(lines, at, found) {
  const begun = at;
  const first = /** @type {RegExpExecArray} */ (ITEM.exec(lines[at]));
  const ordered = /\d/.test(first[2]);
  /** @type {{lines: string[], done?: boolean}[]} */
  const items = [];
  while (at < lines.length) {
    const item = ITEM.exec(lines[at]);
    if (item && /\d/.test(item[2]) === ordered) {
      const task = /^\[([ xX])\]\s+(.*)$/.exec(item[4]);
      items.push({ lines: [task ? task[2] : item[4]], done: task ? task[1] !== " " : undefined });
      const indent = item[1].length + item[2].length + 1;
      const deeper = (/** @type {string} */ line) => line.search(/\S/) >= Math.min(indent, 2);
      for (at++; at < lines.length; at++) {
        const blank = !lines[at].trim();
        if (blank && !(at + 1 < lines.length && lines[at + 1].trim() && deeper(lines[at + 1]))) break;
        if (!blank && !deeper(lines[at]) && (ITEM.test(lines[at]) || FENCE.test(lines[at]) || HEADING.test(lines[at]) || !lines[at - 1].trim())) break;
        items[items.length - 1].lines.push(lines[at].replace(new RegExp(`^ {0,${indent}}`), ""));
      }
    } else if (!lines[at].trim() && ITEM.test(lines[at + 1] ?? "") && items.length) at++;
    else break;
  }
  found.push({ kind: ordered ? "ordered" : "bullets", items, start: Number.parseInt(first[2], 10) || 1, raw: lines.slice(begun, at).join("\n") });
  return at;
}

const INLINE = /(?<code>(`+)(?!`)([\s\S]*?[^`])\2(?!`))|(?<image>!\[([^\]]*)\]\(\s*<?((?:[^()\s>]|\([^()\s]*\))+)>?[^)]*\))|(?<link>\[((?:[^[\]]|\[[^\]]*\])+)\]\(\s*<?((?:[^()\s>]|\([^()\s]*\))+)>?(?:\s+["'(][^)]*)?\))|(?<auto><((?:https?:\/\/|mailto:)[^>\s]+)>)|(?<bare>\bhttps?:\/\/(?:[^\s<>"'`()]|\([^\s<>"'`()]*\))*(?:[^\s<>"'`().,;:!?\]}*_~]|\([^\s<>"'`()]*\)))|(?<strong>\*\*(?=\S)([\s\S]*?\S)\*\*(?!\*)|__(?=\S)([\s\S]*?\S)__(?!\w))|(?<strike>~~(?=\S)([\s\S]*?\S)~~)|(?<em>\*(?=[^\s*])([^*]*?[^\s*])\*(?!\*)|(?<!\w)_(?=[^\s_])([^_]*?[^\s_])_(?!\w))|(?<escape>\\([!-/:-@[-`{-~]))|(?<line> {2,}\n|\\\n|\n)/g;

/** @param {string} address @param {any[]} words */
function link(address, words) {
  if (!SAFE.test(address)) return words;
  return [h("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, words)];
}

/** @param {string} text @param {number} [depth] @returns {any[]} */
function inline(text, depth = 0) {
  if (depth > DEPTH_MAX || text.length > INLINE_CHARS_MAX) return [text];
  /** @type {any[]} */
  const out = [];
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    const { groups = {}, index = 0 } = match;
    if (index > last) out.push(text.slice(last, index));
    last = index + match[0].length;
    const deeper = (/** @type {string} */ inner) => inline(inner, depth + 1);
    if (groups.code) out.push(h("code", null, match[3].replace(/\n/g, " ").replace(/^ (.*\S.*) $/, "$1")));
    else if (groups.image) out.push(...link(match[6], [match[5] || match[6]]));
    else if (groups.link) out.push(...link(match[9], deeper(match[8])));
    else if (groups.auto) out.push(...link(match[11], [match[11]]));
    else if (groups.bare) out.push(...link(groups.bare, [groups.bare]));
    else if (groups.strong) out.push(h("strong", null, deeper(groups.strong.slice(2, -2))));
    else if (groups.strike) out.push(h("s", null, deeper(groups.strike.slice(2, -2))));
    else if (groups.em) out.push(h("em", null, deeper(groups.em.slice(1, -1))));
    else if (groups.escape) out.push(groups.escape[1]);
    else if (groups.line) out.push(h("br", null));
  }
  out.push(text.slice(last));
  return out;
}

/** @param {Block} block @param {number} depth @returns {Element} */
function element(block, depth) {
  const inner = (/** @type {string[]} */ lines) => (depth < DEPTH_MAX ? blocks(lines).map((one) => element(one, depth + 1)) : [lines.join("\n")]);
  switch (block.kind) {
    // A heading of a message stands below the headings of the page.
    case "heading": return h("p", { class: "heading", role: "heading", "aria-level": Math.min((block.level ?? 1) + 1, 6) }, inline(block.text ?? ""));
    case "rule": return h("hr", null);
    case "quote": return h("blockquote", null, inner(block.lines ?? []));
    case "code": return code(block.text ?? "", block.language ?? "");
    case "table": {
      const [head, ...rows] = block.rows ?? [];
      const cell = (/** @type {string} */ tag) => (/** @type {string} */ text, /** @type {number} */ place) =>
        h(tag, { class: `to-${block.align?.[place] ?? "start"}`, scope: tag === "th" ? "col" : null }, inline(text));
      return h("div", { class: "wide", tabindex: 0, role: "group", "aria-label": t("chat.table") },
        h("table", null, h("thead", null, h("tr", null, head.map(cell("th")))), h("tbody", null, rows.map((row) => h("tr", null, row.map(cell("td")))))));
    }
    case "ordered":
    case "bullets":
      return h(block.kind === "ordered" ? "ol" : "ul", { start: block.kind === "ordered" && block.start !== 1 ? block.start : null },
        (block.items ?? []).map(({ lines, done }) => {
          const parts = blocks(lines);
          const tight = parts[0]?.kind === "paragraph" ? [...inline(parts[0].text ?? ""), ...parts.slice(1).map((one) => element(one, depth + 1))] : inner(lines);
          return h("li", { class: done === undefined ? null : "task" }, done !== undefined && h("span", { "aria-hidden": "true" }, done ? "☑ " : "☐ "),
            done !== undefined && h("span", { class: "unseen" }, done ? t("chat.done") : t("chat.open")), tight);
        }));
    default: return h("p", null, inline(block.text ?? ""));
  }
}

/** @param {string} text @param {string} language */
export function code(text, language) {
  const copy = h("button", { type: "button", class: "quiet small", "aria-label": t("copy.code"), title: t("copy.code"), onclick: () => copyText(text, copy) }, icon("copy"));
  return h("figure", { class: "code" }, h("figcaption", null, h("span", null, language || t("chat.code")), copy),
    h("pre", { tabindex: 0, role: "group", "aria-label": language || t("chat.code") }, h("code", null, text)));
}

/** @param {string} text @param {HTMLElement} [button] */
export async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button?.classList.add("done");
    setTimeout(() => button?.classList.remove("done"), 1200);
  } catch {
    // Without a secure context there is no clipboard; the words can be selected.
  }
}

/**
 * Shows a text in `parent`. Called again while the text grows, it touches only the blocks that changed.
 * @param {Element & {raws?: string[]}} parent @param {string} text
 */
export function render(parent, text) {
  const wanted = blocks(text.replace(/\r\n?/g, "\n").split("\n"));
  const raws = parent.raws ?? [];
  let same = 0;
  while (same < wanted.length && same < raws.length && raws[same] === wanted[same].raw) same++;
  while (parent.children.length > same) parent.lastElementChild?.remove();
  for (const block of wanted.slice(same)) parent.append(element(block, 0));
  parent.raws = wanted.map((block) => block.raw);
  return parent;
}
