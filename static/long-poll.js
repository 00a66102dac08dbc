// Long polling: ask, and the server holds the question until it has an answer; then ask the next one at once.

export { post as send } from "./post.js";

export async function run(link) {
  let hold = 0; // The first question, and the first after a failure: its answer shows that the server is there.
  for (;;) {
    try {
      const answer = await link.poll(`/long-poll?${link.query()}&wait=${hold}ms`, { hold });
      link.take(answer); // No messages at all when the hold has ended.
      hold = link.hold; // Under 30 to 60 s: that is when a proxy cuts a connection that has been silent.
    } catch (error) {
      hold = 0;
      if (!(await link.again(error))) return;
    }
  }
}
