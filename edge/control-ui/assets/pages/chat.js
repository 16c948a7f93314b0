// Conversations: the list of them, one of them, and what is written next.

import { announce, h, show } from "../dom.js";
import { icon } from "../icons.js";
import { house, relative } from "../page.js";
import { t } from "../words.js";
import { Composer } from "../chat/composer.js";
import { agentName, parts, toolCard, words } from "../chat/entry.js";
import { render } from "../chat/markdown.js";
import { outbox } from "../chat/outgoing.js";
import { SessionList, title } from "../chat/sessions.js";
import { Transcript } from "../chat/transcript.js";

/** Letters of an answer that are read out when it is there. */
const SAID_CHARS_MAX = 300;
/** A run that nobody has heard of for this long is asked for, in milliseconds. */
const QUIET_MS = 15_000;

/**
 * A run that is going on.
 * @typedef {{text: string, tools: Map<string, import("../chat/entry.js").Tool>, heard: number, drawn?: HTMLElement}} Live
 */

export default class Chat extends HTMLElement {
  rest = "";
  #key = "";
  /** @type {Map<string, Live>} */
  #runs = new Map();
  /** Runs that have ended here; what is still said of them comes late. @type {Set<string>} */
  #over = new Set();
  #gone = new AbortController();
  /** @type {any} */ #options = { models: [], commands: [] };
  #frame = 0;
  #timer = 0;
  /** Which conversation is being read. */
  #reading = "";
  /** @type {Promise<void>} */
  #current = Promise.resolve();
  #again = false;

  #scroller = h("div", { id: "messages", tabindex: 0, role: "log", "aria-live": "off", "aria-label": t("chat.conversation") });
  #head = h("header", { class: "talk-head" });
  #note = h("div", { class: "notes" });
  #jump = h("button", { type: "button", class: "jump", hidden: true, "aria-label": t("chat.newest"), title: t("chat.newest"), onclick: () => this.#transcript.toEnd() }, icon("down"));
  #transcript = new Transcript(this.#scroller, (method, params) => house.link.call(method, params), () => this.#retry());
  #composer = new Composer({
    send: (text, attachments) => {
      const kept = outbox().add(this.#key, text, attachments);
      if (kept) requestAnimationFrame(() => this.#transcript.toEnd());
      return kept;
    },
    stop: () => this.#stop(),
  });
  #sessions = new SessionList((key) => house.go(`chat/${encodeURIComponent(key)}`), () => this.#drawHead());

  connectedCallback() {
    const { signal } = this.#gone;
    this.append(this.#sessions.element, h("section", { class: "talk", "aria-label": t("chat.conversation") },
      this.#head, this.#note, h("div", { class: "stage" }, this.#scroller, this.#jump), this.#composer.element));
    house.link.addEventListener("state", () => { if (house.link.state.phase === "open") this.#entered(); this.#drawHead(); }, { signal });
    house.link.addEventListener("gateway", (event) => this.#hear(/** @type {CustomEvent} */ (event).detail), { signal });
    outbox().addEventListener("change", () => this.#soon(), { signal });
    this.#scroller.addEventListener("scroll", () => { this.#jump.hidden = this.#transcript.atEnd; }, { signal, passive: true });
    this.#timer = setInterval(() => this.#lookAfter(), QUIET_MS / 3);
    this.#entered();
  }

  disconnectedCallback() {
    this.#gone.abort();
    clearInterval(this.#timer);
    this.#transcript.close();
    this.#sessions.close();
  }

  /** Goes to another conversation. @param {string} rest */
  moved(rest) {
    const wanted = decodeURIComponent(rest) || house.link.hello?.snapshot?.sessionDefaults?.mainSessionKey || "main";
    if (wanted === this.#key) return;
    this.#key = wanted;
    this.#runs.clear();
    this.#over.clear();
    this.#sessions.choose(wanted);
    this.#read(true);
    this.#loadOptions();
  }

  /** `/` leads here. */
  search() {
    this.#sessions.search();
  }

  async #entered() {
    if (house.link.state.phase !== "open") return this.#drawHead();
    if (!this.#key) this.moved(this.rest);
    else { this.#read(false); this.#loadOptions(); }
    this.#sessions.refresh();
    house.link.call("sessions.subscribe", {}).catch(() => null);
  }

  async #loadOptions() {
    const key = this.#key;
    this.#options = await house.link.call("chat.metadata", { sessionKey: key }).catch(() => this.#options);
    this.#composer.commands = this.#options.commands;
    this.#drawHead();
  }

  /**
   * Reads the conversation; `anew`: another one than is shown. Resolves when everything is there that was when it was called.
   * @param {boolean} anew @returns {Promise<void>}
   */
  #read(anew) {
    // One after the other; what came meanwhile is read afterwards.
    if (this.#reading === this.#key && !anew) this.#again = true;
    else this.#current = this.#readNow(anew);
    return this.#current;
  }

  /** @param {boolean} anew */
  async #readNow(anew) {
    const key = this.#reading = this.#key;
    this.#again = false;
    let problem = "";
    try {
      if (anew) await this.#transcript.open(key);
      else await this.#transcript.newest();
      house.link.call("sessions.messages.subscribe", { key }).catch(() => null);
    } catch (error) {
      problem = house.link.state.phase === "open" ? t("chat.unread", { why: String(/** @type {any} */ (error).message) }) : "";
    }
    if (key !== this.#key) return;
    this.#reading = "";
    if (!problem) {
      const active = this.#transcript.session?.activeRunIds ?? [];
      for (const run of this.#runs.keys()) if (!active.includes(run)) this.#runs.delete(run);
      for (const run of active) if (!this.#runs.has(run) && !this.#over.has(run)) this.#runs.set(run, { text: "", tools: new Map(), heard: Date.now() });
      this.#arrived();
    }
    this.#say(problem);
    this.#drawHead();
    this.#soon();
    if (this.#again) await this.#readNow(false);
  }

  /** What is in the transcript is on its way no longer. */
  #arrived() {
    const there = new Set(this.#transcript.messages.slice(-200).map(({ idempotencyKey, __openclaw: place }) => (idempotencyKey ?? place?.idempotencyKey ?? "").replace(/:user$/, "")));
    for (const item of outbox().of(this.#key)) if (there.has(item.key)) outbox().remove(item.key);
  }

  /** @param {{name: string, payload: any}} event */
  #hear({ name, payload }) {
    if (name === "sessions.changed") this.#sessions.soon();
    if (name === "health") { this.#drawHead(); this.#soon(); if (house.link.serves("agent") && this.#runs.size) this.#read(false); }
    if (name === "events.resync") this.#read(false);
    if (payload.sessionKey !== this.#key && payload.sessionKey !== this.#transcript.session?.key) return;
    if (name === "chat") this.#chat(payload);
    if (name === "agent" && payload.stream === "tool" || name === "session.tool") this.#tool(payload);
    if (name === "session.message" || name === "sessions.changed" && /^(reset|patch)$/.test(payload.reason)) this.#read(false);
  }

  /** @param {string} id */
  #run(id) {
    let run = this.#runs.get(id);
    if (!run) this.#runs.set(id, run = { text: "", tools: new Map(), heard: 0 });
    run.heard = Date.now();
    return run;
  }

  /** @param {any} payload */
  #chat({ runId, state, message, errorMessage }) {
    const text = message ? words(message) : "";
    if (state === "delta" && this.#over.has(runId)) return;
    if (state === "delta") {
      this.#run(runId).text = text;
      return this.#soon();
    }
    this.#ended(runId, state, text, errorMessage);
  }

  /** @param {string} runId @param {string} state @param {string} text @param {string} [errorMessage] */
  async #ended(runId, state, text, errorMessage) {
    const key = this.#key;
    this.#over.add(runId);
    if (state === "final" && text) announce(`${agentName()}: ${text.slice(0, SAID_CHARS_MAX)}`);
    if (state === "aborted") announce(t("chat.stopped"));
    await this.#read(false);
    if (key !== this.#key) return;
    this.#runs.delete(runId);
    const recent = this.#transcript.messages.slice(-20);
    const own = outbox().of(key).find((item) => item.key === runId);
    if (own) outbox().remove(runId);
    this.#transcript.follow(() => {
      // What was answered without a run is nowhere but here; what waited behind a run may stand in the transcript with others.
      if (own?.text && !recent.some((one) => one.role === "user" && words(one).includes(own.text))) this.#transcript.aside("user", own.text);
      if (text && !recent.some((one) => one.role === "assistant" && words(one).includes(text))) this.#transcript.aside("assistant", text);
      if (state === "error") this.#transcript.aside("note", errorMessage || t("chat.broken"));
      if (state === "aborted") this.#transcript.aside("note", t("chat.stopped"));
    });
    this.#soon();
  }

  /** @param {any} payload */
  #tool({ runId, data = {} }) {
    if (this.#over.has(runId)) return;
    const run = this.#run(runId);
    const id = data.toolCallId ?? "";
    /** @type {import("../chat/entry.js").Tool} */
    const tool = run.tools.get(id) ?? { name: data.name ?? "?", running: true };
    if (data.args !== undefined) tool.args = data.args;
    if (data.phase === "update") tool.result = text(data.partialResult);
    if (data.phase === "result") Object.assign(tool, { running: false, failed: data.isError, result: text(data.result) });
    run.tools.set(id, tool);
    this.#soon();
  }

  /** A run that has gone quiet is looked for in what the gateway knows. */
  #lookAfter() {
    if (document.hidden || house.link.state.phase !== "open") return;
    if ([...this.#runs.values()].some(({ heard }) => Date.now() - heard > QUIET_MS)) this.#read(false);
  }

  async #stop() {
    try {
      await house.link.call("chat.abort", { sessionKey: this.#key });
    } catch (error) {
      this.#say(t("chat.unstopped", { why: String(/** @type {any} */ (error).message) }));
    }
  }

  /** @param {string} words */
  #say(words) {
    show(this.#note, words && h("p", { class: "note bad", role: "alert" }, words));
  }

  /** Draws what is on its way, once per picture. */
  #soon() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#transcript.follow(() => this.#drawTail());
      this.#jump.hidden = this.#transcript.atEnd;
    });
  }

  #drawTail() {
    const mine = outbox().of(this.#key);
    const sent = mine.map((item) => h("li", { class: `entry ${item.state}`, "data-role": "user", "data-key": `sent ${item.key}` },
      item.text && h("div", { class: "words" }, item.text), item.attachments.map((one) => h("img", { class: "picture", alt: one.fileName, src: `data:${one.mimeType};base64,${one.content}` })),
      h("footer", null, item.state === "failed" ? h("span", { class: "bad" }, t("outbox.failed", { why: item.error ?? "" })) : t(/** @type {any} */ (`outbox.${item.state}`)),
        item.state === "failed" && h("button", { type: "button", class: "quiet small", onclick: () => outbox().retry(item.key) }, icon("retry"), t("retry")),
        item.state !== "accepted" && item.state !== "sending" && h("button", { type: "button", class: "quiet small", onclick: () => outbox().remove(item.key) }, icon("close"), t("discard")))));
    const running = [...this.#runs].map(([id, run]) => this.#live(id, run));
    show(this.#transcript.tail, sent, running);
    this.#composer.running(this.#runs.size > 0);
    this.#scroller.classList.toggle("nothing", this.#transcript.size === 0 && sent.length + running.length === 0);
  }

  /** @param {string} id @param {Live} run */
  #live(id, run) {
    const written = this.#transcript.messages.slice(-12);
    const calls = new Set(written.flatMap((message) => parts(message).map((part) => part.id)));
    const settled = written.some((message) => message.role === "assistant" && run.text && words(message) === run.text);
    const drawn = run.drawn ??= /** @type {HTMLElement} */ (h("div", { class: "words markdown", "data-own": true }));
    render(drawn, settled ? "" : run.text);
    const tools = [...run.tools].filter(([call]) => !calls.has(call)).map(([call, tool]) => toolCard(tool, call));
    const item = h("li", { class: "entry live", "data-role": "assistant", "data-key": `live ${id}` }, tools,
      h("span", { class: "pulse" }, h("span", { class: "unseen" }, t(house.link.serves("agent") ? "chat.writing" : "chat.waiting"))));
    item.insertBefore(drawn, item.lastChild);
    return item;
  }

  /** Sends what was asked last once more. */
  #retry() {
    const last = words(this.#transcript.messages.filter(({ role }) => role === "user").at(-1) ?? { role: "user", content: "" });
    if (last) outbox().add(this.#key, last, []);
  }

  #drawHead() {
    const session = this.#transcript.session ?? {};
    const admin = house.link.may("admin");
    const models = this.#options.models ?? [];
    const model = session.modelProvider ? `${session.modelProvider}/${session.model}` : "";
    const levels = session.thinkingLevels ?? (session.thinkingOptions ?? []).map((/** @type {string} */ id) => ({ id, label: id }));
    const patch = async (/** @type {object} */ change) => {
      try {
        await house.link.call("sessions.patch", { key: this.#key, ...change });
        this.#say("");
      } catch (error) {
        this.#say(String(/** @type {any} */ (error).message));
      }
      this.#read(false);
    };
    this.classList.toggle("stale", house.link.state.phase !== "open");
    show(this.#head,
      h("button", { type: "button", class: "quiet narrow-only", "aria-label": t("sessions"), title: t("sessions"), onclick: () => this.#sessions.toggle() }, icon("list")),
      h("h1", null, title({ key: this.#key, ...session, ...this.#sessions.find(this.#key) })),
      !house.link.serves("agent") && h("p", { class: "badge warn", role: "status" }, t("chat.away")),
      h("div", { class: "switches" },
        models.length > 0 && h("label", null, h("span", { class: "unseen" }, t("model")),
          h("select", { id: "model", value: model, disabled: !admin, title: t("model"), onchange: (/** @type {any} */ event) => patch({ model: event.target.value }) },
            !models.some((/** @type {any} */ one) => `${one.provider}/${one.id}` === model) && h("option", { value: model, selected: true }, model || t("model.default")),
            models.map((/** @type {any} */ one) => h("option", { value: `${one.provider}/${one.id}`, selected: `${one.provider}/${one.id}` === model }, one.name)))),
        levels.length > 0 && h("label", null, h("span", { class: "unseen" }, t("thinking")),
          h("select", { id: "thinking", value: session.thinkingLevel ?? "off", disabled: !admin, title: t("thinking"), onchange: (/** @type {any} */ event) => patch({ thinkingLevel: event.target.value }) },
            levels.map((/** @type {any} */ one) => h("option", { value: one.id, selected: one.id === (session.thinkingLevel ?? "off") }, t("thinking.level", { level: one.label }))))),
        session.totalTokens > 0 && session.contextTokens > 0 && h("span", { class: "dim wide-only", title: t("context.hint") },
          t("context", { percent: Math.round(100 * session.totalTokens / session.contextTokens) })),
        session.updatedAt && h("span", { class: "dim wide-only" }, relative(session.updatedAt))));
  }
}

/** @param {any} value */
function text(value) {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value;
  if (Array.isArray(value.content)) return value.content.map((/** @type {any} */ part) => part.text ?? "").join("\n");
  return JSON.stringify(value, null, 2);
}

customElements.define("verso-chat", Chat);
