// Server-sent events: one answer that never ends. The browser reads it, and when it breaks, asks for the rest by itself.

export { post as send } from "./post.js";

export function run(link) {
  const source = link.opened(new EventSource(`/sse?${link.query()}&alive=1`));
  const on = (name, receive) =>
    source.addEventListener(name, ({ data, lastEventId }) => receive(JSON.parse(data), lastEventId));

  on("hello", ({ cursor }) => link.greet(cursor));
  on("alive", (sign) => link.alive(sign)); // A comment would be seen by proxies alone.
  on("gap", (gap) => link.gap(gap));
  on("message", (message, id) => link.show([message], id));

  source.onerror = async () => {
    if (source.readyState === EventSource.CONNECTING) {
      // After the server's `retry`, with the id of the last event as `Last-Event-ID`.
      link.retrying("the connection broke; the browser makes a new one");
    } else if (await link.again(await link.whyRefused())) {
      run(link); // An HTTP error makes a browser give up: this time it is the page that comes back.
    }
  };
}
