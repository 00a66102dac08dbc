// Socket.IO: named events over Engine.IO, which begins with long polling and is upgraded to a WebSocket while the polls go on.
// Each packet begins with a digit: 0 opens, 1 closes, 2 pings, 3 pongs, 4 is a message, 5 upgrades, 6 says nothing. In a
// message follows Socket.IO's own: 0 connects, 1 disconnects, 2 is an event, 3 the answer to one, 4 a refusal.

const SEPARATOR = "\x1e"; // Between the packets of one answer.
const MAX_PACKET = 72 * 1024; // Bytes the server takes in.
const size = (text) => new Blob([text]).size;
const REST = 60_000; // Milliseconds until a WebSocket is tried again that did not get through.

export async function run(link) {
  const session = new Session(link);
  link.session = session;
  const error = await session.live().catch((error) => error);
  session.end();
  if (error.status === 400) error.final = false; // The session is not known any more: another one will be.
  if (await link.again(error)) run(link);
}

export function send(link, draft) {
  // What is sent before the hello, the next hello sends.
  if (link.session?.greeted) link.session.publish(draft);
}

class Session {
  greeted = false;
  #link;
  #url;
  #upgrading; // A WebSocket that is tried.
  #ready; // The same, once it is to take over: no question is asked any more.
  #socket; // The same, once it has.
  #keys = new Map(); // Of drafts that wait for their answer, by the number they were sent with.
  #sent = 0;
  #most; // Bytes that the server takes in at once.
  #waiting = []; // Packets that are still to be sent.
  #posting; // While some are under way, a promise of the end of that.

  constructor(link) {
    this.#link = link;
  }

  /** Lives until it breaks; resolves with why. */
  async live() {
    const { room, cursor: after, known: name, tap } = this.#link;
    this.#url = `/socket.io/?${new URLSearchParams({ EIO: 4, ...(tap && { tap }) })}`;
    const open = JSON.parse((await this.#poll()).slice(1));
    this.#url += `&sid=${open.sid}`;
    [this.period, this.#most] = [open.pingInterval, open.maxPayload];
    await this.#post(`40${JSON.stringify({ room, ...(after && { after }), ...(name && { name }) })}`);
    const rests = performance.now() < (this.#link.upgradesAt ?? 0);
    const over = open.upgrades.includes("websocket") && !rests ? this.#upgrade() : undefined;
    while (!this.#ready) {
      // The server holds the question for as long as nothing comes, but asks back once a period.
      const answer = await this.#poll(2 * this.period);
      answer.split(SEPARATOR).forEach((packet) => this.#read(packet));
    }
    await this.#posting;
    this.#ready.send("5");
    this.#socket = this.#link.opened(this.#ready);
    this.#waiting.splice(0).forEach((packet) => this.#socket.send(packet));
    this.#link.alive({ next: this.period });
    this.#link.upgraded();
    return over;
  }

  end() {
    this.greeted = false;
    const tells = this.#upgrading?.readyState <= WebSocket.OPEN; // The server ends the session with it.
    this.#upgrading?.close();
    // A session of polls would be thought alive until it misses a ping.
    if (!tells && !this.#socket && this.period) {
      fetch(`${this.#url}&transport=polling`, { method: "POST", body: "1", keepalive: true }).catch(() => {});
    }
  }

  publish(draft) {
    const packet = `42${this.#sent}${JSON.stringify(["chat-message", draft])}`;
    if (size(packet) > MAX_PACKET) return this.#link.refused(draft.key, `as an event it has ${size(packet)} bytes; at most ${MAX_PACKET} are accepted`);
    this.#keys.set(this.#sent, draft.key);
    this.#sent += 1;
    this.#say(packet);
  }

  #poll(hold = 0) {
    return this.#link.poll(`${this.#url}&transport=polling`, { hold, raw: true });
  }

  #post(body) {
    return this.#link.ask(`${this.#url}&transport=polling`, { method: "POST", body, raw: true });
  }

  #say(packet) {
    if (this.#socket) return this.#socket.send(packet);
    this.#waiting.push(packet);
    this.#posting ??= this.#flush();
  }

  /** One after the other, to arrive in their order; what waits when the WebSocket is ready goes over that. */
  async #flush() {
    while (this.#waiting.length && !this.#ready) {
      // One that is lost is missed by the polls, too, and they tell.
      await this.#post(this.#atOnce().join(SEPARATOR)).catch(() => {});
    }
    this.#posting = undefined;
  }

  /** Takes as many of those that wait as the server takes in at once. */
  #atOnce() {
    let sum = 0;
    const more = this.#waiting.findIndex((packet, n) => n > 0 && (sum += size(packet) + 1) > this.#most - MAX_PACKET);
    return this.#waiting.splice(0, more < 0 ? this.#waiting.length : more);
  }

  /** Tries the WebSocket beside the polls; resolves when it ends after it has taken over. */
  #upgrade() {
    const url = new URL(`${this.#url}&transport=websocket`, location.href.replace("http", "ws"));
    const socket = (this.#upgrading = new WebSocket(url));
    socket.onopen = () => socket.send("2probe");
    return new Promise((resolve) => {
      socket.onmessage = ({ data }) => {
        if (data === "3probe") return void (this.#ready = socket);
        try {
          this.#read(data);
        } catch (error) {
          resolve(error);
        }
      };
      socket.onclose = ({ reason }) => {
        // What did not get through is not tried with each session anew; the server has ended this one.
        if (!this.#ready) this.#link.upgradesAt = performance.now() + REST;
        else resolve(new Error(reason || "the connection broke"));
      };
    });
  }

  #read(packet) {
    const [kind, rest] = [packet.slice(0, 2), packet.slice(2)];
    if (packet === "2") {
      this.#say("3");
      if (this.#socket) this.#link.alive({ next: this.period });
    } else if (packet === "1" || kind === "41") throw new Error("the server ended the session");
    else if (kind === "44") throw Object.assign(new Error(JSON.parse(rest).message), { final: true });
    else if (kind === "43") this.#answer(parseInt(rest), ...JSON.parse(rest.slice(rest.indexOf("["))));
    else if (kind === "42") this.#event(...JSON.parse(rest));
  }

  #event(name, first, more) {
    const link = this.#link;
    if (name === "hello") {
      this.greeted = true;
      link.greet(first.cursor);
      link.unanswered().forEach((draft) => this.publish(draft)); // The same keys as before: none is stored twice.
    } else if (name === "chat-message") link.show([{ ...more, text: first }], more.cursor);
    else if (name === "gap") link.gap(first);
  }

  /** What became of a draft. */
  #answer(number, { cursor, error }) {
    const key = this.#keys.get(number);
    this.#keys.delete(number);
    if (error) this.#link.refused(key, error.reason);
    else this.#link.acked({ key, cursor });
  }
}
