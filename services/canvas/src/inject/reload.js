(() => {
  // Below the same prefix as the page: that is where whoever let the page in lets its socket in.
  const base = location.pathname.match(/^(.*\/__(?:verso|openclaw)__)\/canvas(?:\/|$)/)?.[1] ?? "/__verso__";
  const url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${base}/ws`;
  let pause = 500;
  const listen = () => {
    const socket = new WebSocket(url);
    socket.onopen = () => { pause = 500; };
    socket.onmessage = (event) => { if (event.data === "reload") location.reload(); };
    socket.onclose = () => { setTimeout(listen, pause); pause = Math.min(pause * 2, 15000); };
  };
  listen();
})();
