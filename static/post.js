// Sending, on the pages whose connection only receives: one POST for each message, repeated until it is answered.

import { acked, jitter, patience, query, read, refused, sleep } from "./chat.js";

let queue = Promise.resolve();

/** Posts a draft after those before it: two requests under way at once may arrive in either order. */
export const post = (draft) => (queue = queue.then(() => store(draft)));

async function store(draft) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(draft) };
  for (let failures = 0; ; failures += 1) {
    try {
      return acked(draft.key, (await read(fetch(`/messages?${query()}`, { ...request, signal: patience() }))).cursor);
    } catch (error) {
      if (error.final) return refused(draft.key, error.message);
      // It may have been stored although the answer was lost: the same key is never stored twice.
      await sleep(jitter(failures));
    }
  }
}
