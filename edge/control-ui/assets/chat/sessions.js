// The list of conversations, and what may be done to one.

import { h, show } from "../dom.js";
import { icon } from "../icons.js";
import { house, relative } from "../page.js";
import { t } from "../words.js";

const ROWS = 60;
const TYPING_MS = 200;
const NEWS_MS = 400;

/** @typedef {{key: string, label?: string, displayName?: string, derivedTitle?: string, lastMessagePreview?: string, updatedAt?: number, channel?: string,
 *   hasActiveRun?: boolean, isMain?: boolean, unread?: boolean}} Session */

/** What a conversation is called. @param {Session} session */
export function title(session) {
  if (session.label || /:main$/.test(session.key)) return session.label || t("session.main");
  // A conversation that was begun in a browser is called after the browser.
  const named = session.channel === "webchat" ? "" : session.displayName;
  return named || session.derivedTitle || session.key.replace(/^agent:[^:]+:/, "");
}

export class SessionList {
  element;
  #list = h("ul", { class: "rows" });
  #field;
  /** @type {Session[]} */
  #sessions = [];
  #chosen = "";
  #more = false;
  #limit = ROWS;
  #timer = 0;
  #open;
  #editing = "";
  #drawn;

  /** @param {(key: string) => void} open @param {() => void} drawn */
  constructor(open, drawn) {
    this.#open = open;
    this.#drawn = drawn;
    this.#field = h("input", { id: "session-search", type: "search", placeholder: t("sessions.search"), "aria-label": t("sessions.search"), autocomplete: "off", oninput: () => this.soon(TYPING_MS) });
    this.element = h("aside", { class: "sessions", "aria-label": t("sessions") },
      h("div", { class: "bar" }, this.#field,
        h("button", { type: "button", class: "quiet", title: t("session.new"), "aria-label": t("session.new"), onclick: () => this.#create() }, icon("plus")),
        h("button", { type: "button", class: "quiet narrow-only", "aria-label": t("close"), onclick: () => this.toggle(false) }, icon("close"))),
      this.#list);
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
  }

  close() {
    clearTimeout(this.#timer);
  }

  search() {
    this.toggle(true);
    this.#field.focus();
    this.#field.select();
  }

  /** A conversation as the list knows it. @param {string} key */
  find(key) {
    return this.#sessions.find((session) => session.key === key);
  }

  /** On a narrow window the list lies over the conversation. @param {boolean} [open] */
  toggle(open) {
    this.element.classList.toggle("open", open);
  }

  /** @param {string} key */
  choose(key) {
    this.#chosen = key;
    this.toggle(false);
    this.#draw();
  }

  /** @param {number} [ms] */
  soon(ms = NEWS_MS) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), ms);
  }

  async refresh() {
    if (house.link.state.phase !== "open") return;
    const search = this.#field.value.trim();
    const page = await house.link.call("sessions.list", { limit: this.#limit, includeDerivedTitles: true, includeLastMessage: true, ...(search ? { search } : {}) }).catch(() => null);
    if (page) [this.#sessions, this.#more] = [page.sessions, Boolean(page.hasMore)];
    this.#draw();
    this.#drawn();
  }

  #draw() {
    const rows = this.#sessions.some(({ key }) => key === this.#chosen) || this.#field.value ? this.#sessions : [{ key: this.#chosen }, ...this.#sessions];
    show(this.#list, rows.filter(({ key }) => key).map((session) => this.#row(session)),
      rows.length === 0 && h("li", { class: "dim" }, t("sessions.none")),
      this.#more && h("li", null, h("button", { type: "button", class: "quiet", onclick: () => { this.#limit += ROWS; this.refresh(); } }, t("more"))));
  }

  /** @param {Session} session */
  #row(session) {
    const current = session.key === this.#chosen;
    if (this.#editing === session.key) {
      const field = h("input", { value: session.label ?? "", maxlength: 64, "aria-label": t("session.name"), id: "session-name" });
      return h("li", { "data-key": session.key }, h("form", { class: "bar", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); this.#rename(session.key); } },
        field, h("button", { type: "submit", class: "small" }, t("save"))));
    }
    return h("li", { "data-key": session.key, class: current ? "current" : null },
      h("button", { type: "button", class: "row", "data-session": session.key, "aria-current": current ? "true" : null, onclick: () => this.#open(session.key) },
        h("span", { class: "name" }, session.hasActiveRun && h("span", { class: "pulse" }, h("span", { class: "unseen" }, t("chat.writing"))), title(session)),
        h("span", { class: "dim" }, session.updatedAt ? relative(session.updatedAt) : ""),
        h("span", { class: "preview" }, session.lastMessagePreview ?? "")),
      current && house.link.may("admin") && h("span", { class: "deeds" },
        h("button", { type: "button", class: "quiet small", title: t("session.rename"), "aria-label": t("session.rename"), onclick: () => { this.#editing = session.key; this.#draw(); /** @type {any} */ (this.#list.querySelector("#session-name"))?.focus(); } }, icon("pen")),
        h("button", { type: "button", class: "quiet small", title: t("session.reset"), "aria-label": t("session.reset"), onclick: () => this.#deed("sessions.reset", session, "session.reset.ask") }, icon("retry")),
        !/:main$/.test(session.key) && h("button", { type: "button", class: "quiet small", title: t("session.delete"), "aria-label": t("session.delete"), onclick: () => this.#deed("sessions.delete", session, "session.delete.ask") }, icon("bin"))));
  }

  async #create() {
    const made = await house.link.call("sessions.create", {}).catch(() => null);
    if (!made) return;
    this.#field.value = "";
    await this.refresh();
    this.#open(made.key);
  }

  /** @param {string} key */
  async #rename(key) {
    const label = /** @type {any} */ (this.#list.querySelector("#session-name"))?.value.trim() || null;
    this.#editing = "";
    await house.link.call("sessions.patch", { key, label }).catch(() => null);
    this.refresh();
  }

  /** @param {string} method @param {Session} session @param {any} question */
  async #deed(method, session, question) {
    if (!await house.ask(t(question, { name: title(session) }), t(/** @type {any} */ (method.replace("sessions", "session"))))) return;
    const done = await house.link.call(method, { key: session.key }).catch(() => null);
    if (done && method === "sessions.delete") this.#open(house.link.hello?.snapshot?.sessionDefaults?.mainSessionKey ?? "main");
    this.refresh();
  }

  /** Arrows go from row to row. @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") return this.toggle(false);
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const stops = [this.#field, ...this.#list.querySelectorAll("button.row")];
    const place = stops.indexOf(/** @type {any} */ (document.activeElement));
    if (place < 0) return;
    event.preventDefault();
    stops[Math.min(Math.max(place + (event.key === "ArrowDown" ? 1 : -1), 0), stops.length - 1)].focus();
  }
}
