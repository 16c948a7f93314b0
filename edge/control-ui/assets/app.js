// The shell: who is connected, where one can go, and what is the matter.

import { announce, h, show } from "./dom.js";
import { Entrance, fromAddress } from "./entrance.js";
import { deviceToken } from "./gateway/device.js";
import { Link } from "./gateway/link.js";
import { icon } from "./icons.js";
import { furnish } from "./page.js";
import { t } from "./words.js";

/** The pages, in the order of the menu. Each is fetched when it is first opened. */
const PAGES = /** @type {const} */ (["chat", "overview", "approvals", "devices", "channels", "cron", "usage", "logs", "config"]);
/** Keys that lead to pages, after `g`. */
const KEYS = { c: "chat", o: "overview", a: "approvals", d: "devices", h: "channels", j: "cron", u: "usage", l: "logs", s: "config" };
const THEMES = ["auto", "light", "dark"];
const G_MS = 1_000;

/** @typedef {typeof PAGES[number]} Name */

const given = fromAddress();
const link = new Link();
const [top, tabs, main] = ["top", "tabs", "main"].map((id) => /** @type {HTMLElement} */ (document.getElementById(id)));
const entrance = new Entrance(link, given);

/** Whether the gateway has let this page in since it was loaded. */
let inside = false;
/** @type {any} the page that is shown */
let page = null;
/** @type {Name | ""} */
let name = "";
let approvals = 0;
let pending = 0;
/** The key `g` was pressed then. */
let led = 0;

// ---- where one is -----------------------------------------------------------------------------------------------------------------------

/** @returns {{wanted: Name, rest: string}} */
function route() {
  const [first, ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  const wanted = /** @type {Name} */ (/** @type {readonly string[]} */ (PAGES).includes(first) ? first : "chat");
  return { wanted, rest: rest.join("/") };
}

/** @param {string} to */
function go(to) {
  location.hash = `#/${to}`;
}

async function open() {
  if (!inside) return;
  const { wanted } = route();
  if (wanted !== name) {
    name = wanted;
    page = null;
    drawTabs();
    let made;
    try {
      made = new (await import(`./pages/${wanted}.js`)).default();
    } catch (error) {
      made = h("p", { class: "note bad", role: "alert" }, t("page.missing", { why: String(error) }));
      if (wanted === name) name = "";
    }
    if (route().wanted !== wanted) return;
    // One may have gone on while the page was fetched.
    made.rest = route().rest;
    page = made;
    document.title = `${t(`nav.${wanted}`)} · Verso`;
    document.documentElement.dataset.page = wanted;
    main.replaceChildren(made);
    announce(t(`nav.${wanted}`));
  }
  page?.moved?.(route().rest);
}

// ---- what is drawn ----------------------------------------------------------------------------------------------------------------------

function theme() {
  return localStorage.getItem("verso.theme") ?? "auto";
}

function applyTheme() {
  document.documentElement.dataset.theme = theme();
}

function drawTop() {
  const { state } = link;
  const word = { idle: "", connecting: t("state.connecting"), open: t("state.open"), lost: t("state.lost"), pairing: t("state.pairing"), refused: t("state.refused") }[state.phase];
  const down = inside && state.phase === "open" ? link.health?.unavailable ?? [] : [];
  show(top,
    h("header", { class: "top" },
      inside && h("button", { type: "button", class: "quiet narrow-only", "aria-label": t("menu"), "aria-expanded": String(tabs.classList.contains("open")), "aria-controls": "tabs", onclick: () => toggleMenu() }, icon("menu")),
      h("span", { class: "brand" }, "Verso"),
      h("p", { id: "state", class: `state ${state.phase}`, title: link.hello?.server?.version ?? "" }, word),
      h("button", { type: "button", class: "quiet", title: t("theme", { theme: t(/** @type {any} */ (`theme.${theme()}`)) }), "aria-label": t("theme", { theme: t(/** @type {any} */ (`theme.${theme()}`)) }), onclick: () => {
        localStorage.setItem("verso.theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
        applyTheme();
        drawTop();
      } }, icon("light")),
      inside && h("button", { type: "button", id: "leave", class: "quiet", title: t("leave"), "aria-label": t("leave"), onclick: leave }, icon("leave"))),
    inside && state.phase !== "open" && h("p", { class: "banner warn", role: "status", id: "lost" },
      t(state.phase === "lost" && state.planned ? "lost.planned" : "lost.words"), " ",
      h("button", { type: "button", class: "small", onclick: () => link.hurry() }, t("lost.now"))),
    down.length > 0 && h("p", { class: "banner warn", role: "status", id: "down" }, t("down.words", { services: down.join(", ") })));
}

function drawTabs() {
  tabs.hidden = !inside;
  tabs.setAttribute("aria-label", t("menu"));
  show(tabs, h("ul", null, PAGES.map((one) => {
    const count = one === "approvals" ? approvals : one === "devices" ? pending : 0;
    return h("li", null, h("a", { href: `#/${one}`, "data-tab": one, "aria-current": one === name ? "page" : null, onclick: () => toggleMenu(false) },
      icon(one), h("span", null, t(`nav.${one}`)), count > 0 && h("span", { class: "count", "aria-label": t("nav.count", { count }) }, count)));
  })));
}

/** @param {boolean} [open] */
function toggleMenu(open) {
  tabs.classList.toggle("open", open);
  drawTop();
  if (tabs.classList.contains("open")) /** @type {HTMLElement | null} */ (tabs.querySelector("[aria-current]"))?.focus();
}

function drawMain() {
  if (inside) return;
  name = "";
  delete document.documentElement.dataset.page;
  document.title = "Verso";
  if (entrance.isConnected) entrance.draw();
  else main.replaceChildren(entrance);
}

/** Asks before what cannot be taken back. @param {string} words @param {string} yes @returns {Promise<boolean>} */
function ask(words, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": yes, onclose: () => { resolve(dialog.returnValue === "yes"); dialog.remove(); } },
      h("form", { method: "dialog" }, h("p", null, words),
        h("div", { class: "bar" }, h("button", { value: "no" }, t("cancel")), h("button", { value: "yes", class: "primary danger" }, yes))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function leave() {
  if (!await ask(t("leave.ask"), t("leave"))) return;
  inside = false;
  await link.close(true);
  location.hash = "";
  draw();
}

function draw() {
  drawTop();
  drawTabs();
  drawMain();
}

// ---- what happens -----------------------------------------------------------------------------------------------------------------------

async function count() {
  if (link.state.phase !== "open") return;
  const size = (/** @type {string} */ method, /** @type {(answer: any) => number} */ of) => link.call(method).then(of, () => 0);
  [approvals, pending] = await Promise.all([
    link.may("approvals") ? size("exec.approval.list", (list) => list.length) : 0,
    link.may("pairing") ? size("device.pair.list", (list) => list.pending.length) : 0,
  ]);
  drawTabs();
}

link.addEventListener("state", () => {
  const { state } = link;
  if (state.phase === "open") {
    const first = !inside;
    inside = true;
    if (first) { draw(); open(); }
    count();
    // What an earlier page could not send.
    import("./chat/outgoing.js").then(({ outbox }) => outbox().flush(), () => null);
  }
  if (state.phase === "refused" || state.phase === "pairing") inside = false;
  draw();
});

link.addEventListener("gateway", (event) => {
  const { name: what } = /** @type {CustomEvent} */ (event).detail;
  if (what === "health") drawTop();
  if (/^(exec\.approval|device\.pair)\./.test(what)) count();
});

addEventListener("hashchange", open);
// A menu that lies over the page closes when one goes on with the page.
main.addEventListener("pointerdown", () => { if (tabs.classList.contains("open")) toggleMenu(false); });

addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const typing = target.matches?.("input, textarea, select, [contenteditable]");
  if (event.key === "Escape" && tabs.classList.contains("open")) return toggleMenu(false);
  if (typing || !inside || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "/") {
    event.preventDefault();
    if (page?.search) page.search();
    else /** @type {HTMLElement | null} */ (main.querySelector("input[type=search]"))?.focus();
  } else if (event.key === "g") led = event.timeStamp;
  else if (event.timeStamp - led < G_MS && event.key in KEYS) go(KEYS[/** @type {keyof typeof KEYS} */ (event.key)]);
});

document.getElementById("skip")?.addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
/** @type {HTMLElement} */ (document.getElementById("skip")).textContent = t("skip");

furnish({ link, go, ask });
applyTheme();
draw();
if (given.token) link.open(given.token);
else if (!given.elsewhere) deviceToken().then((token) => { if (token && link.state.phase === "idle") link.open(); });
