// Server-sent events: one answer that never ends. The browser reads it, and when it breaks, asks for the rest by itself.

import { again, connected, count, gap, onSend, query, retrying, show, whyRefused } from "./chat.js";
import { post } from "./post.js";

let cursor;

function connect() {
  const source = new EventSource(`/sse?${query(cursor)}`);
  count(1, "");
  const on = (name, receive) =>
    source.addEventListener(name, ({ data, lastEventId }) => {
      count(0, data);
      receive(JSON.parse(data), lastEventId);
    });
  on("hello", (hello) => {
    cursor ??= hello.cursor; // One we already have stands: if it is no longer good, a gap comes next.
    connected();
  });
  on("gap", (missing, id) => {
    cursor = id;
    gap(missing);
  });
  on("message", (message, id) => {
    cursor = id;
    show([message], cursor);
  });
  source.onerror = async () => {
    if (source.readyState === EventSource.CONNECTING) {
      count(1, ""); // After the server's `retry`, with the id of the last event as `Last-Event-ID`.
      retrying("the connection broke; the browser makes a new one");
    } else if (await again(await whyRefused())) {
      connect(); // An HTTP error makes a browser give up: this time it is the page that comes back.
    }
  };
}

onSend(post);
connect();
