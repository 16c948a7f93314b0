// Messages on their way. Each has a key that the gateway knows it by, and is kept by the browser until the gateway has accepted it: sent
// again after a lost connection, or a closed page, it is still one message.

import { randomId } from "../gateway/device.js";
import { Refused } from "../gateway/link.js";
import { forget, keep, loadAll } from "../gateway/storage.js";

/** Messages waiting at once. */
const WAITING_MAX = 50;
/** What nobody accepted for this long is not sent behind the user's back. */
const STALE_MS = 10 * 60_000;
const RETRY_MS = 1_500;

/**
 * @typedef {{mimeType: string, fileName: string, content: string}} Attachment
 * @typedef {"waiting" | "sending" | "accepted" | "failed"} Progress
 * @typedef {{key: string, sessionKey: string, text: string, attachments: Attachment[], at: number, state: Progress, stale?: boolean, error?: string}} Sent
 */

/** Emits `change`. */
export class Outbox extends EventTarget {
  /** @type {Sent[]} */
  items = [];
  #link;
  #flushing = false;
  #restored = false;

  /** @param {import("../gateway/link.js").Link} link */
  constructor(link) {
    super();
    this.#link = link;
    link.addEventListener("state", () => { if (link.state.phase === "open") this.flush(); });
  }

  /** @param {string} sessionKey */
  of(sessionKey) {
    return this.items.filter((item) => item.sessionKey === sessionKey);
  }

  /** Takes up what an earlier page left. */
  async restore() {
    if (this.#restored) return;
    this.#restored = true;
    /** @type {Sent[]} */
    const left = await loadAll("outbox").catch(() => []);
    for (const item of left.sort((one, two) => one.at - two.at)) {
      if (this.items.some(({ key }) => key === item.key)) continue;
      const stale = Date.now() - item.at > STALE_MS;
      this.items.push({ ...item, stale, state: stale ? "failed" : "waiting", error: stale ? "not sent in time" : undefined });
    }
    this.#changed();
  }

  /** @param {string} sessionKey @param {string} text @param {Attachment[]} attachments */
  add(sessionKey, text, attachments) {
    if (this.items.filter(({ state }) => state !== "accepted").length >= WAITING_MAX) return false;
    /** @type {Sent} */
    const item = { key: randomId(), sessionKey, text, attachments, at: Date.now(), state: "waiting" };
    this.items.push(item);
    keep("outbox", item.key, item).catch(() => null);
    this.#changed();
    this.flush();
    return true;
  }

  /** Sends a refused message as a new one, and one that lay about as what it was: nobody knows how far it came. @param {string} key */
  retry(key) {
    const item = this.items.find((one) => one.key === key);
    if (!item) return;
    if (item.stale) {
      [item.stale, item.error, item.at] = [false, undefined, Date.now()];
      this.#become(item, "waiting");
      this.flush();
      return;
    }
    this.remove(key);
    this.add(item.sessionKey, item.text, item.attachments);
  }

  /** The message has arrived where everybody sees it, or is given up. @param {string} key */
  remove(key) {
    const before = this.items.length;
    this.items = this.items.filter((item) => item.key !== key);
    forget("outbox", key).catch(() => null);
    if (this.items.length !== before) this.#changed();
  }

  /** One after the other, in the order in which they were written. */
  async flush() {
    if (this.#flushing) return;
    this.#flushing = true;
    await this.restore();
    for (let item = this.#next(); item && this.#link.state.phase === "open"; item = this.#next()) await this.#send(item);
    this.#flushing = false;
  }

  #next() {
    return this.items.find(({ state }) => state === "waiting");
  }

  /** @param {Sent} item */
  async #send(item) {
    this.#become(item, "sending");
    try {
      await this.#link.call("chat.send", {
        sessionKey: item.sessionKey, message: item.text, idempotencyKey: item.key,
        ...(item.attachments.length ? { attachments: item.attachments } : {}),
      });
      forget("outbox", item.key).catch(() => null);
      this.#become(item, "accepted");
    } catch (error) {
      if (error instanceof Refused && error.again) {
        this.#become(item, "waiting");
        if (this.#link.state.phase === "open") await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs || RETRY_MS));
        return;
      }
      item.error = error instanceof Error ? error.message : String(error);
      this.#become(item, "failed");
    }
  }

  /** @param {Sent} item @param {Progress} state */
  #become(item, state) {
    item.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
