// Where a message is written: words, pictures, and text files, which travel as words.

import { announce, h, show } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../words.js";

/** As the gateway takes them. */
const PICTURES_MAX = 10;
const PICTURE_BYTES_MAX = 5_000_000;
/** A text file becomes a part of the message. */
const TEXT_BYTES_MAX = 200_000;
const SUGGESTIONS_MAX = 8;

/**
 * @typedef {import("./outbox.js").Attachment} Attachment
 * @typedef {{name: string, description: string, textAliases: string[], acceptsArgs: boolean}} Command
 */

export class Composer {
  /** @type {HTMLFormElement} */
  element;
  /** @type {Command[]} */
  commands = [];
  /** @type {HTMLTextAreaElement} */
  #field;
  /** @type {Attachment[]} */
  #pictures = [];
  /** @type {{name: string, text: string}[]} */
  #files = [];
  #chips = h("ul", { class: "chips", "aria-label": t("attached"), hidden: true });
  #problem = h("p", { class: "note bad", role: "alert", hidden: true });
  #menu = h("ul", { id: "commands", class: "menu", role: "listbox", "aria-label": t("commands"), hidden: true });
  #stop;
  #send;
  #chosen = -1;

  /** @param {{send: (text: string, attachments: Attachment[]) => boolean, stop: () => void}} on */
  constructor(on) {
    const pick = h("input", { type: "file", multiple: true, hidden: true, tabindex: -1, "aria-label": t("attach"), onchange: () => { this.take([...pick.files]); pick.value = ""; } });
    this.#field = h("textarea", { id: "message", rows: 1, placeholder: t("compose.hint"), "aria-label": t("compose"), "aria-autocomplete": "list", "aria-controls": "commands",
      oninput: () => this.#typed(), onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event), onblur: () => this.#suggest([]),
      onpaste: (/** @type {ClipboardEvent} */ event) => { const files = [...(event.clipboardData?.files ?? [])]; if (files.length) { event.preventDefault(); this.take(files); } } });
    this.#stop = h("button", { type: "button", id: "stop", class: "round", hidden: true, title: t("stop.hint"), "aria-label": t("stop"), onclick: on.stop }, icon("stop"));
    this.#send = h("button", { type: "submit", class: "round primary", title: t("send.hint"), "aria-label": t("send") }, icon("send"));
    const attach = h("button", { type: "button", class: "round quiet", title: t("attach"), "aria-label": t("attach"), onclick: () => pick.click() }, icon("attach"));
    this.element = h("form", { id: "compose", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); this.#submit(on.send); },
      ondragover: (/** @type {DragEvent} */ event) => event.preventDefault(),
      ondrop: (/** @type {DragEvent} */ event) => { event.preventDefault(); this.take([...(event.dataTransfer?.files ?? [])]); } },
      this.#problem, this.#chips, this.#menu, h("div", { class: "row" }, attach, pick, this.#field, this.#stop, this.#send));
  }

  focus() {
    this.#field.focus();
  }

  /** @param {boolean} running */
  running(running) {
    this.#stop.hidden = !running;
  }

  get text() {
    return this.#field.value;
  }

  set text(text) {
    this.#field.value = text;
    this.#typed();
  }

  /** Takes what was chosen, pasted or dropped. @param {File[]} files */
  async take(files) {
    const problems = [];
    for (const file of files) {
      if (file.type.startsWith("image/")) {
        if (file.size > PICTURE_BYTES_MAX) problems.push(t("attach.large", { name: file.name, most: "5 MB" }));
        else if (this.#pictures.length >= PICTURES_MAX) problems.push(t("attach.many", { most: PICTURES_MAX }));
        else this.#pictures.push({ mimeType: file.type, fileName: file.name || "picture", content: await base64(file) });
      } else if (file.size > TEXT_BYTES_MAX) problems.push(t("attach.large", { name: file.name, most: "200 kB" }));
      else {
        const text = await file.text();
        if (text.includes("\u0000") || text.includes("\ufffd")) problems.push(t("attach.kind", { name: file.name }));
        else this.#files.push({ name: file.name, text });
      }
    }
    this.#say(problems.join(" "));
    this.#draw();
  }

  #draw() {
    const chip = (/** @type {string} */ name, /** @type {string | null} */ source, /** @type {() => void} */ remove) =>
      h("li", null, source && h("img", { src: source, alt: "" }), h("span", null, name),
        h("button", { type: "button", class: "quiet small", "aria-label": t("attach.remove", { name }), onclick: () => { remove(); this.#draw(); } }, icon("close")));
    show(this.#chips,
      this.#pictures.map((one) => chip(one.fileName, `data:${one.mimeType};base64,${one.content}`, () => { this.#pictures = this.#pictures.filter((other) => other !== one); })),
      this.#files.map((one) => chip(one.name, null, () => { this.#files = this.#files.filter((other) => other !== one); })));
    this.#chips.hidden = this.#pictures.length + this.#files.length === 0;
  }

  /** @param {string} words */
  #say(words) {
    this.#problem.textContent = words;
    this.#problem.hidden = !words;
  }

  /** @param {(text: string, attachments: Attachment[]) => boolean} send */
  #submit(send) {
    const files = this.#files.map(({ name, text }) => `${name}:\n${fenced(text, name)}`);
    const text = [this.#field.value.trim(), ...files].filter(Boolean).join("\n\n");
    if (!text && this.#pictures.length === 0) return;
    if (!send(text, this.#pictures)) return this.#say(t("outbox.full"));
    this.#pictures = [];
    this.#files = [];
    this.#field.value = "";
    this.#say("");
    this.#draw();
    this.#typed();
  }

  #typed() {
    // Grows with what is in it; the style sheet says how far.
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight + 2}px`;
    const begun = /^\/(\S*)$/.exec(this.#field.value)?.[1]?.toLowerCase();
    this.#suggest(begun === undefined ? [] : this.commands.filter(({ name, textAliases }) => [name, ...textAliases].some((one) => one.replace(/^\//, "").startsWith(begun))));
  }

  /** @param {Command[]} commands */
  #suggest(commands) {
    this.#chosen = -1;
    const few = commands.slice(0, SUGGESTIONS_MAX);
    this.#menu.hidden = few.length === 0;
    this.#field.removeAttribute("aria-activedescendant");
    show(this.#menu, few.map((command, place) => h("li", { id: `command-${place}`, role: "option", "aria-selected": "false",
      onmousedown: (/** @type {Event} */ event) => { event.preventDefault(); this.#take(command); } }, h("b", null, `/${command.name}`), " ", h("span", null, command.description))));
    this.#menu.commands = few;
  }

  /** @param {Command} command */
  #take(command) {
    this.#field.value = `/${command.name}${command.acceptsArgs ? " " : ""}`;
    this.#suggest([]);
    this.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    /** @type {Command[]} */
    const open = this.#menu.hidden ? [] : this.#menu.commands;
    if (open.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      this.#chosen = (this.#chosen + (event.key === "ArrowDown" ? 1 : -1) + open.length) % open.length;
      [...this.#menu.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === this.#chosen)));
      this.#field.setAttribute("aria-activedescendant", `command-${this.#chosen}`);
      return;
    }
    if (open.length && (event.key === "Tab" || event.key === "Enter") && this.#chosen >= 0) {
      event.preventDefault();
      return this.#take(open[this.#chosen]);
    }
    if (event.key === "Escape" && open.length) { event.stopPropagation(); return this.#suggest([]); }
    // A phone's keyboard has no other way to a new line.
    const touch = matchMedia("(pointer: coarse)").matches;
    const sends = event.key === "Enter" && !event.isComposing && (event.ctrlKey || event.metaKey || !event.shiftKey && !touch);
    if (!sends) return;
    event.preventDefault();
    this.element.requestSubmit();
    announce(t("sent.said"));
  }
}

/** @param {File} file @returns {Promise<string>} */
function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** @param {string} text @param {string} name */
function fenced(text, name) {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${/\.(\w+)$/.exec(name)?.[1] ?? ""}\n${text.replace(/\n$/, "")}\n${fence}`;
}
