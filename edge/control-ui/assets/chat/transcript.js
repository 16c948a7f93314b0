// A conversation of any length: read in pages from its end backwards, and only what is near the window is in the document. The rest is
// blocks of the height that they had.

import { h } from "../dom.js";
import { entry, parts } from "./entry.js";

/** Entries that come and go together. */
const BLOCK_ENTRIES_MAX = 20;
/** How far beyond the window entries are kept, in pixels. */
const MARGIN_PX = 1500;
/** The reader is at the end within this distance, in pixels. */
const END_PX = 80;
const FIRST_PAGE = 60;
const NEXT_PAGE = 200;

/**
 * @typedef {import("./entry.js").Message} Message
 * @typedef {{element: HTMLElement, messages: Message[], shown: boolean}} Block
 */

export class Transcript {
  /** The newest part of the conversation that is not in the transcript yet is added here. */
  tail = h("ol", { class: "entries tail" });
  hasOlder = false;
  /** @type {any} the session as the gateway last described it */
  session = null;

  #call;
  #key = "";
  #scroller;
  #older = h("div", { class: "older", "aria-hidden": "true" });
  #body = h("div", null);
  /** @type {Block[]} */
  #blocks = [];
  /** @type {Map<string, {message: Message, block: Block | null}>} */
  #known = new Map();
  /** @type {Map<string, Message>} results of tools by the call */
  #results = new Map();
  /** @type {Map<string, Message>} who made a call */
  #calls = new Map();
  /** @type {number | null} */
  #firstSeq = null;
  #lastSeq = -1;
  /** The height of an entry as it was lately, in pixels. */
  #entryPx = 110;
  #reading = false;
  #watch;
  #edge;

  /**
   * @param {HTMLElement} scroller
   * @param {(method: string, params: object) => Promise<any>} call
   * @param {() => void} retry
   */
  constructor(scroller, call, retry) {
    this.#around.retry = retry;
    this.#scroller = scroller;
    this.#call = call;
    scroller.replaceChildren(this.#older, this.#body, this.tail);
    const options = { root: scroller, rootMargin: `${MARGIN_PX}px 0px` };
    this.#watch = new IntersectionObserver((seen) => seen.forEach(({ target, isIntersecting }) => this.#turn(target, isIntersecting)), options);
    this.#edge = new IntersectionObserver((seen) => { if (seen.some(({ isIntersecting }) => isIntersecting)) this.older(); }, options);
    this.#edge.observe(this.#older);
  }

  get size() {
    return this.#known.size;
  }

  /** Every message, the oldest first. */
  get messages() {
    return this.#blocks.flatMap(({ messages }) => messages);
  }

  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < END_PX;
  }

  toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Does something that changes heights; a reader at the end stays there. @param {() => void} work */
  follow(work) {
    const atEnd = this.atEnd;
    work();
    if (atEnd) this.toEnd();
  }

  /** Shows another conversation, from its end. @param {string} key */
  async open(key) {
    this.#key = key;
    this.#watch.disconnect();
    this.#blocks = [];
    this.#known.clear();
    this.#results.clear();
    this.#calls.clear();
    [this.#firstSeq, this.#lastSeq, this.hasOlder, this.session] = [null, -1, false, null];
    this.#body.replaceChildren();
    await this.newest(true);
    this.toEnd();
  }

  /** Reads what is new. Where more is new than one page holds, it begins anew. @param {boolean} [anew] */
  async newest(anew = false) {
    const key = this.#key;
    const page = await this.#call("chat.history", { sessionKey: key, limit: FIRST_PAGE });
    if (key !== this.#key) return page;
    const first = page.messages[0]?.__openclaw?.seq;
    const apart = !anew && this.#known.size > 0 && first !== undefined && first > this.#lastSeq + 1;
    const another = !anew && this.session?.sessionId && page.sessionId && this.session.sessionId !== page.sessionId;
    if (apart || another) { await this.open(key); return page; }
    this.session = { ...page.sessionInfo, sessionId: page.sessionId, thinkingLevel: page.thinkingLevel };
    if (anew) this.hasOlder = Boolean(page.hasMore);
    this.follow(() => page.messages.forEach((/** @type {Message} */ message) => this.append(message)));
    return page;
  }

  /** Reads the page before the oldest entry. */
  async older() {
    if (this.#reading || !this.hasOlder || this.#firstSeq === null) return;
    this.#reading = true;
    const key = this.#key;
    try {
      const page = await this.#call("chat.history", { sessionKey: key, limit: NEXT_PAGE, offset: this.#lastSeq - this.#firstSeq + 1 });
      if (key !== this.#key) return;
      this.hasOlder = Boolean(page.hasMore) && page.messages.length > 0;
      const before = this.#scroller.scrollHeight - this.#scroller.scrollTop;
      this.#prepend(page.messages);
      this.#scroller.scrollTop = this.#scroller.scrollHeight - before;
    } catch {
      // The next time that the reader comes here, it is asked again.
    } finally {
      this.#reading = false;
    }
    // The edge may still be in sight: an observer only tells of changes.
    this.#edge.unobserve(this.#older);
    this.#edge.observe(this.#older);
  }

  /** Adds a message at the end; what is known already is brought up to date. @param {Message} message */
  append(message) {
    const place = message.__openclaw;
    if (!place) return;
    const known = this.#known.get(place.id);
    if (known) return;
    if (this.#firstSeq !== null && place.seq < this.#firstSeq) return;
    this.#firstSeq ??= place.seq;
    this.#lastSeq = Math.max(this.#lastSeq, place.seq);
    if (!this.#folded(message)) this.#known.set(place.id, { message, block: this.#add(message) });
  }

  /** Adds what the gateway has not written down, where the reader is now. @param {string} role @param {string} text */
  aside(role, text) {
    this.#add({ role, content: [{ type: "text", text }] });
  }

  /** @param {Message} message */
  #add(message) {
    let block = this.#blocks.at(-1);
    if (!block || block.messages.length >= BLOCK_ENTRIES_MAX) {
      block = this.#block([]);
      this.#blocks.push(block);
      this.#body.append(block.element);
    }
    block.messages.push(message);
    if (block.shown) block.element.append(entry(message, this.#around));
    else this.#fill(block);
    return block;
  }

  /** @param {Message[]} messages the oldest first */
  #prepend(messages) {
    const unknown = messages.filter((message) => message.__openclaw && !this.#known.has(message.__openclaw.id));
    if (unknown.length === 0) return;
    this.#firstSeq = Math.min(...unknown.map((message) => message.__openclaw?.seq ?? Infinity), this.#firstSeq ?? Infinity);
    const visible = unknown.filter((message) => !this.#folded(message));
    // From the end, so that the short block is the oldest one.
    for (let end = visible.length; end > 0; end -= BLOCK_ENTRIES_MAX) {
      const block = this.#block(visible.slice(Math.max(0, end - BLOCK_ENTRIES_MAX), end));
      for (const message of block.messages) this.#known.set(/** @type {any} */ (message.__openclaw).id, { message, block });
      this.#blocks.unshift(block);
      // Drawn when the reader comes near; until then it has the height that such entries have.
      block.element.style.height = `${block.messages.length * this.#entryPx}px`;
      this.#body.prepend(block.element);
    }
  }

  /** Takes note of calls and results; a result whose call is here is shown in the call's card. @param {Message} message */
  #folded(message) {
    const id = message.__openclaw?.id ?? "";
    for (const part of parts(message)) if (part.type === "toolCall" && part.id) this.#calls.set(part.id, message);
    if (message.role !== "toolResult" || !message.toolCallId) return false;
    this.#results.set(message.toolCallId, message);
    const call = this.#calls.get(message.toolCallId);
    // A page may begin between a call and its result: the call is in an older one.
    if (!call && !this.hasOlder) return false;
    this.#known.set(id, { message, block: null });
    if (call) this.#redraw(call);
    return true;
  }

  /** @param {Message} message */
  #redraw(message) {
    const known = this.#known.get(message.__openclaw?.id ?? "");
    if (!known?.block?.shown) return;
    const old = known.block.element.querySelector(`[data-id="${CSS.escape(message.__openclaw?.id ?? "")}"]`);
    const open = [...(old?.querySelectorAll("details") ?? [])].map((details) => details.open);
    const next = entry(message, this.#around);
    next.querySelectorAll("details").forEach((/** @type {HTMLDetailsElement} */ details, /** @type {number} */ place) => { details.open = open[place] ?? false; });
    old?.replaceWith(next);
  }

  /** @type {import("./entry.js").Around} */
  #around = {
    retry: () => {},
    results: this.#results,
    picture: async (message, place) => {
      const answer = await this.#call("chat.message.get", { sessionKey: this.#key, messageId: message.__openclaw?.id }).catch(() => null);
      return answer?.message?.content?.[place]?.data ?? null;
    },
  };

  /** @param {Message[]} messages @returns {Block} */
  #block(messages) {
    const element = h("ol", { class: "entries" });
    const block = { element, messages, shown: false };
    element.block = block;
    this.#watch.observe(element);
    return block;
  }

  /** @param {Block} block */
  #fill(block) {
    block.shown = true;
    block.element.replaceChildren(...block.messages.map((message) => entry(message, this.#around)));
    block.element.style.removeProperty("height");
  }

  /** @param {any} element @param {boolean} near */
  #turn(element, near) {
    /** @type {Block} */
    const block = element.block;
    if (near === block.shown || !element.isConnected) return;
    if (near) {
      const before = element.offsetHeight;
      const above = element.offsetTop < this.#scroller.scrollTop;
      this.#fill(block);
      // What has another height than it had must not move what is being read.
      if (above) this.#scroller.scrollTop += element.offsetHeight - before;
    } else {
      const height = element.offsetHeight;
      this.#entryPx = (this.#entryPx + height / Math.max(block.messages.length, 1)) / 2;
      element.style.height = `${height}px`;
      element.replaceChildren();
      block.shown = false;
    }
  }

  close() {
    this.#watch.disconnect();
    this.#edge.disconnect();
  }
}
