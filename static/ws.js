// WebSocket: one handshake, then frames both ways, until the connection breaks and the page resumes from its cursor.

import { acked, again, connected, count, gap, onSend, query } from "./chat.js";
import { refused, show, unanswered, whyRefused } from "./chat.js";

let socket;
let cursor;
let live = false;

function connect() {
  const url = new URL(`/ws?${query(cursor)}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  count(1, "");
  let greeted = false;
  socket.onmessage = ({ data }) => {
    greeted = true;
    count(0, data);
    receive(JSON.parse(data));
  };
  socket.onclose = async ({ reason }) => {
    live = false;
    const error = greeted ? new Error(reason || "the connection broke") : await whyRefused();
    if (await again(error)) connect();
  };
}

function receive(frame) {
  if (frame.hello) {
    cursor ??= frame.hello.cursor; // One we already have stands: if it is no longer good, a gap comes next.
    connected();
    live = true;
    unanswered().forEach(send); // The same keys as before: what was stored already is not stored twice.
  } else if (frame.gap) {
    cursor = frame.gap.cursor;
    gap(frame.gap);
  } else if (frame.ack) {
    acked(frame.ack.key, frame.ack.cursor);
  } else if (frame.error) {
    refused(frame.error.key, frame.error.reason);
  } else {
    cursor = `${cursor.split("-")[0]}-${frame.seq}`;
    show([frame], cursor);
  }
}

function send(draft) {
  if (live) socket.send(JSON.stringify(draft)); // Otherwise the next hello sends it, after those typed before it.
}

onSend(send);
connect();
