// Who may connect: browsers, apps and nodes, those who ask to be let in, and what nodes can do.

import { h, plain } from "../dom.js";
import { Page, badge, button, card, house, table, when } from "../page.js";
import { t } from "../words.js";

export default class Devices extends Page {
  follows = ["device.pair.requested", "device.pair.resolved", "node.pair.requested", "node.pair.resolved", "presence"];
  everyMs = 10_000;
  /** @type {any} */ #devices = { pending: [], paired: [] };
  /** @type {any} */ #pairings = { pending: [] };
  /** @type {any[]} */ #nodes = [];
  #nodesProblem = "";

  async load() {
    const may = this.link.may("pairing");
    const [devices, pairings, nodes] = await Promise.all([
      may ? this.link.call("device.pair.list") : this.#devices,
      may ? this.link.call("node.pair.list").catch(() => this.#pairings) : this.#pairings,
      this.link.call("node.list").catch((error) => ({ nodes: this.#nodes, problem: error.message })),
    ]);
    this.#devices = devices;
    this.#pairings = pairings;
    this.#nodes = nodes.nodes;
    this.#nodesProblem = nodes.problem ?? "";
  }

  /** @param {string} method @param {object} params */
  #call(method, params) {
    return this.act(() => this.link.call(method, params));
  }

  /** @param {string} kind @param {any} one */
  #asking(kind, one) {
    const name = plain(one.displayName ?? one.deviceId ?? one.nodeId);
    return h("article", { class: "card ask", "data-key": one.requestId, "data-request": one.requestId },
      h("h3", null, t(kind === "node" ? "pair.asks.node" : "pair.asks.device", { name })),
      h("dl", { class: "facts" }, [
        [t("device"), h("code", null, String(one.deviceId ?? one.nodeId).slice(0, 16))], [t("kind"), plain([one.clientId, one.clientMode, one.platform].filter(Boolean).join(" · "))],
        [t("address"), plain(one.remoteIp ?? "–")], [t("granted"), plain((one.scopes ?? one.commands ?? []).join(", ") || "–")], [t("seen"), when(one.ts)],
      ].map(([label, value]) => [h("dt", null, label), h("dd", null, value)])),
      one.isRepair && h("p", { class: "note warn" }, t("pair.repair")),
      h("div", { class: "bar" },
        button(t("approve"), () => this.#call(`${kind}.pair.approve`, { requestId: one.requestId }), { class: "primary", "aria-label": `${t("approve")}: ${name}` }),
        button(t("reject"), () => this.#call(`${kind}.pair.reject`, { requestId: one.requestId }), { class: "danger", "aria-label": `${t("reject")}: ${name}` })));
  }

  view() {
    if (!this.link.may("pairing")) return [h("h1", null, t("nav.devices")), h("p", { class: "note warn" }, t("scope.missing", { scope: "operator.pairing" })), this.#nodeCard()];
    const asking = [...this.#devices.pending.map((/** @type {any} */ one) => this.#asking("device", one)), ...this.#pairings.pending.map((/** @type {any} */ one) => this.#asking("node", one))];
    return [
      h("h1", null, t("nav.devices")),
      h("section", { id: "asking", "aria-label": t("devices.asking") }, h("h2", null, t("devices.asking")), asking.length ? asking : h("p", { class: "dim" }, t("devices.nobody"))),
      this.#nodeCard(),
      card(t("devices.paired"), table([t("name"), t("device"), t("granted"), t("seen"), t("deeds")], this.#devices.paired.map((/** @type {any} */ one) => this.#device(one)), t("devices.none"))),
    ];
  }

  /** @param {any} one */
  #device(one) {
    const name = plain(one.displayName ?? one.clientId ?? one.deviceId);
    const remove = async () => { if (await house.ask(t("device.remove.ask", { name }), t("remove"))) this.#call("device.pair.remove", { deviceId: one.deviceId }); };
    return [
      h("span", null, name, " ", one.connected && badge("good", t("connected"))), h("code", { title: one.deviceId }, one.deviceId.slice(0, 12)),
      plain([...one.roles, ...one.scopes.map((/** @type {string} */ scope) => scope.replace("operator.", ""))].join(", ")), when(one.lastSeenAtMs ?? one.approvedAtMs),
      h("div", { class: "bar" },
        one.tokens.filter((/** @type {any} */ token) => !token.revokedAtMs).map((/** @type {any} */ token) => button(t("revoke", { role: token.role }), () => this.#call("device.token.revoke", { deviceId: one.deviceId, role: token.role }), { class: "small quiet", "aria-label": `${t("revoke", { role: token.role })}: ${name}` })),
        button(t("remove"), remove, { class: "small danger quiet", "aria-label": `${t("remove")}: ${name}` })),
    ];
  }

  #nodeCard() {
    const away = !this.link.serves("node") || this.#nodesProblem;
    return h("section", { class: `card ${away ? "stale" : ""}` }, h("h2", null, t("nodes.title")),
      away && h("p", { class: "note warn" }, this.#nodesProblem || t("service.away", { service: "node" })),
      table([t("name"), t("state"), t("system"), t("nodes.can"), t("seen")], this.#nodes.map((one) => [
        plain(one.displayName ?? one.nodeId), badge(one.connected ? "good" : "", one.connected ? t("connected") : t("offline")), plain([one.platform, one.version].filter(Boolean).join(" ")),
        h("details", null, h("summary", null, t("nodes.commands", { count: one.commands.length })), plain(one.commands.join(", "))), when(one.connectedAtMs ?? one.lastSeenAtMs),
      ]), t("nodes.none")));
  }
}

customElements.define("verso-devices", Devices);
