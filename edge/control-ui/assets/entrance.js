// The way in: a token or password, and what is to be done where the gateway does not know this browser yet.

import { h, show } from "./dom.js";
import { deviceToken, identity } from "./gateway/device.js";
import { icon } from "./icons.js";
import { copyText } from "./chat/markdown.js";
import { t } from "./words.js";

/** @typedef {import("./gateway/link.js").Link} Link */

/** What an address said. @typedef {{token: string, elsewhere: string, spilled: boolean}} Given */

/**
 * Takes what a link says out of the address. A token counts only behind the `#`, where no server sees it. The address of a gateway never
 * leads this page anywhere: it is shown, and the user may go there.
 * @returns {Given}
 */
export function fromAddress() {
  const query = new URLSearchParams(location.search);
  const told = /[=&]/.test(location.hash) ? new URLSearchParams(location.hash.slice(1)) : new URLSearchParams();
  const given = {
    token: told.get("token") ?? "",
    elsewhere: query.get("gatewayUrl") ?? told.get("gatewayUrl") ?? "",
    spilled: query.has("token") || query.has("password"),
  };
  const session = query.get("session") ?? told.get("session");
  const route = session ? `#/chat/${encodeURIComponent(session)}` : /^#\//.test(location.hash) ? location.hash : "";
  if (location.search || told.size) history.replaceState(null, "", location.pathname + route);
  return given;
}

/** The page of another gateway, or nothing that anybody could go to. @param {string} address */
function pageOf(address) {
  try {
    const url = new URL(address);
    const scheme = { "ws:": "http:", "wss:": "https:", "http:": "http:", "https:": "https:" }[url.protocol];
    return scheme && url.host && url.host !== location.host ? `${scheme}//${url.host}/` : "";
  } catch {
    return "";
  }
}

export class Entrance extends HTMLElement {
  /** @type {Link} */
  #link;
  /** @type {Given} */
  #given;
  #deviceId = "";

  /** @param {Link} link @param {Given} given */
  constructor(link, given) {
    super();
    this.#link = link;
    this.#given = given;
    identity().then(({ id }) => { this.#deviceId = id; this.draw(); }, () => null);
  }

  connectedCallback() {
    this.draw();
  }

  draw() {
    const { state } = this.#link;
    const elsewhere = pageOf(this.#given.elsewhere);
    show(this,
      elsewhere && h("section", { class: "card note warn", id: "elsewhere", role: "region", "aria-label": t("elsewhere") },
        h("p", null, t("elsewhere.words", { address: elsewhere })),
        h("div", { class: "bar" },
          h("button", { type: "button", id: "elsewhere-no", class: "primary", onclick: () => this.#stay() }, t("elsewhere.stay")),
          h("button", { type: "button", id: "elsewhere-yes", onclick: () => location.assign(elsewhere) }, t("elsewhere.go")))),
      this.#given.spilled && h("p", { class: "note bad", role: "alert" }, t("token.spilled")),
      state.phase === "pairing" ? this.#pairing(state.error) : this.#form(state));
  }

  async #stay() {
    this.#given.elsewhere = "";
    this.draw();
    if (this.#link.state.phase === "idle" && await deviceToken()) this.#link.open();
  }

  /** @param {import("./gateway/link.js").State} state */
  #form(state) {
    const busy = state.phase === "connecting" || state.phase === "lost";
    return h("form", { id: "login", class: "card", onsubmit: (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const field = /** @type {HTMLInputElement} */ (this.querySelector("#token"));
      const secret = field.value.trim();
      field.value = "";
      this.#link.open(secret);
    } },
      h("h1", null, t("login.title")),
      h("p", { class: "dim" }, t("login.words", { host: location.host })),
      h("label", { for: "token" }, t("login.label")),
      h("input", { id: "token", type: "password", autocomplete: "current-password", spellcheck: "false", autocapitalize: "off", "aria-describedby": "login-help" }),
      h("p", { id: "login-help", class: "dim" }, t("login.help")),
      state.phase === "refused" && h("p", { id: "problem", class: "note bad", role: "alert" }, explained(state.error)),
      state.phase === "lost" && h("p", { class: "note warn", role: "status" }, t("login.lost", { why: state.why })),
      h("button", { type: "submit", class: "primary", disabled: busy }, busy ? t("login.busy") : t("login.go")));
  }

  /** @param {import("./gateway/link.js").Refused} error */
  #pairing(error) {
    const request = String(error.details.requestId ?? "");
    const command = `verso devices approve ${request}`.trim();
    const upgrade = /upgrade/.test(error.details.reason ?? "");
    const copy = h("button", { type: "button", class: "quiet", "aria-label": t("copy"), title: t("copy"), onclick: () => copyText(command, copy) }, icon("copy"));
    return h("section", { id: "pairing", class: "card", "aria-label": t("pair.title") },
      h("h1", null, t("pair.title")),
      h("p", null, t(upgrade ? "pair.upgrade" : "pair.words")),
      h("ol", { class: "steps" },
        h("li", { class: "done" }, t("pair.asked"), " ", h("code", { id: "device-id" }, (error.details.deviceId ?? this.#deviceId).slice(0, 12))),
        h("li", { "aria-current": "step" }, t("pair.approve"), h("p", { class: "bar command" }, h("code", { id: "pair-command" }, command), copy), h("p", { class: "dim" }, t("pair.other"))),
        h("li", null, t("pair.goes-on"))),
      h("p", { class: "bar", role: "status" }, h("span", { class: "pulse" }), t("pair.waiting")),
      h("button", { type: "button", class: "quiet", onclick: () => this.#link.close(true) }, t("pair.cancel")));
  }
}

/** What to do about a refusal. @param {import("./gateway/link.js").Refused} error */
function explained(error) {
  const code = error.details.code ?? error.code;
  if (/RATE_LIMITED/.test(code)) return t("refused.limited", { seconds: Math.ceil(error.retryAfterMs / 1000) });
  if (/ORIGIN/.test(code)) return t("refused.origin");
  if (/TOKEN_MISSING|PASSWORD_MISSING|UNAUTHORIZED_MISSING/.test(code) || /token missing|password missing/.test(error.message)) return t("refused.missing");
  if (/MISMATCH/.test(code) && !/PROTOCOL/.test(code)) return t("refused.wrong");
  return error.message;
}

customElements.define("verso-entrance", Entrance);
