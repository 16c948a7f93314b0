// Commands that wait for somebody's word. Nothing of them is cut off, and nothing of them can hide.

import { h, plain } from "../dom.js";
import { Page, button, lasting } from "../page.js";
import { t } from "../words.js";

const DECISIONS = /** @type {const} */ ([["allow-once", "primary"], ["allow-always", ""], ["deny", "danger"]]);

export default class Approvals extends Page {
  service = "node";
  follows = ["exec.approval.requested", "exec.approval.resolved"];
  everyMs = 5_000;
  /** @type {any[]} */ #waiting = [];
  /** @type {any[]} */ #settled = [];

  async load() {
    this.#waiting = await this.link.call("exec.approval.list");
  }

  /** @param {string} name @param {any} payload */
  hear(name, payload) {
    if (name !== "exec.approval.resolved") return;
    const known = this.#waiting.find(({ id }) => id === payload.id);
    this.#settled = [{ ...payload, command: known?.request?.command }, ...this.#settled].slice(0, 20);
  }

  view() {
    if (!this.link.may("approvals")) return [h("h1", null, t("nav.approvals")), h("p", { class: "note warn" }, t("scope.missing", { scope: "operator.approvals" }))];
    return [
      h("h1", null, t("nav.approvals")),
      this.#waiting.length === 0 && h("p", { class: "dim", id: "no-approvals" }, t("approvals.none")),
      this.#waiting.map(({ id, request, expiresAtMs }) => h("article", { class: "card approval", "data-key": id, "data-approval": id },
        h("h2", null, t("approvals.asks", { who: plain(request.agentId ?? request.sessionKey ?? t("approvals.somebody")) })),
        request.warningText && h("p", { class: "note bad" }, plain(request.warningText)),
        h("pre", { class: "command", tabindex: 0, role: "region", "aria-label": t("command") }, plain(request.command)),
        h("dl", { class: "facts" }, [
          [t("approvals.argv"), request.commandArgv && JSON.stringify(request.commandArgv)], [t("approvals.cwd"), request.cwd], [t("host"), request.nodeId ?? request.host],
          [t("approvals.path"), request.resolvedPath], [t("approvals.env"), (request.envKeys ?? []).join(", ")], [t("session"), request.sessionKey],
        ].filter(([, value]) => value).map(([name, value]) => [h("dt", null, name), h("dd", null, plain(value))])),
        h("p", { class: "dim" }, t("approvals.expires", { time: lasting(Math.max(0, expiresAtMs - Date.now())) })),
        h("div", { class: "bar" }, DECISIONS.map(([decision, kind]) => button(t(`approvals.${decision}`), () => this.act(() => this.link.call("exec.approval.resolve", { id, decision })), { class: kind, "data-decision": decision }))))),
      this.#settled.length > 0 && h("section", { class: "card" }, h("h2", null, t("approvals.settled")),
        h("ul", null, this.#settled.map(({ id, decision, resolvedBy, command }) => h("li", { "data-key": id }, h("code", null, plain(command ?? id)), " ", t(/** @type {any} */ (`approvals.${decision}`)), resolvedBy && ` · ${plain(resolvedBy)}`)))),
    ];
  }
}

customElements.define("verso-approvals", Approvals);
