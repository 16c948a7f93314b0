// The configuration file: read, changed, compared before it is written, and laid together with what somebody else has changed meanwhile.

import { h, plain } from "../dom.js";
import { diff, merge } from "../diff.js";
import { Page, badge, button, card } from "../page.js";
import { t } from "../words.js";

/** Lines around a difference that are shown with it. */
const AROUND = 3;
const KEYS_MAX = 40;
const CHANGED = /changed since last load/;

/**
 * @typedef {{raw: string, hash: string, path: string, issues: any[], warnings: any[]}} File
 * @typedef {{pieces: import("../diff.js").Piece[], choices: Map<number, "mine" | "theirs">, base: File}} Conflict
 */

export default class Config extends Page {
  /** The file as it was read. @type {File | null} */
  #base = null;
  #text = "";
  /** @type {any} what the gateway says of the text */ #preview = null;
  /** @type {Conflict | null} */
  #conflict = null;
  /** @type {any} what was last written */ #written = null;
  /** @type {Record<string, any>} */ #hints = {};
  #wanted = "";

  async load() {
    const file = await this.link.call("config.get");
    // What is being written is not taken away; the hash tells of the difference when it is sent.
    if (!this.#base || this.#text === this.#base.raw) this.#take(file);
    if (Object.keys(this.#hints).length === 0) this.#hints = (await this.link.call("config.schema").catch(() => ({ uiHints: {} }))).uiHints;
  }

  /** @param {any} file */
  #take(file) {
    this.#base = { raw: file.raw ?? "", hash: file.hash, path: file.path, issues: file.issues, warnings: file.warnings };
    this.#text = this.#base.raw;
    const field = /** @type {HTMLTextAreaElement | null} */ (this.querySelector("#config-text"));
    if (field) field.value = this.#text;
  }

  view() {
    const base = this.#base;
    if (!base) return [h("h1", null, t("nav.config"))];
    const changed = this.#text !== base.raw;
    const admin = this.link.may("admin");
    return [
      h("header", { class: "bar" }, h("h1", null, t("nav.config")), h("code", { class: "dim wide-only" }, base.path)),
      base.issues.map((issue) => h("p", { class: "note bad" }, plain(`${issue.path}: ${issue.message}`))),
      base.warnings.map((issue) => h("p", { class: "note warn" }, plain(`${issue.path}: ${issue.message}`))),
      this.#written && this.#outcome(this.#written),
      this.#conflict && this.#choice(this.#conflict),
      this.#preview && this.#difference(),
      h("div", { class: "columns config", hidden: Boolean(this.#preview || this.#conflict) },
        h("section", { class: "card" }, h("h2", null, h("label", { for: "config-text" }, t("config.text"))), h("p", { class: "dim" }, t("config.words")),
          h("textarea", { id: "config-text", class: "code", spellcheck: "false", autocapitalize: "off", autocomplete: "off", value: this.#text, readonly: !admin, rows: 24,
            oninput: (/** @type {any} */ event) => { this.#text = event.target.value; this.draw(); } }),
          h("div", { class: "bar" },
            button(t("config.review"), () => this.#review(), { id: "config-review", class: "primary", disabled: !changed || !admin }),
            button(t("config.discard"), () => this.#discard(), { disabled: !changed, class: "quiet" }),
            changed && badge("warn", t("config.changed")))),
        card(t("config.keys"), h("input", { type: "search", id: "config-search", placeholder: t("config.search"), "aria-label": t("config.search"), oninput: (/** @type {any} */ event) => { this.#wanted = event.target.value.toLowerCase(); this.draw(); } }), this.#keys())),
    ];
  }

  #keys() {
    const found = Object.entries(this.#hints).filter(([path, hint]) => !this.#wanted || `${path} ${hint.label ?? ""} ${hint.help ?? ""}`.toLowerCase().includes(this.#wanted));
    return [
      h("div", { class: "keys", tabindex: 0, role: "region", "aria-label": t("config.keys") }, h("dl", null, found.slice(0, KEYS_MAX).map(([path, hint]) => [h("dt", { "data-key": `${path}?` }, h("code", null, path), hint.sensitive && badge("warn", t("config.secret"))), h("dd", { "data-key": path }, hint.help ?? hint.label ?? "")]))),
      h("p", { class: "dim" }, found.length > KEYS_MAX ? t("config.more", { count: found.length - KEYS_MAX }) : found.length === 0 ? t("config.no.key") : ""),
    ];
  }

  #discard() {
    if (this.#base) this.#text = this.#base.raw;
    const field = /** @type {HTMLTextAreaElement | null} */ (this.querySelector("#config-text"));
    if (field) field.value = this.#text;
    this.#preview = this.#conflict = null;
    this.draw();
  }

  async #review() {
    this.#written = null;
    await this.#attempt(async () => {
      this.#preview = await this.link.call("config.preview", { raw: this.#text, baseHash: this.#base?.hash });
    });
  }

  async #apply() {
    await this.#attempt(async () => {
      this.#written = await this.link.call("config.apply", { raw: this.#text, baseHash: this.#base?.hash, note: "control ui" });
      this.#preview = null;
      this.#take(await this.link.call("config.get"));
    });
  }

  /** @param {() => Promise<void>} deed */
  async #attempt(deed) {
    try {
      await deed();
      this.problem = "";
    } catch (error) {
      const message = String(/** @type {any} */ (error).message);
      if (CHANGED.test(message)) await this.#meet();
      else this.problem = [message, ...(/** @type {any} */ (error).details?.issues ?? []).map((/** @type {any} */ issue) => `${issue.path}: ${issue.message}`)].join(" · ");
    }
    this.draw();
  }

  /** Somebody else has written the file. */
  async #meet() {
    const base = /** @type {File} */ (this.#base);
    const file = await this.link.call("config.get");
    const theirs = { raw: file.raw ?? "", hash: file.hash, path: file.path, issues: file.issues, warnings: file.warnings };
    this.#preview = null;
    this.#conflict = { pieces: merge(base.raw, this.#text, theirs.raw), choices: new Map(), base: theirs };
  }

  /** @param {Conflict} conflict */
  #choice(conflict) {
    const open = conflict.pieces.filter((piece, place) => "mine" in piece && !conflict.choices.has(place)).length;
    const side = (/** @type {number} */ place, /** @type {"mine" | "theirs"} */ whose, /** @type {string[]} */ lines) => h("label", { class: "side" },
      h("span", null, h("input", { type: "radio", name: `piece-${place}`, value: whose, checked: conflict.choices.get(place) === whose, onchange: () => { conflict.choices.set(place, whose); this.draw(); } }), " ", t(whose === "mine" ? "conflict.mine" : "conflict.theirs")),
      h("pre", null, lines.join("\n") || t("conflict.nothing")));
    return h("section", { class: "card", id: "conflict", "aria-label": t("conflict.title") }, h("h2", null, t("conflict.title")), h("p", { role: "alert" }, t("conflict.words")),
      conflict.pieces.map((piece, place) => "mine" in piece && h("fieldset", { "data-key": place }, h("legend", null, t("conflict.place")), side(place, "mine", piece.mine), side(place, "theirs", piece.theirs))),
      !conflict.pieces.some((piece) => "mine" in piece) && h("p", { class: "note" }, t("conflict.apart")),
      h("div", { class: "bar" },
        button(t("conflict.merge"), () => this.#settle(conflict), { id: "conflict-merge", class: "primary", disabled: open > 0 }),
        button(t("conflict.take"), () => { this.#conflict = null; this.#base = conflict.base; this.#discard(); }, { id: "conflict-take" }),
        open > 0 && h("span", { class: "dim" }, t("conflict.open", { count: open }))));
  }

  /** @param {Conflict} conflict */
  async #settle(conflict) {
    const text = conflict.pieces.flatMap((piece, place) => ("lines" in piece ? piece.lines : conflict.choices.get(place) === "mine" ? piece.mine : piece.theirs)).join("\n");
    this.#conflict = null;
    this.#base = conflict.base;
    this.#text = text;
    const field = /** @type {HTMLTextAreaElement | null} */ (this.querySelector("#config-text"));
    if (field) field.value = text;
    if (text === this.#base?.raw) this.draw();
    else await this.#review();
  }

  #difference() {
    const { valid, issues, restart } = this.#preview;
    const lines = diff((this.#base?.raw ?? "").split("\n"), this.#text.split("\n"));
    const near = (/** @type {number} */ place) => lines.slice(Math.max(0, place - AROUND), place + AROUND + 1).some(({ kind }) => kind !== "same");
    return h("section", { class: "card", id: "preview", "aria-label": t("config.difference") }, h("h2", null, t("config.difference")),
      h("div", { class: "wide diff", tabindex: 0, role: "region", "aria-label": t("config.difference") }, lines.map((line, place) => near(place)
        ? h("p", { class: line.kind }, h("span", { "aria-hidden": "true" }, { same: "  ", gone: "− ", new: "+ " }[line.kind]), line.kind !== "same" && h("span", { class: "unseen" }, t(line.kind === "new" ? "diff.new" : "diff.gone")), line.text)
        : near(place - 1) && h("p", { class: "skipped", "aria-hidden": "true" }, "⋯"))),
      valid ? h("div", { id: "effects" }, this.#effects(restart)) : issues.map((/** @type {any} */ issue) => h("p", { class: "note bad", role: "alert" }, plain([issue.path, issue.message].filter(Boolean).join(": ")))),
      h("div", { class: "bar" },
        button(t("config.apply"), () => this.#apply(), { id: "config-apply", class: "primary", disabled: !valid }),
        button(t("config.back"), () => { this.#preview = null; this.draw(); })));
  }

  /** Which services react. @param {any} restart */
  #effects(restart) {
    return [
      restart.services.length > 0 && h("p", null, badge("warn", t("config.restarts")), " ", restart.services.join(", ")),
      restart.reloaded.length > 0 && h("p", null, badge("good", t("config.reloads")), " ", restart.reloaded.join(", ")),
      (!restart.ok || restart.services.length + restart.reloaded.length === 0) && h("p", { class: "dim" }, plain(restart.reason)),
    ];
  }

  /** @param {any} written */
  #outcome(written) {
    return h("div", { class: "note good", id: "written", role: "status" }, h("p", null, t("config.written")), written.restart && this.#effects(written.restart));
  }
}

customElements.define("verso-config", Config);
