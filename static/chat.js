// What every page shares: the form, the list and the figures. How messages travel is each page's own file.

const KEPT_ROWS = 500; // A page that stays open for days must stay usable.
const MAX_TEXT = 65_536; // Bytes the server accepts; checked here too, so that a huge paste is not sent in vain.
const [RETRY_FIRST, RETRY_CAP, PATIENCE] = [1_000, 30_000, 10_000]; // Milliseconds.

const $ = (id) => document.getElementById(id);
const given = new URLSearchParams(location.search);
const room = given.get("room") || "lobby";
const figures = { requests: 0, bytes: 0 };
// What was typed here and has not come back yet: key -> { draft, line, status, cursor once acked, refused }.
const outbox = new Map();
let seen; // The cursor of the newest row.
let transmit;
let failures = 0;

const address = (room) => `?${new URLSearchParams({ room, name: $("name").value })}`;
const rememberName = () => history.replaceState(null, "", address(room));
// Not crypto.randomUUID(): a page that comes from another host over plain http does not have it.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(36)).join("");

document.title = `${room} · ${document.title}`;
$("room").value = room;
$("name").value = given.get("name") || `guest-${newKey().slice(0, 4)}`;
$("name").onchange = rememberName;
rememberName();

$("join").onsubmit = (event) => {
  event.preventDefault();
  location.search = address($("room").value);
};
$("compose").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (!text || !$("name").reportValidity()) return;
  $("text").value = "";
  send({ from: $("name").value, text, key: newKey() });
};
addEventListener("beforeunload", (event) => {
  if ([...outbox.values()].some((sent) => !sent.cursor)) event.preventDefault();
});

function element(name, text, kind = "") {
  return Object.assign(document.createElement(name), { textContent: text, className: kind });
}

function row({ from, text }, last) {
  const line = element("li", "");
  line.append(element("bdi", from), Object.assign(element("span", text, "text"), { dir: "auto" }), last);
  return line;
}

function append(...rows) {
  $("messages").append(...rows);
  while ($("messages").childElementCount > KEPT_ROWS) {
    $("messages").firstElementChild.remove();
    $("older").hidden = false;
  }
}

function send(draft) {
  outbox.get(draft.key)?.line.remove();
  const status = element("span", "sending…", "status");
  const line = row(draft, status);
  $("pending").append(line);
  outbox.set(draft.key, { draft, line, status });
  const size = new Blob([draft.text]).size;
  if (size > MAX_TEXT) refused(draft.key, `it has ${size} bytes; at most ${MAX_TEXT} are accepted`);
  else transmit(draft);
}

function settle(key) {
  outbox.get(key).line.remove();
  outbox.delete(key);
}

function follows(cursor, other) {
  const [[epoch, seq], [otherEpoch, otherSeq]] = [cursor.split("-"), other.split("-")];
  return epoch === otherEpoch && Number(seq) > Number(otherSeq);
}

function state(name, detail = "") {
  // Screen readers announce what changes in here: not every second of the countdown, which stands beside it.
  if ($("state").textContent !== name) $("state").textContent = name;
  $("state").dataset.state = name;
  $("detail").textContent = detail;
}

/** Tells the shared form how this page sends a draft. */
export const onSend = (callback) => (transmit = callback);

/** The drafts that nobody has answered for, in the order they were typed. */
export function unanswered() {
  return [...outbox.values()].filter((sent) => !sent.cursor && !sent.refused).map((sent) => sent.draft);
}

/** The server has stored a draft; its grey row goes when the message itself arrives. */
export function acked(key, cursor) {
  const sent = outbox.get(key);
  if (!sent) return;
  sent.cursor = cursor;
  sent.status.textContent = "sent";
  if (seen && !follows(cursor, seen)) settle(key);
}

/** The server will not store a draft: it stays in sight, with the reason. */
export function refused(key, reason) {
  const sent = outbox.get(key);
  if (!sent) return append(element("li", `The server refused a message: ${reason}`, "note"));
  Object.assign(sent, { refused: true, cursor: undefined });
  const [resend, discard] = [element("button", "Send again"), element("button", "Discard")];
  resend.onclick = () => send(sent.draft);
  discard.onclick = () => settle(key);
  sent.status.className = "refusal";
  sent.status.replaceChildren(`not sent: ${reason} `, resend, " ", discard);
}

/** Messages that have arrived, and where that leaves the reader. */
export function show(batch, cursor) {
  append(...batch.map((message) => row(message, element("time", new Date(message.at).toLocaleTimeString()))));
  seen = cursor;
  for (const [key, sent] of outbox) if (sent.cursor && !follows(sent.cursor, seen)) settle(key);
  if (batch.length === 0) return;
  const age = Date.now() - batch.at(-1).at;
  const readable = age < 10_000 ? `${age} ms` : `${Math.round(age / 1000).toLocaleString("en")} s`;
  $("age").textContent = `${readable} old on arrival`;
}

/** What lies between the cursor and what follows cannot be had any more. */
export function gap({ reason, missed, cursor }) {
  const text = {
    window: `${missed} messages were missed: the room no longer has them.`,
    epoch: "The room has started anew, with a new server or after a long rest. What had not arrived before is lost.",
    ahead: "This page had read further than the room reaches. It reads again what the room has.",
  };
  append(element("li", text[reason], "note"));
  seen = cursor;
  for (const [key, sent] of outbox) {
    if (sent.cursor && !follows(sent.cursor, seen)) refused(key, "it was stored, but lost before it came back");
  }
}

/** The query of every request. */
export const query = (after) => new URLSearchParams(after ? { room, after } : { room });

/** Without it, a server that is gone without a word would look like one that has no news; `hold`: it may take longer. */
export const patience = (hold = 0) => AbortSignal.timeout(hold + PATIENCE);

/** Adds to the figures. */
export function count(requests, text) {
  figures.requests += requests;
  figures.bytes += new Blob([text]).size;
  $("requests").textContent = figures.requests.toLocaleString("en");
  $("bytes").textContent = `${figures.bytes.toLocaleString("en")} bytes`;
}

/** What a request was answered with, undefined for a 304; throws what went wrong, `final` if asking again is no use. */
export async function read(request) {
  count(1, "");
  const unreachable = () => Promise.reject(new Error("the server does not answer"));
  const response = await request.catch(unreachable);
  const text = await response.text().catch(unreachable);
  count(0, text);
  if (response.status === 304) return undefined;
  if (response.ok) return JSON.parse(text);
  // A proxy in between has no JSON to say.
  const reason = text.startsWith("{") ? JSON.parse(text).error.reason : `HTTP status ${response.status}`;
  throw Object.assign(new Error(reason), { final: response.status < 500 && ![408, 429].includes(response.status) });
}

/** A browser does not tell a page why it was refused a WebSocket or an event stream; over plain HTTP the room does. */
export const whyRefused = () =>
  read(fetch(`/short-poll?${query("latest")}`, { signal: patience() })).then(
    () => new Error("the connection failed"),
    (error) => error,
  );

/** The connection stands. */
export function connected() {
  failures = 0;
  state("open");
}

/** The browser makes the next attempt by itself. */
export const retrying = (detail) => state("retrying", detail);

/** Waits before the next attempt; false if the server has refused for good. */
export async function again(error) {
  if (error.final) {
    $("compose").hidden = true;
    state("refused", error.message);
    return false;
  }
  for (let left = jitter(failures++); left > 0; left -= 1000) {
    state("retrying", `in ${Math.ceil(left / 1000)} s: ${error.message}`);
    await sleep(Math.min(left, 1000));
  }
  state("connecting");
  return true;
}

/** Full jitter: pages that lost the same server must not all come back at the same moment. */
export const jitter = (failures) => Math.random() * Math.min(RETRY_CAP, RETRY_FIRST * 2 ** failures);

/** Milliseconds. */
export const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));
