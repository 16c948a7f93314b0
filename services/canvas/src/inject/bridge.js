(() => {
  const handler = () => window.webkit?.messageHandlers?.openclawCanvasA2UIAction ?? window.openclawCanvasA2UIAction;
  const postMessage = (message) => {
    const app = handler();
    if (typeof app?.postMessage !== "function") return false;
    app.postMessage(typeof message === "string" ? message : JSON.stringify(message));
    return true;
  };
  const newId = () => globalThis.crypto?.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  const sendUserAction = (action) => postMessage({ userAction: { ...action, id: action?.id ?? newId() } });
  window.OpenClaw = { ...window.OpenClaw, postMessage, sendUserAction };
  window.Verso = { ...window.Verso, postMessage, sendUserAction };
  window.openclawPostMessage = window.versoPostMessage = postMessage;
  window.openclawSendUserAction = window.versoSendUserAction = sendUserAction;
})();
