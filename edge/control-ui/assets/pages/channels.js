// Chat networks: how each account fares, linking one by its code, and people who ask to be let in.

import { h, plain } from "../dom.js";
import { Page, badge, button, card, house, number, table, when } from "../page.js";
import { t } from "../words.js";

const START_MS = 60_000;
const WAIT_MS = 25_000;

/** @typedef {{channel: string, accountId: string, code: string, words: string, over: boolean}} Login */

export default class Channels extends Page {
  service = "channel";
  follows = ["health"];
  everyMs = 10_000;
  /** @type {any} */ #status = { channelOrder: [], channelAccounts: {} };
  /** @type {any[]} */ #people = [];
  /** @type {boolean} */ #probing = false;
  /** The login that is going on. @type {Login | null} */
  #login = null;

  async load() {
    const [status, people] = await Promise.all([
      this.link.call("channels.status", { probe: this.#probing, timeoutMs: 10_000 }),
      this.link.may("pairing") ? this.link.call("channels.pairing.list").catch(() => ({ requests: [] })) : { requests: [] },
    ]);
    this.#status = status;
    this.#people = people.requests;
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#login = null;
  }

  async #probe() {
    this.#probing = true;
    this.draw();
    await this.refresh();
    this.#probing = false;
    this.draw();
  }

  /** @param {string} channel @param {string} accountId */
  async #link(channel, accountId) {
    /** @type {Login} */
    const login = this.#login = { channel, accountId, code: "", words: t("login.asked"), over: false };
    this.draw();
    const mine = () => this.#login === login && this.isConnected;
    try {
      const begun = await this.link.call("web.login.start", { channel, accountId, timeoutMs: START_MS }, START_MS * 2);
      [login.code, login.words] = [begun.qrDataUrl ?? "", begun.message];
      if (mine()) this.draw();
      while (mine() && login.code) {
        const news = await this.link.call("web.login.wait", { channel, accountId, timeoutMs: WAIT_MS, currentQrDataUrl: login.code }, WAIT_MS * 2);
        login.words = news.message;
        login.code = news.connected ? "" : news.qrDataUrl ?? "";
        if (mine()) this.draw();
      }
    } catch (error) {
      login.words = String(/** @type {any} */ (error).message);
      login.code = "";
    }
    login.over = true;
    if (mine()) this.refresh();
  }

  view() {
    /** @type {[string, any][]} */
    const accounts = this.#status.channelOrder.flatMap((/** @type {string} */ channel) => (this.#status.channelAccounts[channel] ?? []).map((/** @type {any} */ one) => [channel, one]));
    return [
      h("header", { class: "bar" }, h("h1", null, t("nav.channels")), button(this.#probing ? t("busy") : t("probe"), () => this.#probe(), { id: "probe", disabled: this.#probing })),
      this.#login && this.#code(this.#login),
      h("div", { class: "columns", id: "accounts" }, accounts.map(([channel, one]) => this.#account(channel, one))),
      accounts.length === 0 && h("p", { class: "dim" }, t("channels.none")),
      this.link.may("pairing") && card(t("channels.people"), table([t("name"), t("channel"), t("code"), t("seen"), t("deeds")], this.#people.map((one) => [
        plain(one.name ?? one.id), plain(`${one.channel} · ${one.accountId}`), h("code", null, plain(one.code)), when(one.lastSeenAt),
        h("div", { class: "bar" },
          button(t("approve"), () => this.act(() => this.link.call("channels.pairing.approve", { channel: one.channel, code: one.code })), { class: "small", "aria-label": `${t("approve")}: ${plain(one.name ?? one.id)}` }),
          button(t("reject"), () => this.act(() => this.link.call("channels.pairing.dismiss", { channel: one.channel, code: one.code })), { class: "small quiet", "aria-label": `${t("reject")}: ${plain(one.name ?? one.id)}` })),
      ]), t("channels.nobody"))),
    ];
  }

  /** @param {Login} login */
  #code(login) {
    return h("section", { class: "card", id: "login-card", "aria-label": t("login.of", { channel: login.channel }) }, h("h2", null, t("login.of", { channel: login.channel })),
      login.code && h("img", { class: "qr", id: "qr", src: /^data:image\/(png|svg\+xml)[;,]/.test(login.code) ? login.code : "", alt: t("login.qr") }),
      h("p", { role: "status" }, plain(login.words)),
      button(login.over ? t("close") : t("cancel"), () => { this.#login = null; this.draw(); }));
  }

  /** @param {string} channel @param {any} one */
  #account(channel, one) {
    const label = this.#status.channelLabels?.[channel] ?? channel;
    const [kind, word] = one.lastError ? ["bad", t("state.error")] : one.connected || one.running ? ["good", t("state.running")] : one.configured === false ? ["", t("state.unset")] : ["warn", t("state.halted")];
    const admin = this.link.may("admin");
    const links = one.linked !== undefined || one.mode === "link";
    const logout = async () => { if (await house.ask(t("logout.ask", { name: `${label} · ${one.accountId}` }), t("logout"))) this.act(() => this.link.call("channels.logout", { channel, accountId: one.accountId })); };
    return h("article", { class: "card account", "data-key": `${channel}/${one.accountId}`, "data-channel": channel },
      h("header", { class: "bar" }, h("h2", null, plain(label)), badge(kind, word)),
      h("p", { class: "dim" }, plain(one.name ? `${one.name} · ${one.accountId}` : one.accountId)),
      one.lastError && h("p", { class: "note bad" }, plain(one.lastError)),
      h("dl", { class: "facts" }, [
        one.linked !== undefined && [t("linked"), one.linked ? t("yes") : t("no")], [t("channels.in"), when(one.lastInboundAt)], [t("channels.out"), when(one.lastOutboundAt)],
        one.probe && [t("probe"), one.probe.ok ? t("probe.good", { ms: number(one.probe.elapsedMs), name: plain(one.probe.name ?? "") }) : h("span", { class: "bad" }, plain(one.probe.error ?? t("state.error")))],
        one.uncertainMessages > 0 && [t("channels.uncertain"), number(one.uncertainMessages)],
      ].filter(Boolean).map((/** @type {any} */ [name, value]) => [h("dt", null, name), h("dd", null, value)])),
      admin && h("div", { class: "bar" },
        links && !one.connected && button(t("link"), () => this.#link(channel, one.accountId), { class: "small primary", "data-link": channel, "aria-label": `${t("link")}: ${label}` }),
        (one.linked || one.running) && button(t("logout"), logout, { class: "small quiet", "aria-label": `${t("logout")}: ${label}` })));
  }
}

customElements.define("verso-channels", Channels);
