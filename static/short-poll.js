// Short polling: ask, be answered at once, wait, ask again.

export { post as send } from "./post.js";

const FULL = 1000; // Messages the server puts into one answer: after as many there may be more, so no wait.

export async function run(link) {
  for (;;) {
    try {
      // With the ETag of the last answer, "nothing new" is a 304 without a body; the cursor stands.
      const headers = link.cursor ? { "If-None-Match": `"${link.cursor}"` } : {};
      const answer = await link.ask(`/short-poll?${link.query()}`, { headers });
      link.take(answer);
      // Half of the interval, on average, is what a message waits for the next poll.
      if (answer?.messages.length !== FULL) await link.sleep(link.interval);
    } catch (error) {
      if (!(await link.again(error))) return;
    }
  }
}
