// One entry of a conversation: words, pictures, thoughts, and cards of what tools did.

import { h, plain } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../words.js";
import { copyText, render } from "./markdown.js";

/** Letters of a tool's result that are shown at once. */
const RESULT_CHARS_MAX = 20_000;
const PICTURE = /^image\/(png|jpeg|gif|webp|avif)$/;

/**
 * @typedef {{type: string, text?: string, id?: string, name?: string, arguments?: any, mimeType?: string, data?: string, omitted?: boolean,
 *   thinking?: string, redacted?: boolean}} Part
 * @typedef {{role: string, content: Part[] | string, timestamp?: number, model?: string, provider?: string, stopReason?: string, toolCallId?: string,
 *   toolName?: string, isError?: boolean, idempotencyKey?: string, __openclaw?: {id: string, seq: number, idempotencyKey?: string}}} Message
 * @typedef {{name: string, args?: any, result?: string, failed?: boolean, running?: boolean}} Tool
 * @typedef {{results: Map<string, Message>, picture: (message: Message, place: number) => Promise<string | null>, retry: () => void}} Around
 */

/** @param {Message} message @returns {Part[]} */
export const parts = (message) =>
  typeof message.content === "string" ? [{ type: "text", text: message.content }] : Array.isArray(message.content) ? message.content : [];

/** @param {Message} message */
export const words = (message) => parts(message).filter(({ type }) => type === "text").map(({ text }) => text ?? "").join("\n\n");

/** @param {unknown} value */
function shown(value) {
  const text = typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value, null, 2);
  return text.length > RESULT_CHARS_MAX ? `${text.slice(0, RESULT_CHARS_MAX)}\n${t("tool.cut", { count: text.length - RESULT_CHARS_MAX })}` : text;
}

/** One line of what a tool was asked. @param {any} args */
function gist(args) {
  if (typeof args === "string") return args;
  const values = Object.values(args ?? {}).filter((value) => typeof value === "string" || typeof value === "number");
  return String(values[0] ?? "").split("\n")[0];
}

/** A card that opens. @param {Tool} tool @param {string} [key] */
export function toolCard(tool, key) {
  const state = tool.running ? "running" : tool.failed ? "failed" : tool.result === undefined ? "open" : "done";
  const block = (/** @type {string} */ label, /** @type {string} */ text) =>
    h("div", null, h("p", { class: "dim" }, label), h("pre", { tabindex: 0, role: "group", "aria-label": label }, plain(text)));
  return h("details", { class: `tool ${state}`, "data-key": key },
    h("summary", null, icon("tool"), h("b", null, plain(tool.name)), h("span", { class: "gist" }, plain(gist(tool.args))),
      h("span", { class: "badge" }, t(/** @type {any} */ (`tool.${state}`)))),
    block(t("tool.asked"), shown(tool.args)), tool.result !== undefined && block(t("tool.answered"), shown(tool.result)));
}

/** @param {Message | undefined} result */
const answered = (result) => (result ? { result: words(result), failed: result.isError } : {});

/** @param {Message} message @param {Part} part @param {number} place @param {Around} around */
function picture(message, part, place, around) {
  const image = (/** @type {string} */ data, /** @type {string} */ mimeType) =>
    h("img", { class: "picture", alt: t("picture.alt"), src: `data:${mimeType};base64,${data}` });
  const mimeType = part.mimeType ?? "";
  if (!PICTURE.test(mimeType)) return h("p", { class: "dim" }, t("picture.kind", { kind: mimeType || "?" }));
  if (part.data) return image(part.data, mimeType);
  const holder = h("button", { type: "button", class: "quiet", onclick: async () => {
    holder.disabled = true;
    const data = await around.picture(message, place);
    holder.replaceWith(data ? image(data, mimeType) : h("p", { class: "dim" }, t("picture.gone")));
  } }, t("picture.show"));
  return holder;
}

/** The inside of an entry. @param {Message} message @param {Around} around @returns {Element[]} */
export function inside(message, around) {
  if (message.role === "toolResult") return [toolCard({ name: message.toolName ?? "?", ...answered(message) })];
  return parts(message).flatMap((part, place) => {
    switch (part.type) {
      case "text": return part.text?.trim() ? [said(message.role, part.text)] : [];
      case "thinking":
        return part.thinking?.trim() ? [h("details", { class: "thought" }, h("summary", null, t("thought")), h("p", null, part.thinking))] : [];
      case "toolCall": return [toolCard({ name: part.name ?? "?", args: part.arguments, ...answered(around.results.get(part.id ?? "")) })];
      case "image": return [picture(message, part, place, around)];
      default: return [];
    }
  });
}

/** What somebody wrote stands as it was written; what an agent writes is Markdown. @param {string} role @param {string} text */
function said(role, text) {
  return role === "user" ? h("div", { class: "words" }, text) : render(h("div", { class: "words markdown" }), text);
}

/** What the agent is called. */
export const agentName = () => {
  const name = /** @type {any} */ (window).__VERSO_ASSISTANT_NAME__;
  return name && name !== "Assistant" ? String(name) : t("role.assistant");
};

/** @param {string} role */
export const speaker = (role) =>
  role === "assistant" ? agentName() : t(role === "user" ? "role.user" : role === "toolResult" ? "role.tool" : "role.system");

/** An entry of the list. @param {Message} message @param {Around} around */
export function entry(message, around) {
  if (message.role === "note") {
    return h("li", { class: "entry", "data-role": "note" }, words(message), " ",
      h("button", { type: "button", class: "quiet small", onclick: around.retry }, icon("retry"), t("retry")));
  }
  const id = message.__openclaw?.id ?? "";
  const item = h("li", { class: "entry", "data-role": message.role, "data-id": id },
    h("span", { class: "unseen" }, `${speaker(message.role)}: `), inside(message, around));
  const text = words(message);
  if (message.role === "assistant" && text) {
    const copy = h("button", { type: "button", class: "quiet small", title: t("copy"), "aria-label": t("copy"), onclick: () => copyText(text, copy) }, icon("copy"));
    const time = message.timestamp ? new Date(message.timestamp) : null;
    item.append(h("footer", null, time && h("time", { datetime: time.toISOString() }, time.toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" })),
      message.model && h("span", null, message.model), copy));
  }
  if (message.stopReason === "error") item.append(h("p", { class: "note bad" }, t("chat.broken")));
  return item;
}
