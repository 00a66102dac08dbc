// Long polling: ask, and the server holds the question until it has an answer; then ask the next one at once.

import { again, connected, gap, onSend, patience, query, read, show } from "./chat.js";
import { post } from "./post.js";

const HOLD = 25; // Seconds: a proxy cuts a connection that has been silent for 30 to 60.

let cursor;

async function poll(hold) {
  const url = `/long-poll?${query(cursor)}&wait=${hold}s`;
  // `no-store`, or the browser's cache would let a second tab that asks the same wait for the first one's answer.
  const answer = await read(fetch(url, { cache: "no-store", signal: patience(hold * 1000) }));
  if (answer.gap) gap(answer.gap);
  show(answer.messages, answer.cursor); // None at all when the hold has ended.
  cursor = answer.cursor;
}

async function run() {
  let hold = 0; // The first question, and the first after a failure: its answer shows that the server is there.
  for (;;) {
    try {
      await poll(hold);
      connected();
      hold = HOLD;
    } catch (error) {
      hold = 0;
      if (!(await again(error))) return;
    }
  }
}

onSend(post);
run();
