// What is to happen by itself: when next, and how it went.

import { h, plain } from "../dom.js";
import { Page, badge, button, card, house, lasting, table, when } from "../page.js";
import { t } from "../words.js";

const JOBS = 200;
const RUNS = 25;

/** @param {any} schedule */
function rhythm(schedule) {
  if (schedule?.kind === "every") return t("cron.every", { time: lasting(schedule.everyMs) });
  if (schedule?.kind === "at") return t("cron.at");
  return [schedule?.expr, schedule?.tz].filter(Boolean).join(" · ");
}

export default class Cron extends Page {
  service = "agent";
  follows = ["cron"];
  everyMs = 15_000;
  /** @type {any[]} */ #jobs = [];
  /** @type {any} */ #status = {};
  /** @type {Map<string, any[]>} the log of each job that is open */ #runs = new Map();

  async load() {
    const [list, status] = await Promise.all([this.link.call("cron.list", { includeDisabled: true, limit: JOBS }), this.link.call("cron.status")]);
    this.#jobs = list.jobs.sort((/** @type {any} */ one, /** @type {any} */ two) => (one.state?.nextRunAtMs ?? Infinity) - (two.state?.nextRunAtMs ?? Infinity));
    this.#status = status;
    for (const id of this.#runs.keys()) await this.#loadRuns(id);
  }

  /** @param {string} id */
  async #loadRuns(id) {
    const { entries } = await this.link.call("cron.runs", { jobId: id, limit: RUNS });
    this.#runs.set(id, entries);
  }

  view() {
    return [
      h("h1", null, t("nav.cron")),
      h("p", { class: "dim" }, this.#status.enabled === false ? t("cron.off") : t("cron.next"), " ", this.#status.enabled !== false && when(this.#status.nextWakeAtMs)),
      this.loaded && this.#jobs.length === 0 && h("p", { class: "dim" }, t("cron.none")),
      this.#jobs.map((job) => this.#job(job)),
      this.link.may("admin") && this.#form(),
    ];
  }

  /** @param {any} job */
  #job(job) {
    const { state = {} } = job;
    const open = this.#runs.has(job.id);
    const call = (/** @type {string} */ method, /** @type {object} */ more = {}) => this.act(() => this.link.call(method, { jobId: job.id, ...more }));
    const name = plain(job.name);
    return h("article", { class: `card job ${job.enabled ? "" : "off"}`, "data-key": job.id, "data-job": job.id },
      h("header", { class: "bar" }, h("h2", null, name), badge(job.enabled ? "good" : "", job.enabled ? t("on") : t("off")),
        state.lastStatus && badge(state.lastStatus === "ok" ? "good" : state.lastStatus === "error" ? "bad" : "warn", t("cron.last", { status: state.lastStatus }))),
      job.description && h("p", { class: "dim" }, plain(job.description)),
      h("p", null, plain(job.payload?.message ?? job.payload?.text ?? "")),
      h("dl", { class: "facts" }, h("dt", null, t("cron.rhythm")), h("dd", null, plain(rhythm(job.schedule))), h("dt", null, t("cron.next")), h("dd", null, job.enabled ? when(state.nextRunAtMs) : "–"),
        h("dt", null, t("cron.ran")), h("dd", null, when(state.lastRunAtMs), state.lastDurationMs ? ` · ${lasting(state.lastDurationMs)}` : "")),
      state.lastError && h("p", { class: "note bad" }, plain(state.lastError)),
      h("div", { class: "bar" },
        this.link.may("admin") && [
          button(t("cron.run"), () => call("cron.run", { mode: "force" }), { class: "small", "aria-label": `${t("cron.run")}: ${name}` }),
          button(job.enabled ? t("disable") : t("enable"), () => call("cron.update", { patch: { enabled: !job.enabled } }), { class: "small quiet", "aria-label": `${job.enabled ? t("disable") : t("enable")}: ${name}` }),
          button(t("remove"), async () => { if (await house.ask(t("cron.remove.ask", { name }), t("remove"))) call("cron.remove"); }, { class: "small quiet danger", "aria-label": `${t("remove")}: ${name}` }),
        ],
        button(t("cron.log"), () => (open ? (this.#runs.delete(job.id), this.draw()) : this.act(() => this.#loadRuns(job.id))), { class: "small quiet", "aria-expanded": String(open), "aria-label": `${t("cron.log")}: ${name}` })),
      open && table([t("cron.ran"), t("state"), t("cron.took"), t("cron.summary")], (this.#runs.get(job.id) ?? []).map((one) => [when(one.runAtMs ?? one.ts), one.status ?? one.action, lasting(one.durationMs), plain(one.error ?? one.summary ?? "")]), t("cron.runs.none")));
  }

  #form() {
    const value = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (this.querySelector(`#${id}`)).value.trim();
    const field = (/** @type {string} */ id, /** @type {string} */ label, /** @type {string} */ hint) => h("div", null, h("label", { for: id }, label), h("input", { id, placeholder: hint, required: true, autocomplete: "off" }));
    return card(t("cron.add"), h("form", { class: "fields", onsubmit: (/** @type {any} */ event) => {
      event.preventDefault();
      const rhythm = value("cron-when");
      const minutes = /^(\d+)\s*(m|min|h)?$/.exec(rhythm);
      const schedule = minutes ? { kind: "every", everyMs: Number(minutes[1]) * (minutes[2] === "h" ? 3_600_000 : 60_000) } : { kind: "cron", expr: rhythm, tz: Intl.DateTimeFormat().resolvedOptions().timeZone };
      this.act(async () => {
        await this.link.call("cron.add", { name: value("cron-name"), schedule, sessionTarget: "isolated", wakeMode: "now", payload: { kind: "agentTurn", message: value("cron-message") } });
        event.target.reset();
      });
    } }, field("cron-name", t("name"), t("cron.name.hint")), field("cron-when", t("cron.rhythm"), t("cron.rhythm.hint")), field("cron-message", t("cron.message"), t("cron.message.hint")),
      h("button", { type: "submit" }, t("cron.add"))));
  }
}

customElements.define("verso-cron", Cron);
