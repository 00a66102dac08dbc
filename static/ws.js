// WebSocket: one handshake, then frames both ways, until the connection breaks and the page resumes from its cursor.

export function run(link) {
  const url = new URL(`/ws?${link.query()}&alive=1`, location.href.replace("http", "ws"));
  const socket = link.opened(new WebSocket(url));
  let greeted = false;

  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.hello) {
      greeted = true;
      link.socket = socket;
      link.greet(frame.hello.cursor);
      link.unanswered().forEach((draft) => send(link, draft)); // The same keys as before: none is stored twice.
    } else if (frame.alive) link.alive(frame.alive); // A ping is answered by the browser: the page does not see it.
    else if (frame.gap) link.gap(frame.gap);
    else if (frame.ack) link.acked(frame.ack);
    else if (frame.shown) return; // It came in pieces, which a page does not see: the wire shows them.
    else if (frame.error) {
      // Answers come in the order of what was sent: one without a key is that of the oldest draft without one.
      link.refused(frame.error.key ?? link.unanswered()[0]?.key, frame.error.reason);
    } else link.show([frame], link.cursor.replace(/\d+$/, frame.seq)); // EPOCH-SEQ
  };
  socket.onclose = async ({ code, reason }) => {
    link.socket = undefined;
    const error = greeted ? new Error(reason ? `closed with ${code}, ${reason}` : "the connection broke") : await link.whyRefused();
    if (await link.again(error)) run(link);
  };
}

/** Asks the server to send this page what a browser's WebSocket cannot send: fragments, a ping, a close with any code. */
export function show(link, what) {
  link.socket?.send(JSON.stringify({ show: what }));
}

export function send(link, draft) {
  // Without an open socket, the next hello sends it, after those typed before it.
  if (link.socket?.readyState === WebSocket.OPEN) link.socket.send(JSON.stringify(draft));
}
