// The newest lines of the log, as they are written.

import { h, plain, show } from "../dom.js";
import { Page } from "../page.js";
import { t } from "../words.js";

const EVERY_MS = 2_000;
const LINES_MAX = 2_000;
const LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
const META = new Set(["time", "_meta", "level", "timestamp", "target", "message", "hostname"]);

/** @typedef {{at: string, level: string, from: string, text: string, raw: string, number: number}} Line */

let counted = 0;

/** @param {string} raw @returns {Line} */
function read(raw) {
  try {
    const record = JSON.parse(raw);
    const meta = record._meta ?? {};
    let from = String(record.target ?? "");
    try { from ||= JSON.parse(meta.name ?? "{}").subsystem ?? ""; } catch { from ||= String(meta.name ?? ""); }
    const level = String(meta.logLevelName ?? record.level ?? "INFO").toUpperCase();
    const facts = Object.entries(record).filter(([name, value]) => !META.has(name) && value !== record.message).flatMap(([name, value]) =>
      /^\d+$/.test(name) && typeof value === "object" && value ? Object.entries(value) : [[name, value]]);
    const rest = facts.filter(([name]) => name !== "subsystem").map(([name, value]) => {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      return /^\d+$/.test(name) ? text : `${name}=${text}`;
    });
    return { at: String(record.time ?? record.timestamp ?? meta.date ?? ""), level, from, text: [record.message, ...rest].filter(Boolean).join(" "), raw, number: counted++ };
  } catch {
    return { at: "", level: "INFO", from: "", text: raw, raw, number: counted++ };
  }
}

export default class Logs extends Page {
  everyMs = EVERY_MS;
  /** @type {Line[]} */ #lines = [];
  /** @type {number | undefined} */ #cursor;
  #file = "";
  #wanted = "";
  #level = "INFO";
  #paused = false;
  #list = h("div", { id: "log", class: "log", tabindex: 0, role: "log", "aria-live": "off", "aria-label": t("nav.logs"), "data-own": true });

  async load() {
    if (this.#paused) return;
    const page = await this.link.call("logs.tail", { limit: LINES_MAX, ...(this.#cursor === undefined ? {} : { cursor: this.#cursor }) });
    if (page.reset || page.file !== this.#file) this.#lines = [];
    [this.#cursor, this.#file] = [page.cursor, page.file];
    if (page.lines.length) {
      this.#lines = [...this.#lines, ...page.lines.map(read)].slice(-LINES_MAX);
      this.#drawLines();
    }
  }

  view() {
    return [
      h("header", { class: "bar" }, h("h1", null, t("nav.logs")), h("span", { class: "dim wide-only" }, this.#file)),
      h("div", { class: "bar" },
        h("input", { type: "search", id: "log-filter", placeholder: t("logs.filter"), "aria-label": t("logs.filter"), oninput: (/** @type {any} */ event) => { this.#wanted = event.target.value.toLowerCase(); this.#drawLines(); } }),
        h("label", null, h("span", { class: "unseen" }, t("logs.level")), h("select", { onchange: (/** @type {any} */ event) => { this.#level = event.target.value; this.#drawLines(); } }, LEVELS.map((level) => h("option", { selected: level === this.#level }, level)))),
        h("button", { type: "button", "aria-pressed": String(this.#paused), onclick: () => { this.#paused = !this.#paused; this.draw(); } }, this.#paused ? t("logs.go") : t("logs.pause"))),
      this.#list,
    ];
  }

  #drawLines() {
    const least = LEVELS.indexOf(this.#level);
    const atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    const seen = this.#lines.filter((line) => LEVELS.indexOf(line.level) >= least && (!this.#wanted || line.raw.toLowerCase().includes(this.#wanted)));
    show(this.#list, seen.map((line) => h("p", { class: `line ${line.level.toLowerCase()}`, "data-key": line.number },
      h("time", null, line.at.slice(11, 23)), " ", h("b", null, line.level), " ", h("span", { class: "from" }, plain(line.from)), " ", plain(line.text))),
    seen.length === 0 && h("p", { class: "dim" }, t("logs.none")));
    if (atEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }
}

customElements.define("verso-logs", Logs);
