// The processes as they are now, and what surrounds them.

import { h, plain } from "../dom.js";
import { Page, badge, button, card, house, lasting, mebibytes, number, table, when } from "../page.js";
import { t } from "../words.js";

/** How the processes stand to each other, from the outside in. */
const ROWS = [["supervisor"], ["edge"], ["agent", "channel", "node", "presence", "canvas"]];
/** How often what surrounds the processes is read, in milliseconds. */
const AROUND_MS = 10_000;
const GOOD = new Set(["serving"]);
const BAD = new Set(["failed", "backoff"]);

/** @typedef {{name: string, state: string, pid?: number, starts: number, uptimeMs?: number, lastExit?: string, retryInMs?: number, configProblem?: string,
 *   memoryBytes?: number, latencyUs?: number, failuresLeft?: number}} Service */

export default class Overview extends Page {
  everyMs = 2_000;
  follows = ["health", "presence"];
  /** @type {Service[]} */
  #services = [];
  #servicesProblem = "";
  /** @type {any} */ #status = {};
  /** @type {any} */ #machine = null;
  /** @type {any[]} */ #presence = [];
  #readAt = 0;
  /** @type {Set<string>} */ #busy = new Set();

  async load() {
    const { link } = this;
    const services = await link.call("services.list").catch((error) => ({ problem: error.message }));
    this.#servicesProblem = services.problem ?? "";
    if (services.services) this.#services = [...(services.supervisor ? [services.supervisor] : []), ...services.services];
    if (Date.now() - this.#readAt < AROUND_MS) return;
    this.#readAt = Date.now();
    const soft = (/** @type {Promise<any>} */ asking, /** @type {any} */ otherwise) => asking.catch(() => otherwise);
    [this.#status, this.#machine, this.#presence] = await Promise.all([
      soft(link.call("status"), this.#status), soft(link.call("system.info"), this.#machine), soft(link.call("system-presence"), this.#presence),
    ]);
  }

  /** @param {string} name */
  hear(name) {
    if (name === "presence") this.#readAt = 0;
  }

  view() {
    const { hello, roundTripMs } = this.link;
    const machine = this.#machine;
    const sessions = this.#status.sessions;
    return [
      h("h1", null, t("nav.overview")),
      h("section", { class: "card", id: "services" }, h("h2", null, t("services.title")),
        this.#servicesProblem && h("p", { class: "note warn" }, t("services.unknown", { why: this.#servicesProblem })),
        h("div", { class: "picture-of-services" }, ROWS.map((names) => this.#services.filter(({ name }) => names.includes(name))).filter(({ length }) => length).map((some) =>
          h("div", { class: `tier of-${some.length}` }, some.map((one) => this.#service(one)))))),
      h("div", { class: "columns" },
        card(t("gateway.title"), h("dl", { class: "facts" }, [
          [t("version"), hello?.server?.version], [t("host"), hello?.server?.host ?? machine?.hostname], [t("protocol"), hello?.protocol],
          [t("connection"), roundTripMs === null ? "–" : t("ms", { ms: number(roundTripMs) })], [t("auth"), hello?.auth?.method ?? "–"],
          [t("granted"), (hello?.auth?.scopes ?? []).map((/** @type {string} */ scope) => scope.replace("operator.", "")).join(", ")],
          [t("sessions"), sessions?.count ?? "–"], [t("model.default"), sessions?.defaults?.model ?? "–"], [t("config.file"), hello?.snapshot?.configPath ?? "–"],
        ].map(([name, value]) => [h("dt", null, name), h("dd", null, String(value ?? "–"))]))),
        machine && card(t("machine.title"), h("dl", { class: "facts" }, [
          [t("system"), `${machine.osLabel} ${machine.arch}`], [t("machine.load"), machine.loadAverage.map(number).join(" · ")],
          [t("machine.memory"), t("machine.free", { free: mebibytes(machine.memoryFreeBytes), total: mebibytes(machine.memoryTotalBytes) })],
          [t("machine.disk"), machine.diskTotalBytes ? t("machine.free", { free: mebibytes(machine.diskAvailableBytes), total: mebibytes(machine.diskTotalBytes) }) : "–"],
          [t("uptime"), lasting(machine.uptimeMs)],
        ].map(([name, value]) => [h("dt", null, name), h("dd", null, value)])))),
      card(t("presence.title"), table([t("name"), t("kind"), t("version"), t("seen")],
        this.#presence.map((one) => [plain(one.host ?? one.text ?? one.deviceId ?? "?"), [one.mode, one.roles?.join(", ")].filter(Boolean).join(" · "), plain(one.version ?? ""), when(one.ts)]), t("presence.none"))),
      (this.#status.mcp ?? []).length > 0 && card(t("mcp.title"), table([t("name"), t("state"), t("mcp.tools"), t("restarts"), t("error")],
        this.#status.mcp.map((/** @type {any} */ one) => [one.name, one.state, one.tools, one.restarts, plain(one.error ?? "")]), "")),
    ];
  }

  /** @param {Service} one */
  #service(one) {
    const { link } = this;
    const kind = GOOD.has(one.state) ? "good" : BAD.has(one.state) ? "bad" : "warn";
    const may = link.may("admin") && one.name !== "supervisor";
    const busy = this.#busy.has(one.name);
    const fact = (/** @type {string} */ name, /** @type {any} */ value) => [h("dt", null, name), h("dd", null, value)];
    return h("article", { class: `service ${kind}`, "data-key": one.name, "data-service": one.name, "data-state": one.state, "aria-label": one.name },
      h("header", null, h("h3", null, one.name), badge(kind, t(/** @type {any} */ (`state.of.${one.state}`)))),
      h("dl", { class: "facts" },
        fact(t("uptime"), lasting(one.uptimeMs)), fact(t("restarts"), number(Math.max(0, one.starts - 1))),
        fact(t("memory"), mebibytes(one.memoryBytes)), one.latencyUs !== undefined && fact(t("latency"), t("ms", { ms: number(one.latencyUs / 1000) })),
        one.failuresLeft !== undefined && fact(t("budget"), t("budget.left", { count: one.failuresLeft })),
        one.lastExit && fact(t("last.exit"), plain(one.lastExit)), one.retryInMs !== undefined && fact(t("next.start"), lasting(one.retryInMs))),
      one.configProblem && h("p", { class: "note bad" }, plain(one.configProblem)),
      may && h("div", { class: "bar" },
        button(busy ? t("busy") : t("restart"), () => this.#deed("services.restart", one.name), { class: "small", disabled: busy, "aria-label": `${t("restart")}: ${one.name}` }),
        one.name !== "edge" && one.state !== "stopped" && button(t("drain"), () => this.#deed("services.drain", one.name), { class: "small quiet", disabled: busy, "aria-label": `${t("drain")}: ${one.name}` })));
  }

  /** @param {string} method @param {string} name */
  async #deed(method, name) {
    const question = method === "services.drain" ? t("drain.ask", { name }) : name === "edge" ? t("restart.edge.ask") : "";
    if (question && !await house.ask(question, t(method === "services.drain" ? "drain" : "restart"))) return;
    this.#busy.add(name);
    this.draw();
    await this.act(() => this.link.call(method, { name, onBehalfOf: "control ui" }, 330_000));
    this.#busy.delete(name);
    this.draw();
  }
}

customElements.define("verso-overview", Overview);
