// What every page is: an element that draws itself from what it last heard, and greys what a missing service would know.

import { h, show } from "./dom.js";
import { t } from "./words.js";

/** @typedef {import("./gateway/link.js").Link} Link */

/** What the shell gives each page. @type {{link: Link, go: (route: string) => void, ask: (words: string, yes: string) => Promise<boolean>}} */
export let house = /** @type {any} */ ({});

/** @param {typeof house} parts */
export function furnish(parts) {
  house = parts;
}

export class Page extends HTMLElement {
  /** Which service knows what the page shows. */
  service = "";
  /** Events of the gateway after which the page is read anew. @type {string[]} */
  follows = [];
  /** How often it is read anew while it is seen, in milliseconds; 0: not by itself. */
  everyMs = 0;
  /** @type {string} */
  problem = "";
  /** @type {string} what the rest of the address says */
  rest = "";
  loaded = false;

  #gone = new AbortController();
  #loading = false;
  #again = false;
  #timer = 0;

  get link() {
    return house.link;
  }

  connectedCallback() {
    const { signal } = this.#gone;
    house.link.addEventListener("state", () => { if (house.link.state.phase === "open") this.refresh(); this.draw(); }, { signal });
    house.link.addEventListener("gateway", (event) => {
      const { name, payload } = /** @type {CustomEvent} */ (event).detail;
      this.hear(name, payload);
      if (name === "health") { this.draw(); if (this.problem) this.refresh(); }
      if (this.follows.includes(name)) this.refresh();
    }, { signal });
    if (this.everyMs) {
      this.#timer = setInterval(() => { if (!document.hidden && house.link.state.phase === "open") this.refresh(); }, this.everyMs);
    }
    this.draw();
    this.refresh();
  }

  disconnectedCallback() {
    this.#gone.abort();
    clearInterval(this.#timer);
  }

  /** Reads what the page shows. @returns {Promise<void>} */
  async load() {}

  /** @param {string} _name @param {any} _payload */
  hear(_name, _payload) {}

  /** @returns {any[]} */
  view() {
    return [];
  }

  /** Whether the service behind the page is away. */
  get away() {
    return Boolean(this.service) && !this.link.serves(this.service);
  }

  draw() {
    const notes = [
      this.away && h("p", { class: "note warn", role: "status" }, t("service.away", { service: this.service })),
      !this.away && this.problem && h("p", { class: "note bad", role: "alert" }, this.problem),
    ];
    this.toggleAttribute("aria-busy", !this.loaded && !this.problem);
    this.classList.toggle("stale", this.away || this.link.state.phase !== "open");
    show(this, notes, this.view());
  }

  async refresh() {
    if (this.link.state.phase !== "open") return;
    if (this.#loading) { this.#again = true; return; }
    this.#loading = true;
    try {
      await this.load();
      this.problem = "";
      this.loaded = true;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.#loading = false;
    if (this.isConnected) this.draw();
    if (this.#again) { this.#again = false; this.refresh(); }
  }

  /** Does something that the gateway may refuse, and shows what came of it. @param {() => Promise<unknown>} deed */
  async act(deed) {
    try {
      await deed();
      this.problem = "";
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      this.draw();
      return;
    }
    await this.refresh();
  }
}

/** A titled part of a page. @param {string} title @param {...any} children */
export const card = (title, ...children) => h("section", { class: "card" }, h("h2", null, title), children);

/**
 * A table; nothing but a sentence where there is nothing.
 * @param {string[]} heads @param {any[][]} rows @param {string} empty
 */
export function table(heads, rows, empty) {
  if (rows.length === 0) return h("p", { class: "dim" }, empty);
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": heads.join(", ") },
    h("table", null, h("thead", null, h("tr", null, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, place) => h("td", { "data-head": heads[place] }, cell)))))));
}

/** A button. @param {string} label @param {() => unknown} onclick @param {Record<string, any>} [more] */
export const button = (label, onclick, more = {}) => h("button", { type: "button", onclick, ...more }, label);

/** A word with a colour that means something. @param {string} kind @param {string} label */
export const badge = (kind, label) => h("span", { class: `badge ${kind}` }, label);

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const SPAN = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "narrow" });
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000], ["second", 1000]];

/** A time from now or ago, with the date behind it. @param {number | null | undefined} ms */
export function when(ms) {
  if (!ms) return h("span", { class: "dim" }, t("never"));
  return h("time", { datetime: new Date(ms).toISOString(), title: DATE.format(ms) }, relative(ms));
}

/** @param {number} ms */
export function relative(ms) {
  const away = ms - Date.now();
  const [unit, length] = UNITS.find(([, long]) => Math.abs(away) >= long) ?? UNITS[3];
  return SPAN.format(Math.round(away / length), unit);
}

/** @param {number | undefined} ms */
export function lasting(ms) {
  if (ms === undefined || ms === null) return "–";
  const parts = /** @type {[string, number][]} */ ([["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1000]]);
  const place = parts.findIndex(([, long]) => ms >= long);
  if (place < 0) return `${Math.round(ms)} ms`;
  const [unit, long] = parts[place];
  const next = parts[place + 1];
  const rest = next ? Math.floor((ms % long) / next[1]) : 0;
  return `${Math.floor(ms / long)}${unit}${rest ? ` ${rest}${next[0]}` : ""}`;
}

const SIZE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
export const number = (/** @type {number | null | undefined} */ value) => SIZE.format(value ?? 0);

/** @param {number | undefined} bytes */
export const mebibytes = (bytes) => (bytes === undefined ? "–" : bytes < 2 ** 30 ? `${SIZE.format(bytes / 2 ** 20)} MiB` : `${SIZE.format(bytes / 2 ** 30)} GiB`);
