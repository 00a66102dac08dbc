// Sending, where the connection only receives: one POST for each message, repeated until it is answered.

import { jitter } from "./link.js";

const queues = new WeakMap();

/** Posts a draft after those before it: two requests under way at once may arrive in either order. */
export function post(link, draft) {
  queues.set(link, (queues.get(link) ?? Promise.resolve()).then(() => store(link, draft)));
}

async function store(link, draft) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(draft) };
  for (let failures = 0; ; failures += 1) {
    try {
      const query = new URLSearchParams({ room: link.room, ...(link.tap && { tap: link.tap }) });
      const { cursor } = await link.ask(`/messages?${query}`, request);
      return link.acked({ key: draft.key, cursor });
    } catch (error) {
      if (error.final) return link.refused(draft.key, error.message);
      // It may have been stored although the answer was lost: the same key is never stored twice.
      await link.pluggedIn();
      await link.sleep(jitter(failures));
    }
  }
}
