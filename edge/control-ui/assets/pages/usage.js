// What was used, day by day, and what it cost.

import { h } from "../dom.js";
import { Page, card, number, table, when } from "../page.js";
import { chart } from "../chart.js";
import { t } from "../words.js";

const SPANS = [7, 30, 90];
const MONEY = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD", maximumFractionDigits: 4 });
const KINDS = /** @type {const} */ (["input", "output", "cacheRead", "cacheWrite"]);

export default class Usage extends Page {
  service = "agent";
  everyMs = 60_000;
  #days = 30;
  /** @type {any} */ #cost = { daily: [], totals: {} };
  /** @type {any[]} */ #providers = [];
  /** @type {any[]} */ #sessions = [];

  async load() {
    const [cost, status, sessions] = await Promise.all([
      this.link.call("usage.cost", { days: this.#days }), this.link.call("usage.status").catch(() => ({ providers: [] })),
      this.link.call("sessions.list", { limit: 100, includeDerivedTitles: true }).catch(() => ({ sessions: [] })),
    ]);
    this.#cost = cost;
    this.#providers = status.providers;
    this.#sessions = sessions.sessions.filter((/** @type {any} */ one) => one.totalTokens > 0).sort((/** @type {any} */ one, /** @type {any} */ two) => two.totalTokens - one.totalTokens).slice(0, 10);
  }

  view() {
    const { daily, totals = {} } = this.#cost;
    return [
      h("header", { class: "bar" }, h("h1", null, t("nav.usage")),
        h("label", null, h("span", { class: "unseen" }, t("usage.span")), h("select", { id: "usage-days", onchange: (/** @type {any} */ event) => { this.#days = Number(event.target.value); this.refresh(); } },
          SPANS.map((days) => h("option", { value: days, selected: days === this.#days }, t("usage.days", { days })))))),
      h("div", { class: "figures" }, [[t("usage.tokens"), number(totals.totalTokens)], [t("usage.cost"), MONEY.format(totals.totalCost ?? 0)], [t("usage.input"), number(totals.input)], [t("usage.output"), number(totals.output)], [t("usage.cacheRead"), number(totals.cacheRead)]]
        .map(([name, value]) => h("div", { class: "card figure" }, h("p", { class: "dim" }, name), h("p", { class: "big" }, value)))),
      totals.missingCostEntries > 0 && h("p", { class: "note warn" }, t("usage.missing", { count: totals.missingCostEntries })),
      card(t("usage.by.day"), daily.length === 0 ? h("p", { class: "dim" }, t("usage.none")) : [
        chart(t("usage.tokens"), daily.map((/** @type {any} */ day) => ({ name: day.date, parts: KINDS.map((kind) => day[kind]) })), KINDS.map((kind) => t(`usage.${kind}`)), number),
        totals.totalCost > 0 && chart(t("usage.cost"), daily.map((/** @type {any} */ day) => ({ name: day.date, parts: [day.totalCost] })), [t("usage.cost")], (value) => MONEY.format(value)),
        h("details", null, h("summary", null, t("usage.table")), table([t("date"), ...KINDS.map((kind) => t(`usage.${kind}`)), t("usage.cost")],
          [...daily].reverse().map((/** @type {any} */ day) => [day.date, ...KINDS.map((kind) => number(day[kind])), MONEY.format(day.totalCost)]), "")),
      ]),
      card(t("usage.by.session"), table([t("session"), t("model"), t("usage.tokens")], this.#sessions.map((one) => [h("a", { href: `#/chat/${encodeURIComponent(one.key)}` }, one.label || one.derivedTitle || one.key), one.model ?? "", number(one.totalTokens)]), t("usage.none"))),
      this.#providers.length > 0 && card(t("usage.windows"), table([t("provider"), t("usage.window"), t("usage.used"), t("usage.resets")],
        this.#providers.flatMap((one) => (one.windows.length ? one.windows.map((/** @type {any} */ window) => [one.displayName, window.label, `${number(window.usedPercent)} %`, when(window.resetAt)]) : [[one.displayName, one.error ?? "–", "", ""]])), "")),
    ];
  }
}

customElements.define("verso-usage", Usage);
