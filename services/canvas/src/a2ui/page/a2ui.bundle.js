// The page: shows surfaces, and sends what users do to the app around it or over its own socket.
"use strict";

(() => {
  const query = new URLSearchParams(location.search);
  const host = document.querySelector("openclaw-a2ui-host");
  const status = document.getElementById("status");
  const canvas = document.getElementById("openclaw-canvas");
  const model = new VersoModel();
  const pending = new Map();
  let debug = query.get("debugStatus") === "1";
  let socket = null;

  const setStatus = (title, subtitle) => {
    status.querySelector("b").textContent = title ?? "";
    status.querySelector("span").textContent = subtitle ?? "";
    status.hidden = !title && !subtitle;
  };

  const redraw = (surface) => {
    const old = [...host.children].find((shown) => shown.dataset.surface === surface.id);
    surface.refreshers = [];
    const made = document.createElement("section");
    made.className = "surface";
    made.dataset.surface = surface.id;
    if (surface.styles.primaryColor) made.style.setProperty("--accent", surface.styles.primaryColor);
    if (surface.styles.font) made.style.fontFamily = surface.styles.font;
    made.append(VersoComponents.build(page, surface, surface.root, "/"));
    if (old) old.replaceWith(made);
    else host.append(made);
  };

  const show = () => {
    for (const shown of [...host.children]) {
      if (!model.surfaces.get(shown.dataset.surface)?.root) shown.remove();
    }
    for (const surface of model.surfaces.values()) if (surface.root) redraw(surface);
  };

  const applyMessages = (messages) => {
    if (!Array.isArray(messages)) throw new TypeError("applyMessages expects an array");
    for (const message of messages) model.apply(message);
    show();
    return { ok: true, surfaces: getSurfaces() };
  };
  const reset = () => {
    model.reset();
    show();
    return { ok: true };
  };
  const getSurfaces = () => [...model.surfaces.keys()];

  const finish = ({ id, ok, error }) => {
    if (!pending.delete(id)) return;
    if (ok) setStatus(debug ? "Sent" : "", "");
    else setStatus("Not sent", error ?? "nobody took it");
  };

  const page = {
    chosenTabs: new Map(),
    act(action) {
      const id = globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
      const userAction = { ...action, timestamp: new Date().toISOString(), id };
      globalThis.__openclawLastA2UIAction = userAction;
      pending.set(id, userAction);
      setStatus("Sending…", debug ? action.name : "");
      const app = window.webkit?.messageHandlers?.openclawCanvasA2UIAction ?? window.openclawCanvasA2UIAction;
      if (typeof app?.postMessage === "function") {
        const sent = { ...userAction };
        if (Object.keys(sent.context).length === 0) delete sent.context;
        app.postMessage(JSON.stringify({ userAction: sent }));
      } else if (socket?.readyState === WebSocket.OPEN) {
        socket.send(JSON.stringify({ userAction }));
      } else {
        finish({ id, ok: false, error: "the gateway is away" });
      }
    },
  };

  window.openclawA2UI = window.versoA2UI = { applyMessages, reset, getSurfaces };
  window.__openclaw = window.__verso = {
    canvas,
    ctx: canvas.getContext("2d"),
    setStatus,
    setDebugStatusEnabled(on) { debug = Boolean(on); },
  };
  for (const name of ["openclaw:a2ui-action-status", "verso:a2ui-action-status"]) {
    window.addEventListener(name, (event) => finish(event.detail ?? {}));
  }
  document.documentElement.dataset.platform = query.get("platform") ?? "";

  // Below the same prefix as the page: that is where whoever let the page in lets its socket in.
  const base = location.pathname.match(/^(.*\/__(?:verso|openclaw)__)\/a2ui(?:\/|$)/)?.[1] ?? "/__verso__";
  const session = encodeURIComponent(query.get("session") ?? "main");
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${base}/ws?session=${session}`;
  let pause = 500;
  const listen = () => {
    socket = new WebSocket(url);
    socket.onopen = () => { pause = 500; };
    socket.onmessage = (event) => {
      let told;
      try { told = JSON.parse(event.data); } catch { return; }
      if (told.a2ui) {
        if (told.a2ui.reset) model.reset();
        applyMessages(told.a2ui.messages);
      }
      if (told.actionStatus) window.dispatchEvent(new CustomEvent("verso:a2ui-action-status", { detail: told.actionStatus }));
    };
    socket.onclose = () => {
      for (const id of [...pending.keys()]) finish({ id, ok: false, error: "the gateway went away" });
      setTimeout(listen, pause);
      pause = Math.min(pause * 2, 15000);
    };
  };
  listen();
})();
