// Short polling: ask, be answered at once, wait, ask again.

export { post as send } from "./post.js";

export async function run(link) {
  for (;;) {
    try {
      // With the ETag of the last answer, "nothing new" is a 304 without a body; the cursor stands.
      const headers = link.cursor ? { "If-None-Match": `"${link.cursor}"` } : {};
      const answer = await link.poll(`/short-poll?${link.query()}`, { headers });
      link.take(answer);
      // Half of the interval, on average, is what a message waits for the next poll. Who is behind asks again at once.
      if (!answer?.more) await link.rest(link.interval);
    } catch (error) {
      if (!(await link.again(error))) return;
    }
  }
}
