// Short polling: ask, be answered at once, wait, ask again.

import { again, connected, gap, onSend, patience, query, read, show, sleep } from "./chat.js";
import { post } from "./post.js";

const INTERVAL = 1000; // Milliseconds: half of it, on average, is what a message waits for the next poll.
const FULL = 1000; // Messages the server puts into one answer: after as many there may be more, so no wait.

let cursor;

async function poll() {
  // `no-store`, or the browser would answer from its cache and turn our 304 into a 200 with an old body.
  const headers = cursor ? { "If-None-Match": `"${cursor}"` } : {};
  const answer = await read(fetch(`/short-poll?${query(cursor)}`, { headers, cache: "no-store", signal: patience() }));
  if (!answer) return 0; // 304: nothing new, the cursor stands.
  if (answer.gap) gap(answer.gap);
  show(answer.messages, answer.cursor);
  cursor = answer.cursor;
  return answer.messages.length;
}

async function run() {
  for (;;) {
    try {
      const received = await poll();
      connected();
      if (received < FULL) await sleep(INTERVAL);
    } catch (error) {
      if (!(await again(error))) return;
    }
  }
}

onSend(post);
run();
