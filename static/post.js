// Sending, where the connection only receives: a POST for each message, beside those under way, until it is answered.

import { jitter } from "./link.js";

const AT_ONCE = 4; // A browser opens six connections: one may hold a question or a stream, one reads the tap.
const queues = new WeakMap(); // One for each link.

export function post(link, draft) {
  const queue = queues.get(link) ?? { waiting: [], count: 0, underWay: 0, failures: 0, oneByOne: false, paused: false };
  queues.set(link, queue);
  queue.waiting.push({ draft, n: (queue.count += 1) });
  next(link, queue);
}

/** Side by side, each after its own round trip; after a failure one by one, to be stored in the order of typing. */
function next(link, queue) {
  if (!queue.waiting.length && !queue.underWay) queue.oneByOne = false;
  while (!queue.paused && queue.waiting.length && queue.underWay < (queue.oneByOne ? 1 : AT_ONCE)) {
    store(link, queue, queue.waiting.shift());
  }
}

async function store(link, queue, entry) {
  const { draft } = entry;
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(draft) };
  const query = new URLSearchParams({ room: link.room, ...(link.tap && { tap: link.tap }) });
  queue.underWay += 1;
  if (!entry.left) link.leaves(draft);
  entry.left = true;
  try {
    const { cursor } = await link.ask(`/messages?${query}`, request);
    queue.failures = 0;
    link.acked({ key: draft.key, cursor });
  } catch (error) {
    if (error.final) link.refused(draft.key, error.message);
    else again(link, queue, entry);
  }
  queue.underWay -= 1;
  next(link, queue);
}

/** It may have been stored although the answer was lost: the same key is never stored twice. */
async function again(link, queue, entry) {
  queue.waiting.push(entry);
  queue.waiting.sort((a, b) => a.n - b.n);
  queue.oneByOne = true;
  if (queue.paused) return;
  queue.paused = true;
  await link.pluggedIn();
  await link.sleep(jitter(queue.failures++));
  queue.paused = false;
  next(link, queue);
}
